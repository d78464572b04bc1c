#include "coordinator/cli/batch.h"

#include "common/json.h"
#include "common/text.h"
#include "coordinator/cli/download.h"

#include <inttypes.h>
#include <string.h>

int batch_parse(const cJSON *object, Batch *ret_batch)
{
    Batch batch;
    const cJSON *counts = cJSON_GetObjectItemCaseSensitive(object, "counts");

    if (json_get_string(object, "batchId", batch.id, sizeof(batch.id)) != JSON_OK ||
        !upload_id_is_valid(batch.id) || json_get_u64(object, "matched", &batch.matched) != JSON_OK ||
        !counts || json_get_u64(counts, "unasked", &batch.unasked) != JSON_OK ||
        json_get_u64(counts, "queued", &batch.queued) != JSON_OK ||
        json_get_u64(counts, "running", &batch.running) != JSON_OK ||
        json_get_u64(counts, "completed", &batch.completed) != JSON_OK ||
        json_get_u64(counts, "failed", &batch.failed) != JSON_OK)
        return -1;
    (void)download_member(object, "state", batch.state, sizeof(batch.state));
    *ret_batch = batch;
    return 0;
}

/* A batch that was stopped or cancelled asks nobody else. */
bool batch_is_over(const Batch *batch)
{
    bool asks = strcmp(batch->state, "asking") == 0;

    return !asks && batch->queued + batch->running == 0;
}

char *batch_counts(const Batch *batch, char out[static BATCH_COUNTS_SIZE])
{
    const struct {
        const char *name;
        uint64_t count;
    } parts[] = {{"running", batch->running},
                 {"queued", batch->queued},
                 {"not asked yet", batch->unasked},
                 {"failed", batch->failed}};
    int used = snprintf(out, BATCH_COUNTS_SIZE, "%" PRIu64 " of %" PRIu64 " completed", batch->completed,
                        batch->matched);

    for (size_t i = 0; i < ARRAY_SIZE(parts) && used > 0 && used < BATCH_COUNTS_SIZE; i++)
        if (parts[i].count > 0)
            used += snprintf(out + used, (size_t)(BATCH_COUNTS_SIZE - used), ", %" PRIu64 " %s",
                             parts[i].count, parts[i].name);
    return out;
}

void batch_print(const Batch *batch, const cJSON *object, FILE *stream)
{
    char text[4 * FILE_PATH_MAX + 1], counts[BATCH_COUNTS_SIZE], number[32];

    (void)fprintf(stream, "%s\n", download_member(object, "fileName", text, sizeof(text)));
    (void)fprintf(stream, "  batch     %s\n  state     %s\n  clients   %s\n", batch->id, batch->state,
                  batch_counts(batch, counts));
    (void)fprintf(stream, "  ramp      %s a second\n",
                  download_member(object, "ramp", number, sizeof(number)));
    (void)fprintf(stream, "  created   %s\n", download_member(object, "createdAt", text, sizeof(text)));
    (void)fprintf(stream, "  by        %s\n", download_member(object, "createdBy", text, sizeof(text)));
}
