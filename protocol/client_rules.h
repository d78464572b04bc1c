/* A section of a configuration that says something for some clients only: a line is "<pattern> = <value>",
 * and the first whose pattern matches a client's name counts. */
#pragma once

#include "common/config.h"

/* What the lines of one such section say. */
typedef struct ClientRuleKind {
    const char *section; /* "retention.age" */
    const char *example; /* of a line, for who has made a mistake: "restaurant_* = 30d" */
    bool (*parse)(const char *text, uint64_t *ret_value); /* the value; text_to_duration() and the like */
    uint64_t max;                                         /* that it may be; 0: any */
} ClientRuleKind;

/* 0, or the number of mistakes in rules, a CONFIG_PAIRS; each is told by config_mistake(). */
int client_rules_check(const ClientRuleKind *kind, const ConfigList *rules) MUST_CHECK;

/* Whether there is a rule for this client; *ret_value is what it says. For rules without mistakes. */
bool client_rules_find(const ClientRuleKind *kind, const ConfigList *rules, const char *client,
                       uint64_t *ret_value);
