/* beckon-coordinator: asks devices for files, and believes receipts. */
#include "coordinator/coordinator.h"

int main(int argc, char **argv)
{
    CoordinatorConfig config = {0};
    const Program program = {
        .name = "beckon-coordinator",
        .summary = "Control plane: clients, requests and their state; REST for operators, MQTT for devices.",
        .default_config = "/etc/beckon/coordinator.conf",
        .keys = coordinator_config_keys,
        .key_count = coordinator_config_key_count,
        .log = &config.log,
        .config = &config,
        .check = coordinator_config_check,
    };
    int code = program_start(&program, argc, argv);
    if (code == PROGRAM_RUN)
        code = coordinator_run(&config) < 0 ? 1 : 0;
    config_free(coordinator_config_keys, coordinator_config_key_count, &config);
    return code;
}
