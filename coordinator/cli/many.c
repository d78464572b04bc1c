#include "coordinator/cli/many.h"

#include "common/clock.h"
#include "common/files.h"
#include "common/json.h"
#include "common/text.h"
#include "coordinator/cli/batch.h"
#include "coordinator/cli/event_stream.h"
#include "coordinator/cli/fetch.h"
#include "coordinator/cli/interrupt.h"

#include <errno.h>
#include <inttypes.h>
#include <search.h>
#include <string.h>

#define PAUSE_MS 2000 /* before connecting again */
#define NAMED_MAX 100 /* of those that did not complete */

typedef struct Many {
    Cli *cli;
    const char *id;
    const char *folder; /* NULL: nothing is fetched */
    Progress progress;
    EventStream stream;
    Batch batch;    /* as it was last heard of */
    bool missed;    /* requests may have completed unseen */
    cJSON *waiting; /* completed requests, to be fetched */
    void *taken;    /* ids of those that were tried; see tsearch(3) */
    uint64_t fetched;
} Many;

/* --- fetching --- */

static int compare_ids(const void *one, const void *other)
{
    return strcmp(one, other);
}

/* Notes the id. 1 if it is new, 0 if not, -ENOMEM. */
static int take(Many *many, const char *id)
{
    char *copy = strdup(id);
    char **found = copy ? tsearch(copy, &many->taken, compare_ids) : NULL;

    if (!found) {
        free(copy);
        return -ENOMEM;
    }
    if (*found == copy)
        return 1;
    free(copy);
    return 0;
}

static void forget_taken(Many *many)
{
    while (many->taken) {
        char *id = *(char **)many->taken;
        (void)tdelete(id, &many->taken, compare_ids);
        free(id);
    }
}

static int open_output(const Many *many, const Download *download, Output **ret_output)
{
    char name[FILE_PATH_MAX + 1] = "", shown[1024];
    int fd CLEANUP(close_fd) = -1;

    (void)json_get_string(download->object, "fileName", name, sizeof(name)); /* "" is refused below */
    const char *slash = strrchr(name, '/');
    char *folder CLEANUP(free_ptr) = text_format("%s/%s/", many->folder, download->client);
    int r = folder ? folder_open(folder, 0777, &fd) : -ENOMEM;
    if (r == 0)
        r = output_open(folder, slash ? slash + 1 : name, ret_output);
    if (r == 0)
        return EXIT_DONE;
    cli_error("can't write to %s: %s", folder ? text_printable(folder, shown, sizeof(shown)) : many->folder,
              strerror(-r));
    return EXIT_FAILED;
}

static void free_output(Output **output)
{
    (void)output_free(*output);
}

/* One that fails is told, and does not keep the others from coming. */
static void fetch(Many *many, const cJSON *request)
{
    Output *output CLEANUP(free_output) = NULL;
    Download download;

    if (download_parse(request, &download) < 0 || download.state != UPLOAD_COMPLETED ||
        take(many, download.id) <= 0)
        return;
    progress_clear(&many->progress);
    if (open_output(many, &download, &output) == EXIT_DONE &&
        fetch_content(many->cli, &download, output, &many->progress) == EXIT_DONE)
        many->fetched++;
}

static void fetch_waiting(Many *many)
{
    cJSON *request;

    while (!interrupt_pending() && (request = cJSON_DetachItemFromArray(many->waiting, 0)) != NULL) {
        fetch(many, request);
        cJSON_Delete(request);
    }
}

/* --- lists --- */

typedef void EachRow(Many *many, cJSON *row);

/* Calls each for every request of the batch that is in this state. EXIT_DONE, or an exit code. */
static int list(Many *many, UploadState state, EachRow *each)
{
    char cursor[CLIENT_ID_SIZE + UPLOAD_ID_SIZE] = "";

    do {
        RestReply reply CLEANUP(rest_reply_deinit) = {0};
        char *path CLEANUP(free_ptr) =
            text_format("/downloads?batch=%s&status=%s&limit=500%s%s", many->id, upload_state_name(state),
                        cursor[0] ? "&cursor=" : "", cursor);
        int code =
            path ? cli_call(many->cli, &(RestCall){.method = "GET", .path = path}, &reply) : EXIT_FAILED;
        if (code != EXIT_DONE)
            return code;
        cJSON *row = NULL;
        cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(reply.json, "downloads")) each(many, row);
        cursor[0] = '\0';
        (void)json_get_string(reply.json, "nextCursor", cursor, sizeof(cursor)); /* absent: the last page */
    } while (cursor[0] && !interrupt_pending());
    return EXIT_DONE;
}

static void keep_row(Many *many, cJSON *row)
{
    cJSON *copy = cJSON_Duplicate(row, true);

    if (!copy || !cJSON_AddItemToArray(many->waiting, copy))
        cJSON_Delete(copy); /* out of memory: it is missing at the end, and that is told */
}

/* What has completed is brought here. EXIT_DONE, or the exit code of a failure that ends it. */
static int collect(Many *many)
{
    if (!many->folder)
        return EXIT_DONE;
    if (many->missed) {
        int code = list(many, UPLOAD_COMPLETED, keep_row);
        if (code != EXIT_DONE)
            return code;
        many->missed = false;
    }
    fetch_waiting(many);
    return EXIT_DONE;
}

/* --- the end --- */

static void name_row(Many *many, cJSON *row)
{
    Download download;
    char problem[2048];

    (void)many;
    if (download_parse(row, &download) == 0)
        (void)fprintf(stderr, "  %s  %s%s%s\n", download.client, upload_state_name(download.state),
                      download.problem.code == ERROR_NONE ? "" : ": ",
                      download_problem(&download, problem, sizeof(problem)));
}

/* The list is that of the first page of each kind. */
static int name_failures(Many *many)
{
    static const UploadState states[] = {UPLOAD_FAILED, UPLOAD_REJECTED, UPLOAD_CANCELLED, UPLOAD_EXPIRED};
    int code = EXIT_DONE;

    for (size_t i = 0; i < ARRAY_SIZE(states) && code == EXIT_DONE; i++)
        code = list(many, states[i], name_row);
    return code;
}

static int finish(Many *many)
{
    RestReply reply CLEANUP(rest_reply_deinit) = {0};
    char counts[BATCH_COUNTS_SIZE];
    const Batch *batch = &many->batch;
    char *path CLEANUP(free_ptr) = text_format("/batches/%s", many->id);

    progress_clear(&many->progress);
    int code = path ? cli_call(many->cli, &(RestCall){.method = "GET", .path = path}, &reply) : EXIT_FAILED;
    if (code == EXIT_DONE && batch_parse(reply.json, &many->batch) < 0)
        code = EXIT_FAILED;
    if (code == EXIT_DONE && many->cli->json)
        code = cli_print_json(reply.text);
    cli_error("%s: %s", batch->state, batch_counts(batch, counts));
    if (code == EXIT_DONE && batch->failed > 0)
        code = name_failures(many);
    if (many->folder && many->fetched < batch->completed)
        cli_error("%" PRIu64 " of the files could not be fetched", batch->completed - many->fetched);
    bool all = batch->completed == batch->matched && (!many->folder || many->fetched == batch->completed);
    return code == EXIT_DONE && !all ? EXIT_FAILED : code;
}

/* --- listening --- */

static void show(Many *many)
{
    char counts[BATCH_COUNTS_SIZE];

    progress_say(&many->progress, batch_counts(&many->batch, counts), clock_monotonic_ms());
}

static int on_event(void *userdata, const char *name, const char *data)
{
    Many *many = userdata;
    cJSON *object CLEANUP(json_delete) = json_parse_object(data, strlen(data), EVENT_LINE_MAX);
    Batch batch;

    if (strcmp(name, "reset") == 0)
        many->missed = true;
    if (object && strcmp(name, "request") == 0 && many->folder)
        keep_row(many, object);
    if (object && strcmp(name, "batch") == 0 && batch_parse(object, &batch) == 0) {
        many->batch = batch;
        show(many);
    }
    bool over = many->batch.id[0] && batch_is_over(&many->batch);
    bool to_do = many->folder && (many->missed || many->waiting->child);
    return over || to_do ? 1 : 0;
}

static int on_bytes(void *userdata, const void *data, size_t size)
{
    Many *many = userdata;

    return event_stream_feed(&many->stream, data, size) == 0 ? 0 : -1;
}

/* Listens until it is over, through broken connections; but the first one must come about. What completes
 * while a file is fetched is told when it listens again. */
static int follow(Many *many, const char *path)
{
    bool was_up = false;

    for (;;) {
        int r = rest_listen(many->cli->rest, path, many->stream.id, 0, on_bytes, many);
        event_stream_reset(&many->stream);
        was_up |= r == 0 || many->stream.id[0] != '\0';
        if (r == REST_E_REFUSED || r == REST_E_INTERRUPTED || !was_up)
            return cli_rest_failed(many->cli, r);
        bool over = many->batch.id[0] && batch_is_over(&many->batch);
        many->missed |= over; /* a last look */
        int code = collect(many);
        if (interrupt_pending())
            return EXIT_INTERRUPTED;
        if (code != EXIT_DONE || over)
            return code;
        if (r != REST_E_SINK && interrupt_wait(PAUSE_MS))
            return EXIT_INTERRUPTED;
    }
}

int many_follow(Cli *cli, const char *id, const char *folder)
{
    Many many = {.cli = cli, .id = id, .folder = folder, .missed = true, .waiting = cJSON_CreateArray()};
    char *path CLEANUP(free_ptr) = text_format("/events?batchId=%s", id);

    if (!path || !many.waiting) {
        cJSON_Delete(many.waiting);
        return EXIT_FAILED;
    }
    many.stream = (EventStream){.on_event = on_event, .userdata = &many};
    progress_init(&many.progress, STDERR_FILENO);
    int code = follow(&many, path);
    if (code == EXIT_DONE)
        code = finish(&many);
    progress_clear(&many.progress);
    if (code == EXIT_INTERRUPTED)
        cli_error(
            "interrupted; the batch goes on; look with: beckon status %s, cancel with: beckon cancel %s", id,
            id);
    forget_taken(&many);
    cJSON_Delete(many.waiting);
    return code;
}
