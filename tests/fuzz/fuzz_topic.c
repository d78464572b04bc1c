/* Topics: what is taken is written back the same, and its ids may become folders and topic levels. */
#include "fuzz.h"

#include "protocol/topic.h"

#include <string.h>

static bool is_one_component(const char *id)
{
    return *id && *id != '.' && !strpbrk(id, "/+#") && strlen(id) <= CLIENT_ID_MAX;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    char again[TOPIC_SIZE];
    Topic topic;

    if (topic_parse(text, &topic) == 0) {
        FUZZ_CHECK(is_one_component(topic.client) && client_id_is_valid(topic.client));
        FUZZ_CHECK((topic.kind == TOPIC_PRESENCE) == (topic.upload[0] == '\0'));
        FUZZ_CHECK(topic.kind == TOPIC_PRESENCE ||
                   (is_one_component(topic.upload) && upload_id_is_valid(topic.upload)));
        FUZZ_CHECK(strcmp(topic_format(topic.kind, topic.client, topic.upload, again), text) == 0);
    }
    if (client_id_is_valid(text))
        FUZZ_CHECK(is_one_component(text));
    if (upload_id_is_valid(text))
        FUZZ_CHECK(is_one_component(text) && !strchr(text, '.'));
    free(text);
    return 0;
}
