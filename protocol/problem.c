#include "protocol/problem.h"

#include "common/json.h"
#include "common/text.h"

#include <stdarg.h>
#include <string.h>

static const char *const code_names[] = {
    [ERROR_NONE] = "",
    [ERROR_INVALID_ARGUMENT] = "invalid_argument",
    [ERROR_NOT_FOUND] = "not_found",
    [ERROR_PERMISSION_DENIED] = "permission_denied",
    [ERROR_UNAUTHENTICATED] = "unauthenticated",
    [ERROR_RESOURCE_EXHAUSTED] = "resource_exhausted",
    [ERROR_FAILED_PRECONDITION] = "failed_precondition",
    [ERROR_ALREADY_EXISTS] = "already_exists",
    [ERROR_ABORTED] = "aborted",
    [ERROR_DEADLINE_EXCEEDED] = "deadline_exceeded",
    [ERROR_UNAVAILABLE] = "unavailable",
    [ERROR_DATA_LOSS] = "data_loss",
    [ERROR_CANCELLED] = "cancelled",
    [ERROR_INTERNAL] = "internal",
};

int problem_set(Problem *problem, ErrorCode code, const char *reason, const char *format, ...)
{
    Problem made = {.code = code}; /* the arguments may point into *problem */
    snprintf(made.reason, sizeof(made.reason), "%s", reason);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(made.message, sizeof(made.message), format, args); /* too long: cut */
    va_end(args);
    size_t length = strlen(made.message);
    while (!text_is_utf8(made.message, length))
        made.message[--length] = '\0';
    *problem = made;
    return -1;
}

const char *error_code_name(ErrorCode code)
{
    return code_names[code];
}

ErrorCode error_code_from_name(const char *name)
{
    for (size_t i = ERROR_NONE + 1; i < ARRAY_SIZE(code_names); i++)
        if (strcmp(name, code_names[i]) == 0)
            return (ErrorCode)i;
    return ERROR_INTERNAL;
}

static bool add_members(cJSON *object, const Problem *problem)
{
    return cJSON_AddStringToObject(object, "code", error_code_name(problem->code)) &&
           cJSON_AddStringToObject(object, "reason", problem->reason) &&
           cJSON_AddStringToObject(object, "message", problem->message);
}

cJSON *problem_to_json(const Problem *problem)
{
    cJSON *object CLEANUP(json_delete) = cJSON_CreateObject();
    return object && add_members(object, problem) ? TAKE_PTR(object) : NULL;
}

void problem_from_json(const cJSON *object, Problem *ret_problem)
{
    const char *code = "", *message = "no explanation was given";
    char reason[sizeof(ret_problem->reason)] = "UNKNOWN";
    (void)json_get_string_ref(object, "code", &code);
    (void)json_get_string(object, "reason", reason, sizeof(reason));
    (void)json_get_string_ref(object, "message", &message);
    problem_set(ret_problem, error_code_from_name(code), reason, "%s", message);
}

/* RFC 9110 section 15, and 429 and 507 from RFC 6585 and RFC 4918: those that we answer with. */
static const char *status_phrase(unsigned status)
{
    static const struct {
        unsigned status;
        const char *phrase;
    } phrases[] = {
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {500, "Internal Server Error"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {507, "Insufficient Storage"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(phrases); i++)
        if (phrases[i].status == status)
            return phrases[i].phrase;
    return "Error";
}

char *problem_body(const Problem *problem, unsigned status, const char *type)
{
    cJSON *object CLEANUP(json_delete) = cJSON_CreateObject();
    if (!object || !cJSON_AddStringToObject(object, "type", type ? type : "about:blank") ||
        !cJSON_AddStringToObject(object, "title", status_phrase(status)) ||
        !json_add_u64(object, "status", status) ||
        !cJSON_AddStringToObject(object, "detail", problem->message) || !add_members(object, problem))
        return NULL;
    return cJSON_PrintUnformatted(object);
}
