#include "receiver/receiver.h"

int main(int argc, char **argv)
{
    ReceiverConfig config = {0};
    const Program program = {.name = "beckon-receiver",
                             .summary = "Takes in files from devices over HTTPS, whole and verified.",
                             .default_config = "/etc/beckon/receiver.conf",
                             .keys = receiver_config_keys,
                             .key_count = receiver_config_key_count,
                             .log = &config.log,
                             .config = &config,
                             .check = receiver_config_check};
    Receiver *receiver = NULL;
    int code = program_start(&program, argc, argv);

    if (code == PROGRAM_RUN) {
        int r = receiver_new(&config, &receiver);
        if (r == 0)
            r = receiver_run(receiver);
        (void)receiver_free(receiver);
        code = r < 0 ? 1 : 0;
    }
    config_free(receiver_config_keys, receiver_config_key_count, &config);
    return code;
}
