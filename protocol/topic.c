#include "protocol/topic.h"

#include <stdbool.h>
#include <string.h>

#define PREFIX "beckon/v1/"

/* What follows the client; those that end in '/' are followed by the upload. */
static const char *const suffixes[] = {
    [TOPIC_CMD_UPLOAD] = "cmd/upload/",   [TOPIC_CMD_CANCEL] = "cmd/cancel/",
    [TOPIC_CMD_RECEIPT] = "cmd/receipt/", [TOPIC_STATUS] = "status/",
    [TOPIC_PRESENCE] = "presence",        [TOPIC_RECEIPT] = "receipt/",
    [TOPIC_CMD_REMOVE] = "cmd/remove/",   [TOPIC_REMOVED] = "removed/",
};

/* Copies length bytes as text; false if that is not less than size. */
static bool copy_text(char *out, size_t size, const char *text, size_t length)
{
    if (length >= size)
        return false;
    memcpy(out, text, length);
    out[length] = '\0';
    return true;
}

static bool parse_suffix(const char *text, Topic *topic)
{
    for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
        size_t length = strlen(suffixes[i]);
        if (strncmp(text, suffixes[i], length) != 0)
            continue;
        const char *upload = text + length;
        topic->kind = (TopicKind)i;
        if (topic->kind == TOPIC_PRESENCE)
            return *upload == '\0';
        return copy_text(topic->upload, sizeof(topic->upload), upload, strlen(upload)) &&
               upload_id_is_valid(topic->upload);
    }
    return false;
}

int topic_parse(const char *text, Topic *ret_topic)
{
    Topic topic = {0};
    if (strncmp(text, PREFIX, strlen(PREFIX)) != 0)
        return TOPIC_E_INVALID;
    const char *client = text + strlen(PREFIX), *slash = strchr(client, '/');
    if (!slash || !copy_text(topic.client, sizeof(topic.client), client, (size_t)(slash - client)) ||
        !client_id_is_valid(topic.client) || !parse_suffix(slash + 1, &topic))
        return TOPIC_E_INVALID;
    *ret_topic = topic;
    return 0;
}

char *topic_format(TopicKind kind, const char *client, const char *upload, char out[static TOPIC_SIZE])
{
    snprintf(out, TOPIC_SIZE, PREFIX "%s/%s%s", client, suffixes[kind], kind == TOPIC_PRESENCE ? "" : upload);
    return out;
}
