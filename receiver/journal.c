#include "receiver/journal.h"

#include "common/json.h"
#include "common/text.h"

#include <errno.h>
#include <string.h>

#define LINE_MAX_BYTES 65536

typedef struct Marks {
    Mark *items;
    size_t count, capacity;
} Marks;

static void marks_free(Marks *marks)
{
    free(marks->items);
}

/* Writing */

static bool add_changes(cJSON *object, const PartRecord *record)
{
    return (!record->has_length || json_add_u64(object, "length", record->length)) &&
           (record->attempt == 0 || json_add_u64(object, "attempt", record->attempt)) &&
           (!record->deleted || cJSON_AddTrueToObject(object, "deleted"));
}

static char *to_line(const cJSON *object, bool whole)
{
    char *text CLEANUP(free_ptr) = whole ? cJSON_PrintUnformatted(object) : NULL;

    return text ? text_format("%s\n", text) : NULL;
}

char *journal_change_format(const PartRecord *record)
{
    cJSON *object CLEANUP(json_delete) = cJSON_CreateObject();

    return to_line(object, object && add_changes(object, record));
}

char *journal_mark_format(const Mark *mark)
{
    cJSON *object CLEANUP(json_delete) = cJSON_CreateObject();
    char sha256[SHA256_HEX_SIZE];

    text_hex(mark->sha256, SHA256_SIZE, sha256);
    return to_line(object, object && json_add_u64(object, "offset", mark->offset) &&
                               cJSON_AddStringToObject(object, "sha256", sha256));
}

char *journal_head_format(const PartRecord *record, const Mark *mark)
{
    cJSON *object CLEANUP(json_delete) = cJSON_CreateObject();
    char *head CLEANUP(free_ptr) =
        to_line(object, object && cJSON_AddStringToObject(object, "client", record->client) &&
                            cJSON_AddStringToObject(object, "id", record->id) &&
                            cJSON_AddStringToObject(object, "path", record->path) &&
                            (!record->traceparent[0] ||
                             cJSON_AddStringToObject(object, "traceparent", record->traceparent)) &&
                            add_changes(object, record));

    if (!mark || !head)
        return TAKE_PTR(head);
    char *line CLEANUP(free_ptr) = journal_mark_format(mark);
    return line ? text_format("%s%s", head, line) : NULL;
}

/* Reading */

static int push_mark(Marks *marks, const Mark *mark)
{
    if (marks->count == marks->capacity) {
        size_t capacity = marks->capacity ? 2 * marks->capacity : 16;
        Mark *items = reallocarray(marks->items, capacity, sizeof(*items));
        if (!items)
            return -ENOMEM;
        marks->items = items;
        marks->capacity = capacity;
    }
    marks->items[marks->count++] = *mark;
    return 0;
}

/* Whether a mark is there and good; *ret_bad if it is there and not. */
static bool get_mark(const cJSON *object, Mark *ret_mark, bool *ret_bad)
{
    char sha256[SHA256_HEX_SIZE];
    int r = json_get_u64(object, "offset", &ret_mark->offset);

    if (r == JSON_E_ABSENT)
        return false;
    *ret_bad = r != JSON_OK || json_get_string(object, "sha256", sha256, sizeof(sha256)) != JSON_OK ||
               !text_unhex(sha256, ret_mark->sha256, SHA256_SIZE);
    return !*ret_bad;
}

/* All of the line or nothing. */
static bool get_changes(const cJSON *object, PartRecord *record)
{
    uint64_t length_bytes = 0, attempt = record->attempt;
    bool is_deleted = record->deleted;
    int length = json_get_u64(object, "length", &length_bytes);

    if (length == JSON_E_TYPE || json_get_u64(object, "attempt", &attempt) == JSON_E_TYPE ||
        json_get_bool(object, "deleted", &is_deleted) == JSON_E_TYPE)
        return false;
    if (length == JSON_OK) {
        record->has_length = true;
        record->length = length_bytes;
    }
    record->attempt = attempt;
    record->deleted = is_deleted;
    return true;
}

static bool get_names(const cJSON *object, PartRecord *record)
{
    const char *traceparent = NULL;

    (void)json_get_string_ref(object, "traceparent", &traceparent); /* not in every record */
    (void)traceparent_read(traceparent, record->traceparent);
    return json_get_string(object, "client", record->client, sizeof(record->client)) == JSON_OK &&
           json_get_string(object, "id", record->id, sizeof(record->id)) == JSON_OK &&
           json_get_string(object, "path", record->path, sizeof(record->path)) == JSON_OK &&
           client_id_is_valid(record->client) && upload_id_is_valid(record->id) && *record->path;
}

/* 0, -EBADMSG or -ENOMEM. */
static int read_line(const char *line, size_t size, bool first, PartRecord *record, Marks *marks)
{
    cJSON *object CLEANUP(json_delete) = json_parse_object(line, size, LINE_MAX_BYTES);
    Mark mark;
    bool bad = false;

    if (!object || (first && !get_names(object, record)))
        return -EBADMSG;
    bool marked = get_mark(object, &mark, &bad);
    if (bad || (marked && marks->count > 0 && mark.offset < marks->items[marks->count - 1].offset) ||
        !get_changes(object, record))
        return -EBADMSG;
    return marked ? push_mark(marks, &mark) : 0;
}

int journal_parse(const char *text, size_t size, PartRecord *ret_record, Mark **ret_marks, size_t *ret_count)
{
    Marks marks CLEANUP(marks_free) = {0};
    PartRecord *record CLEANUP(free_ptr) = calloc(1, sizeof(*record));
    const char *line = text, *end;
    int r = record ? 0 : -ENOMEM;

    while (r == 0 && (end = memchr(line, '\n', size - (size_t)(line - text))) != NULL) {
        r = read_line(line, (size_t)(end - line), line == text, record, &marks);
        if (r == -EBADMSG && line != text) {
            r = 0; /* torn: what stands before it counts */
            break;
        }
        line = end + 1;
    }
    if (r < 0 || line == text)
        return r < 0 ? r : -EBADMSG;
    *ret_record = *record;
    if (ret_marks) {
        *ret_count = marks.count;
        *ret_marks = TAKE_PTR(marks.items);
    }
    return 0;
}
