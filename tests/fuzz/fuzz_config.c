/* A configuration file: mistakes are told in printable lines, and nothing is left over. */
#include "fuzz.h"

#include "agent/config.h"
#include "common/log.h"

#include <string.h>

typedef struct Loading {
    const char *file;
    int mistakes;
    AgentConfig config;
} Loading;

static void load(void *userdata)
{
    Loading *loading = userdata;

    log_setup("fuzz", LOG_LEVEL_INFO, false);
    loading->mistakes =
        config_load(loading->file, agent_config_keys, agent_config_key_count, &loading->config);
}

static int count_lines(const char *text)
{
    int lines = 0;

    for (; (text = strchr(text, '\n')); text++)
        lines++;
    return lines;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Loading loading = {.file = fuzz_file(data, size)};
    char *said = fuzz_stderr_of(load, &loading);

    FUZZ_CHECK(fuzz_is_printable(said, true));
    FUZZ_CHECK(count_lines(said) == loading.mistakes);
    for (size_t i = 0; i < loading.config.receivers.count; i++)
        FUZZ_CHECK(strchr(loading.config.receivers.items[i], '='));
    config_free(agent_config_keys, agent_config_key_count, &loading.config);
    free(said);
    return 0;
}
