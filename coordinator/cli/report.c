#include "coordinator/cli/report.h"

#include "common/json.h"
#include "common/text.h"
#include "coordinator/cli/cli.h"

#include <stdarg.h>

#define SENTENCE_SIZE 2048

static void keep(Report *report, const char *verdict, const char *check, const char *sentence)
{
    cJSON *object = cJSON_CreateObject();

    if (!report->checks)
        report->checks = cJSON_CreateArray();
    if (object && report->checks && cJSON_AddStringToObject(object, "check", check) &&
        cJSON_AddStringToObject(object, "verdict", verdict) &&
        cJSON_AddStringToObject(object, "message", sentence) && cJSON_AddItemToArray(report->checks, object))
        return;
    cJSON_Delete(object); /* the counts still tell */
}

void report_add(Report *report, Verdict verdict, const char *check, const char *format, ...)
{
    static const char *const shown[] = {"ok", "warning", "FAULT"}, *const named[] = {"ok", "warning",
                                                                                     "fault"};
    char raw[SENTENCE_SIZE], sentence[2 * SENTENCE_SIZE];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(raw, sizeof(raw), format, arguments);
    va_end(arguments);
    report->counts[verdict]++;
    (void)text_printable(raw, sentence, sizeof(sentence));
    if (report->json)
        keep(report, named[verdict], check, sentence);
    else
        (void)printf("%-8s %-26s %s\n", shown[verdict], check, sentence);
    (void)fflush(stdout); /* the next check may take its time */
}

static int print_json(Report *report)
{
    cJSON *object CLEANUP(json_delete) = cJSON_CreateObject();

    if (!object || !report->checks || !cJSON_AddItemToObject(object, "checks", report->checks))
        return EXIT_FAILED;
    report->checks = NULL;
    if (!json_add_u64(object, "warnings", report->counts[VERDICT_WARNING]) ||
        !json_add_u64(object, "faults", report->counts[VERDICT_FAULT]))
        return EXIT_FAILED;
    char *text CLEANUP(free_ptr) = cJSON_PrintUnformatted(object);
    return text ? cli_print_json(text) : EXIT_FAILED;
}

int report_finish(Report *report)
{
    int code = EXIT_DONE;

    if (report->json)
        code = print_json(report);
    else
        (void)printf("%u checks: %u faults, %u warnings\n",
                     report->counts[VERDICT_OK] + report->counts[VERDICT_WARNING] +
                         report->counts[VERDICT_FAULT],
                     report->counts[VERDICT_FAULT], report->counts[VERDICT_WARNING]);
    cJSON_Delete(report->checks);
    report->checks = NULL;
    return code == EXIT_DONE && report->counts[VERDICT_FAULT] > 0 ? EXIT_FAILED : code;
}
