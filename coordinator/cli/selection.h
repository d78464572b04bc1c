/* Which devices `beckon get` asks, if it is not one by its name: the options for that. */
#pragma once

#include "coordinator/cli/cli.h"

#include <cjson/cJSON.h>

typedef struct Selection {
    cJSON *clients, *labels; /* NULL: not given */
    bool all;
    uint64_t ramp, max_failures; /* 0: not given */
} Selection;

enum { OPTION_CLIENTS = 0x2000, OPTION_LABEL, OPTION_ALL, OPTION_RAMP, OPTION_MAX_FAILURES };
/* clang-format off */
#define SELECTION_OPTIONS                                            \
    {"clients", required_argument, NULL, OPTION_CLIENTS},            \
    {"label", required_argument, NULL, OPTION_LABEL},                \
    {"all", no_argument, NULL, OPTION_ALL},                          \
    {"ramp", required_argument, NULL, OPTION_RAMP},                  \
    {"max-failures", required_argument, NULL, OPTION_MAX_FAILURES}
/* clang-format on */

/* Takes one of these with its optarg. CLI_GO_ON, or EXIT_USAGE after a line that says what is wrong. */
int selection_option(Selection *selection, const char *verb, int option) MUST_CHECK;

/* After the last one. In the same way. */
int selection_check(const Selection *selection, const char *verb) MUST_CHECK;

/* Whether any device was chosen so. */
bool selection_is_given(const Selection *selection);

/* As members of POST /download. false when out of memory. */
bool selection_add(const Selection *selection, cJSON *body) MUST_CHECK;

void selection_deinit(Selection *selection);
