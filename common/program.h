/* What every daemon's main does first: options, configuration, log. */
#pragma once

#include "common/config.h"
#include "common/log.h"

/* The keys [log] level and format, to be put into each daemon's table and struct. */
typedef struct LogConfig {
    char *level;
    char *format;
} LogConfig;

#define LOG_CONFIG_KEYS(Config)                                                                              \
    {.section = "log",                                                                                       \
     .name = "level",                                                                                        \
     .type = CONFIG_STRING,                                                                                  \
     .offset = offsetof(Config, log.level),                                                                  \
     .fallback = "info"},                                                                                    \
    {                                                                                                        \
        .section = "log", .name = "format", .type = CONFIG_STRING, .offset = offsetof(Config, log.format),   \
        .fallback = "text"                                                                                   \
    }

typedef struct Program {
    const char *name;           /* "beckon-agent" */
    const char *summary;        /* one line for --help */
    const char *default_config; /* "/etc/beckon/agent.conf" */
    const ConfigKey *keys;
    size_t key_count;
    LogConfig *log;             /* inside config */
    void *config;               /* the daemon's struct, zeroed */
    int (*check)(void *config); /* rules between keys, and whether keys and certificates load; returns the
                                   number of mistakes */
} Program;

enum {
    PROGRAM_RUN = -1, /* go on; any other value is the exit code: 0 after --help, --version or a clean
                         --check-config or --show-config, 1 for mistakes, 2 usage */
};

/* No core dump of this process, and no look into its memory by others of its user: it will hold keys and
 * tokens. program_start() does so too. */
void program_keep_secrets(void);

/* Blocks the signals that end a daemon until its loop runs. Handles --config FILE, --check-config,
 * --show-config, --help, --version (and -c, -h, -V), loads the configuration and sets up the log. */
int program_start(const Program *program, int argc, char **argv) MUST_CHECK;
