#include "coordinator/cli/wait.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/text.h"
#include "coordinator/cli/event_stream.h"
#include "coordinator/cli/interrupt.h"

#include <string.h>

#define POLL_MIN_MS 100
#define POLL_MAX_MS 1000
#define LOOK_MIN_MS 100     /* the last look, when the time is all but over */
#define LISTEN_MAX_MS 30000 /* then it is looked all the same */
#define UNREACHABLE_MAX_MS 60000

typedef struct Waiting {
    Cli *cli;
    const char *path, *events_path;
    bool is_deaf; /* the coordinator has no events for us: poll */
    Progress *progress;
    int64_t begun_ms;
    int64_t timeout_ms;  /* 0: none */
    int64_t answered_ms; /* when the coordinator last did */
} Waiting;

static void show(Progress *progress, const Download *download)
{
    ProgressState state = {.phase = upload_state_name(download->state)};

    if (download->state == UPLOAD_RUNNING || download->state == UPLOAD_DONE) {
        bool all = download->has_size && download->received_bytes >= download->size_bytes;
        state = (ProgressState){.phase = all ? "verifying" : "uploading",
                                .done_bytes = download->received_bytes,
                                .has_total = download->has_size,
                                .total_bytes = download->size_bytes};
    }
    progress_update(progress, &state, clock_monotonic_ms());
}

static void say_it_goes_on(const char *id)
{
    cli_error("the request goes on; look with: beckon status %s, cancel with: beckon cancel %s", id, id);
}

/* What is left of the timeout, at most max_ms. */
static int64_t time_left(const Waiting *waiting, int64_t now_ms, int64_t max_ms)
{
    int64_t left_ms = waiting->timeout_ms - (now_ms - waiting->begun_ms);

    return waiting->timeout_ms > 0 && left_ms < max_ms ? left_ms : max_ms;
}

/* One look. EXIT_DONE, EXIT_TIMED_OUT for an answer that did not come, or the exit code of a refusal. */
static int look(const Waiting *waiting, int64_t now_ms, RestReply *ret_reply, Download *ret_download)
{
    int64_t timeout_ms = time_left(waiting, now_ms, REST_TIMEOUT_MS);
    RestCall call = {.method = "GET",
                     .path = waiting->path,
                     .timeout_ms = timeout_ms > LOOK_MIN_MS ? timeout_ms : LOOK_MIN_MS};
    int r = rest_call(waiting->cli->rest, &call, ret_reply);

    if (r == REST_E_UNREACHABLE || r == REST_E_UNAVAILABLE)
        return EXIT_TIMED_OUT;
    if (r == 0 && download_parse(ret_reply->json, ret_download) == 0)
        return EXIT_DONE;
    progress_clear(waiting->progress);
    if (r != 0)
        return cli_rest_failed(waiting->cli, r);
    cli_error("the coordinator's answer is not understood");
    rest_reply_deinit(ret_reply);
    return EXIT_FAILED;
}

/* Not 0 once the request is final. */
static int on_event(void *userdata, const char *name, const char *data)
{
    const Waiting *waiting = userdata;
    cJSON *object CLEANUP(json_delete) = json_parse_object(data, strlen(data), EVENT_LINE_MAX);
    Download download;

    if (strcmp(name, "request") != 0 || !object || download_parse(object, &download) < 0)
        return 0;
    show(waiting->progress, &download);
    return download_is_final(&download);
}

static int on_bytes(void *userdata, const void *data, size_t size)
{
    return event_stream_feed(userdata, data, size) == 0 ? 0 : -1;
}

/* Until an event says that the request is final; then true. Any other end: false. */
static bool listen_for_end(Waiting *waiting, int64_t now_ms)
{
    EventStream stream = {.on_event = on_event, .userdata = waiting};
    int64_t timeout_ms = time_left(waiting, now_ms, LISTEN_MAX_MS);

    if (waiting->is_deaf || timeout_ms <= 0)
        return false;
    int r = rest_listen(waiting->cli->rest, waiting->events_path, "", timeout_ms, on_bytes, &stream);
    event_stream_reset(&stream);
    waiting->is_deaf = r == REST_E_REFUSED;
    return r == REST_E_SINK;
}

/* Long waits are for slow transfers: at first look often, later once a second. EXIT_DONE, or the exit code.
 */
static int pause_before_next(const Waiting *waiting, int64_t now_ms)
{
    int64_t wait_ms = (now_ms - waiting->begun_ms) / 10;

    wait_ms = wait_ms < POLL_MIN_MS ? POLL_MIN_MS : wait_ms > POLL_MAX_MS ? POLL_MAX_MS : wait_ms;
    wait_ms = time_left(waiting, now_ms, wait_ms);
    if (wait_ms <= 0)
        return EXIT_TIMED_OUT;
    return interrupt_wait((int)wait_ms) ? EXIT_INTERRUPTED : EXIT_DONE;
}

static int poll_until_final(Waiting *waiting, RestReply *ret_reply, Download *ret_download)
{
    for (int64_t now_ms = waiting->begun_ms;;) {
        int code = look(waiting, now_ms, ret_reply, ret_download);
        now_ms = clock_monotonic_ms();
        if (code == EXIT_DONE) {
            waiting->answered_ms = now_ms;
            if (download_is_final(ret_download))
                return EXIT_DONE;
            show(waiting->progress, ret_download);
            rest_reply_deinit(ret_reply);
        } else if (code != EXIT_TIMED_OUT) {
            return code;
        } else if (now_ms - waiting->answered_ms >= UNREACHABLE_MAX_MS) {
            progress_clear(waiting->progress);
            (void)cli_rest_failed(waiting->cli, REST_E_UNREACHABLE);
            return EXIT_TIMED_OUT;
        }
        if (code != EXIT_DONE || !listen_for_end(waiting, now_ms))
            code = pause_before_next(waiting, clock_monotonic_ms());
        if (code != EXIT_DONE)
            return code;
        now_ms = clock_monotonic_ms();
    }
}

int wait_for_download(Cli *cli, const char *id, uint64_t timeout_ms, Progress *progress, RestReply *ret_reply,
                      Download *ret_download)
{
    char *path CLEANUP(free_ptr) = text_format("/download/%s", id);
    char *events_path CLEANUP(free_ptr) = text_format("/events?requestId=%s", id);
    int64_t now_ms = clock_monotonic_ms();
    Waiting waiting = {.cli = cli,
                       .path = path,
                       .events_path = events_path,
                       .progress = progress,
                       .begun_ms = now_ms,
                       .timeout_ms = timeout_ms > INT64_MAX ? INT64_MAX : (int64_t)timeout_ms,
                       .answered_ms = now_ms};

    if (!path || !events_path)
        return EXIT_FAILED;
    int code = poll_until_final(&waiting, ret_reply, ret_download);
    progress_clear(progress);
    if (code == EXIT_TIMED_OUT || code == EXIT_INTERRUPTED) {
        cli_error(code == EXIT_TIMED_OUT ? "gave up waiting" : "interrupted");
        say_it_goes_on(id);
    }
    return code;
}
