/* beckon-agent: reads its options and configuration, and runs until it is told to stop. */
#include "agent/agent.h"

int main(int argc, char **argv)
{
    AgentConfig config = {0};
    const Program program = {
        .name = "beckon-agent",
        .summary = "Sends files of this device to the receiver when it is asked to, if its owner allows it.",
        .default_config = "/etc/beckon/agent.conf",
        .keys = agent_config_keys,
        .key_count = agent_config_key_count,
        .log = &config.log,
        .config = &config,
        .check = agent_config_check,
    };
    Loop *loop = NULL;
    Agent *agent = NULL;

    int result = program_start(&program, argc, argv);
    if (result == PROGRAM_RUN) {
        int r = loop_new(&loop);
        if (r == 0)
            r = agent_new(loop, &config, &agent);
        if (r == 0)
            r = loop_run(loop);
        agent_free(agent);
        loop_free(loop);
        result = r < 0 ? 1 : 0;
    }
    config_free(agent_config_keys, agent_config_key_count, &config);
    return result;
}
