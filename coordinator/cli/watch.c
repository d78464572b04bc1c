#include "common/json.h"
#include "common/text.h"
#include "coordinator/cli/batch.h"
#include "coordinator/cli/cli.h"
#include "coordinator/cli/download.h"
#include "coordinator/cli/event_stream.h"
#include "coordinator/cli/interrupt.h"
#include "protocol/ident.h"

#include <string.h>

#define PAUSE_MS 2000 /* before connecting again */

/* `beckon watch [ID]`: a line for each thing that happens, until Ctrl-C, or until the one request is final.
 */
typedef struct Watch {
    Cli *cli;
    const char *id; /* NULL: everything */
    bool is_batch;  /* that is */
    bool was_up;    /* the coordinator has been heard once */
    int code;       /* the exit code once the one request is final, or EXIT_TIMED_OUT */
    EventStream stream;
} Watch;

static void print_client(const cJSON *client)
{
    char id[4 * CLIENT_ID_SIZE], version[128];
    bool online = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(client, "online"));

    (void)printf("%s  %s  %s\n", download_member(client, "id", id, sizeof(id)), online ? "online" : "offline",
                 download_member(client, "version", version, sizeof(version)));
}

static void print_request(const Download *download)
{
    char path[1024], problem[2048];

    (void)printf("%s  %s  %s  %s", download->id, download->client, upload_state_name(download->state),
                 download_member(download->object, "fileName", path, sizeof(path)));
    if (download->state == UPLOAD_RUNNING && download->has_size && download->size_bytes > 0)
        (void)printf("  %u%%",
                     (unsigned)(100.0 * (double)download->received_bytes / (double)download->size_bytes));
    if (download->problem.code != ERROR_NONE)
        (void)printf("  %s", download_problem(download, problem, sizeof(problem)));
    (void)putchar('\n');
}

static int on_request(Watch *watch, const cJSON *object)
{
    Download download;

    if (download_parse(object, &download) < 0)
        return 0; /* of a later version, perhaps */
    if (!watch->cli->json)
        print_request(&download);
    if (!watch->id || watch->is_batch || !download_is_final(&download))
        return 0;
    watch->code = download_exit_code(download.state);
    return 1;
}

static int on_batch(Watch *watch, const cJSON *object)
{
    Batch batch;
    char counts[BATCH_COUNTS_SIZE], path[1024];

    if (batch_parse(object, &batch) < 0)
        return 0;
    if (!watch->cli->json)
        (void)printf("%s  %s  %s  %s\n", batch.id, batch.state, batch_counts(&batch, counts),
                     download_member(object, "fileName", path, sizeof(path)));
    if (!watch->is_batch || !batch_is_over(&batch))
        return 0;
    watch->code = batch.completed == batch.matched ? EXIT_DONE : EXIT_FAILED;
    return 1;
}

static void say_missed(const Watch *watch)
{
    if (watch->id)
        cli_error("something was missed; how it is now: beckon status %s", watch->id);
    else
        cli_error("something was missed; how things are now: beckon clients, beckon downloads");
}

static void print_json(const char *name, const char *data)
{
    static const char *const names[] = {"client", "request", "batch", "reset"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strcmp(name, names[i]) == 0)
            (void)printf("{\"event\":\"%s\",\"data\":%s}\n", name, data);
}

static int on_event(void *userdata, const char *name, const char *data)
{
    Watch *watch = userdata;
    cJSON *object CLEANUP(json_delete) = json_parse_object(data, strlen(data), EVENT_LINE_MAX);
    int r = 0;

    if (!object)
        return 0;
    if (watch->cli->json)
        print_json(name, data);
    else if (strcmp(name, "client") == 0)
        print_client(object);
    else if (strcmp(name, "reset") == 0)
        say_missed(watch);
    if (strcmp(name, "request") == 0)
        r = on_request(watch, object);
    else if (strcmp(name, "batch") == 0)
        r = on_batch(watch, object);
    return fflush(stdout) == 0 ? r : -1;
}

static int on_bytes(void *userdata, const void *data, size_t size)
{
    Watch *watch = userdata;

    watch->was_up = true;
    return event_stream_feed(&watch->stream, data, size) == 0 ? 0 : -1;
}

/* Listens until it is over, through broken connections; but the first one must come about. */
static int follow(Watch *watch, const char *path)
{
    for (;;) {
        int r = rest_listen(watch->cli->rest, path, watch->stream.id, 0, on_bytes, watch);
        event_stream_reset(&watch->stream);
        if (r == REST_E_SINK)
            return watch->code == EXIT_TIMED_OUT ? EXIT_FAILED : watch->code;
        if (r == REST_E_REFUSED || r == REST_E_INTERRUPTED || !watch->was_up)
            return cli_rest_failed(watch->cli, r);
        if (interrupt_wait(PAUSE_MS))
            return EXIT_INTERRUPTED;
    }
}

/* An id may be a batch's. */
static int look(Watch *watch)
{
    RestReply reply CLEANUP(rest_reply_deinit) = {0};
    char *path CLEANUP(free_ptr) = watch->id ? text_format("/batches/%s", watch->id) : NULL;

    int code = cli_connect(watch->cli);
    if (code == EXIT_DONE && path)
        watch->is_batch =
            rest_call(watch->cli->rest, &(RestCall){.method = "GET", .path = path}, &reply) == 0;
    return code;
}

int cli_watch(Cli *cli, int argc, char **argv)
{
    static const struct option table[] = {CLI_OPTIONS};
    Watch watch = {.cli = cli, .code = EXIT_TIMED_OUT};
    int option, code = CLI_GO_ON;

    while (code == CLI_GO_ON && (option = getopt_long(argc, argv, "h", table, NULL)) != -1)
        code = cli_option(cli, "watch", option);
    if (code != CLI_GO_ON)
        return code;
    if (argc - optind > 1)
        return cli_usage_error("watch", "too many arguments");
    watch.id = argv[optind]; /* or NULL */
    if (watch.id && !upload_id_is_valid(watch.id))
        return cli_usage_error("watch", "ID is what `beckon get --no-wait` or `beckon downloads` prints");
    watch.stream = (EventStream){.on_event = on_event, .userdata = &watch};
    code = look(&watch);
    char *path CLEANUP(free_ptr) = text_format("/events%s%s",
                                               watch.is_batch ? "?batchId="
                                               : watch.id     ? "?requestId="
                                                              : "",
                                               watch.id ? watch.id : "");
    if (!path)
        return EXIT_FAILED;
    return code == EXIT_DONE ? follow(&watch, path) : code;
}
