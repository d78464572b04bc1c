#include "coordinator/cli/selection.h"

#include "common/json.h"
#include "common/text.h"
#include "protocol/grant.h"
#include "protocol/message.h"

#include <string.h>

#define RAMP_MAX 1000

static int out_of_memory(void)
{
    cli_error("out of memory");
    return EXIT_FAILED;
}

/* "restaurant_*,kiosk-7", once or several times. */
static int add_clients(Selection *selection, const char *verb)
{
    if (!selection->clients)
        selection->clients = cJSON_CreateArray();
    for (const char *at = optarg; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        char pattern[CLIENT_ID_SIZE] = "";
        size_t length = strcspn(at, ",");
        if (length < sizeof(pattern))
            (void)snprintf(pattern, sizeof(pattern), "%.*s", (int)length, at);
        if (!client_pattern_is_valid(pattern))
            return cli_usage_error(verb, "--clients wants names of devices, in which * and ? may stand");
        cJSON *name = cJSON_CreateString(pattern);
        if (!name || !cJSON_AddItemToArray(selection->clients, name)) {
            cJSON_Delete(name);
            return out_of_memory();
        }
    }
    if (cJSON_GetArraySize(selection->clients) > GRANT_PATTERNS_MAX)
        return cli_usage_error(verb, "at most %d --clients", GRANT_PATTERNS_MAX);
    return CLI_GO_ON;
}

/* "site=7" */
static int add_label(Selection *selection, const char *verb)
{
    const char *equals = strchr(optarg, '=');
    char *name CLEANUP(free_ptr) = equals ? strndup(optarg, (size_t)(equals - optarg)) : NULL;

    if (!selection->labels)
        selection->labels = cJSON_CreateObject();
    if (!equals || equals == optarg || !text_is_utf8(optarg, strlen(optarg)))
        return cli_usage_error(verb, "--label wants something like site=7");
    if (cJSON_HasObjectItem(selection->labels, name))
        return cli_usage_error(verb, "one --label has one value only");
    if (cJSON_GetArraySize(selection->labels) >= LABELS_MAX)
        return cli_usage_error(verb, "at most %d labels", LABELS_MAX);
    if (!name || !cJSON_AddStringToObject(selection->labels, name, equals + 1))
        return out_of_memory();
    return CLI_GO_ON;
}

int selection_option(Selection *selection, const char *verb, int option)
{
    switch (option) {
    case OPTION_CLIENTS:
        return add_clients(selection, verb);
    case OPTION_LABEL:
        return add_label(selection, verb);
    case OPTION_ALL:
        selection->all = true;
        return CLI_GO_ON;
    case OPTION_RAMP:
        if (text_to_u64(optarg, &selection->ramp) && selection->ramp >= 1 && selection->ramp <= RAMP_MAX)
            return CLI_GO_ON;
        return cli_usage_error(verb, "--ramp wants a number from 1 to %d: devices asked a second", RAMP_MAX);
    default: /* OPTION_MAX_FAILURES */
        if (text_to_u64(optarg, &selection->max_failures) && selection->max_failures >= 1)
            return CLI_GO_ON;
        return cli_usage_error(verb, "--max-failures wants a number");
    }
}

int selection_check(const Selection *selection, const char *verb)
{
    if (selection->all && (selection->clients || selection->labels))
        return cli_usage_error(verb, "--all does not go with --clients and --label");
    if (!selection_is_given(selection) && (selection->ramp || selection->max_failures))
        return cli_usage_error(verb, "--ramp and --max-failures are for --clients, --label or --all");
    return CLI_GO_ON;
}

bool selection_is_given(const Selection *selection)
{
    return selection->all || selection->clients || selection->labels;
}

static bool add_copy(cJSON *body, const char *name, const cJSON *item)
{
    cJSON *copy = cJSON_Duplicate(item, true);

    if (copy && cJSON_AddItemToObject(body, name, copy))
        return true;
    cJSON_Delete(copy);
    return false;
}

bool selection_add(const Selection *selection, cJSON *body)
{
    return (!selection->all || cJSON_AddTrueToObject(body, "all")) &&
           (!selection->clients || add_copy(body, "clients", selection->clients)) &&
           (!selection->labels || add_copy(body, "labels", selection->labels)) &&
           (!selection->ramp || json_add_u64(body, "ramp", selection->ramp)) &&
           (!selection->max_failures || json_add_u64(body, "maxFailures", selection->max_failures));
}

void selection_deinit(Selection *selection)
{
    cJSON_Delete(selection->clients);
    cJSON_Delete(selection->labels);
    *selection = (Selection){0};
}
