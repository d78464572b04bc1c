#include "protocol/client_rules.h"

#include "protocol/grant.h"

#include <string.h>

/* The pattern of "<pattern>=<value>"; *ret_value is what follows. false for what is no client pattern. */
static bool split(const char *rule, ClientPattern pattern, const char **ret_value)
{
    size_t length = strcspn(rule, "=");

    if (rule[length] != '=' || length >= sizeof(ClientPattern))
        return false;
    memcpy(pattern, rule, length);
    pattern[length] = '\0';
    *ret_value = rule + length + 1;
    return client_pattern_is_valid(pattern);
}

static bool parse(const ClientRuleKind *kind, const char *rule, ClientPattern pattern, uint64_t *ret_value)
{
    const char *text = "";
    uint64_t value = 0;

    if (!split(rule, pattern, &text) || !kind->parse(text, &value) || (kind->max && value > kind->max))
        return false;
    *ret_value = value;
    return true;
}

/* At the line that sets it. */
static void tell(const ClientRuleKind *kind, const char *rule)
{
    char *name CLEANUP(free_ptr) = strndup(rule, strcspn(rule, "="));

    config_mistake(kind->section, name ? name : "",
                   "[%s] '%s' is not of the form %s, or not within its limits", kind->section, rule,
                   kind->example);
}

int client_rules_check(const ClientRuleKind *kind, const ConfigList *rules)
{
    int mistakes = 0;

    for (size_t i = 0; i < rules->count; i++) {
        ClientPattern pattern;
        uint64_t value = 0;
        if (parse(kind, rules->items[i], pattern, &value))
            continue;
        tell(kind, rules->items[i]);
        mistakes++;
    }
    return mistakes;
}

bool client_rules_find(const ClientRuleKind *kind, const ConfigList *rules, const char *client,
                       uint64_t *ret_value)
{
    for (size_t i = 0; i < rules->count; i++) {
        ClientPattern pattern;
        uint64_t value = 0;
        if (!parse(kind, rules->items[i], pattern, &value) || !client_pattern_matches(pattern, client))
            continue;
        *ret_value = value;
        return true;
    }
    return false;
}
