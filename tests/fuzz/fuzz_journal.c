/* A part's journal as a crash, a bad disk or somebody else may have left it. */
#include "fuzz.h"

#include "receiver/journal.h"

#include <string.h>

static bool records_agree(const PartRecord *a, const PartRecord *b)
{
    return strcmp(a->client, b->client) == 0 && strcmp(a->id, b->id) == 0 && strcmp(a->path, b->path) == 0 &&
           a->has_length == b->has_length && a->length == b->length && a->attempt == b->attempt &&
           a->deleted == b->deleted;
}

/* As the spool rewrites it: the record and the last mark. */
static void check_rewrite(const PartRecord *record, const Mark *last)
{
    static PartRecord again;
    Mark *marks = NULL;
    size_t count = 0;
    char *written = journal_head_format(record, last);

    FUZZ_CHECK(written);
    FUZZ_CHECK(journal_parse(written, strlen(written), &again, &marks, &count) == 0);
    FUZZ_CHECK(records_agree(record, &again) && count == (last ? 1 : 0));
    FUZZ_CHECK(!last || memcmp(&marks[0], last, sizeof(*last)) == 0);
    free(marks);
    free(written);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static PartRecord record;
    char *text = fuzz_text(data, size);
    Mark *marks = NULL;
    size_t count = 0;

    if (journal_parse(text, size, &record, &marks, &count) == 0) {
        FUZZ_CHECK(client_id_is_valid(record.client) && upload_id_is_valid(record.id) && record.path[0]);
        for (size_t i = 1; i < count; i++)
            FUZZ_CHECK(marks[i - 1].offset <= marks[i].offset);
        check_rewrite(&record, count > 0 ? &marks[count - 1] : NULL);
    }
    free(marks);
    free(text);
    return 0;
}
