#include "coordinator/cli/fetch.h"

#include "common/backoff.h"
#include "common/clock.h"
#include "common/text.h"
#include "coordinator/cli/interrupt.h"

#include <errno.h>
#include <string.h>

#define TRIES_MAX 5

typedef struct Fetch {
    const Download *download;
    Output *output;
    Progress *progress;
    bool too_much;
    int write_error; /* negative errno of the output */
} Fetch;

static int on_content(void *userdata, const void *data, size_t size)
{
    Fetch *fetch = userdata;
    uint64_t total = fetch->download->size_bytes;

    fetch->too_much = size > total - output_size(fetch->output);
    if (fetch->too_much)
        return -EMSGSIZE;
    fetch->write_error = output_write(fetch->output, data, size);
    ProgressState state = {.phase = "fetching",
                           .done_bytes = output_size(fetch->output),
                           .has_total = true,
                           .total_bytes = total};
    progress_update(fetch->progress, &state, clock_monotonic_ms());
    return fetch->write_error;
}

/* One try, from where the output stands. */
static int try_once(Cli *cli, const char *path, Fetch *fetch)
{
    char *url CLEANUP(free_ptr) = NULL;
    int r = rest_locate(cli->rest, path, &url); /* a fresh one each time: tickets are short-lived */

    return r != 0 ? r : rest_fetch(cli->rest, url, output_size(fetch->output), on_content, fetch);
}

static int transfer(Cli *cli, const char *path, Fetch *fetch)
{
    Backoff backoff = {.min_ms = 500, .max_ms = 8000};

    for (;;) {
        uint64_t before = output_size(fetch->output);
        int r = try_once(cli, path, fetch);
        if (r == REST_E_RANGE && output_restart(fetch->output) == 0)
            before = UINT64_MAX; /* counts as a try without a new byte */
        else if (r != REST_E_UNREACHABLE && r != REST_E_UNAVAILABLE)
            return r;
        uint64_t size = output_size(fetch->output);
        if (size > 0 && size == fetch->download->size_bytes)
            return 0; /* it broke after the last byte */
        if (before != UINT64_MAX && size > before)
            backoff_reset(&backoff);
        if (backoff.tries >= TRIES_MAX)
            return r;
        if (interrupt_wait((int)backoff_next_ms(&backoff)))
            return REST_E_INTERRUPTED;
    }
}

static int sink_failed(const Fetch *fetch)
{
    char path[1024];

    if (fetch->too_much)
        cli_error("the receiver sends more bytes than the request has; the content can't be the right one");
    else
        cli_error("writing %s failed: %s", text_printable(output_path(fetch->output), path, sizeof(path)),
                  strerror(-fetch->write_error));
    return EXIT_FAILED;
}

static int commit(const Fetch *fetch)
{
    const char *kept = output_is_stream(fetch->output) ? "do not use what was written" : "nothing was kept";
    int r = output_commit(fetch->output, fetch->download->size_bytes, fetch->download->sha256);
    char path[1024];

    if (r == OUTPUT_E_SIZE)
        cli_error("the content has the wrong size; %s", kept);
    else if (r == OUTPUT_E_DIGEST)
        cli_error("the content has the wrong SHA-256; %s", kept);
    else if (r < 0)
        cli_error("saving %s failed: %s", text_printable(output_path(fetch->output), path, sizeof(path)),
                  strerror(-r));
    return r == 0 ? EXIT_DONE : EXIT_FAILED;
}

int fetch_content(Cli *cli, const Download *download, Output *output, Progress *progress)
{
    Fetch fetch = {.download = download, .output = output, .progress = progress};

    if (!download->has_size || !download->has_sha256) {
        cli_error("the coordinator does not say the file's size and SHA-256, so it can't be checked");
        return EXIT_FAILED;
    }
    char *path CLEANUP(free_ptr) = text_format("/download/%s/content", download->id);
    if (!path)
        return EXIT_FAILED;
    int r = transfer(cli, path, &fetch);
    progress_clear(progress);
    if (r == REST_E_SINK)
        return sink_failed(&fetch);
    if (r == REST_E_INTERRUPTED)
        cli_error("interrupted; the file is safe at the receiver: beckon status %s", download->id);
    return r != 0 ? cli_rest_failed(cli, r) : commit(&fetch);
}
