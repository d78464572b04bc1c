#include "coordinator/cli/progress.h"

#include "common/files.h"
#include "common/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define REDRAW_MS 100
#define LINE_MS 5000
#define BAR_MIN 10
#define BAR_MAX 50
#define RATE_MEMORY_S 3.0
#define DEFAULT_WIDTH 80U

static void format_time_left(const ProgressState *state, char *out, size_t size)
{
    double left_s = (double)(state->total_bytes - state->done_bytes) / state->rate;

    if (left_s >= 100.0 * 3600)
        (void)snprintf(out, size, "  days left");
    else if (left_s >= 3600)
        (void)snprintf(out, size, "  %u:%02u:%02u left", (unsigned)left_s / 3600, (unsigned)left_s / 60 % 60,
                       (unsigned)left_s % 60);
    else
        (void)snprintf(out, size, "  %u:%02u left", (unsigned)left_s / 60, (unsigned)left_s % 60);
}

static unsigned percent_of(const ProgressState *state)
{
    if (state->total_bytes == 0)
        return 100;
    double share = (double)state->done_bytes / (double)state->total_bytes;
    return share >= 1 ? 100 : (unsigned)(share * 100);
}

/* "44.0 MB of 104.9 MB" */
static void format_amount(const ProgressState *state, char *out, size_t size)
{
    char done[TEXT_BYTES_SIZE], total[TEXT_BYTES_SIZE];

    text_bytes(state->done_bytes, done);
    text_bytes(state->total_bytes, total);
    if (state->has_total)
        (void)snprintf(out, size, "%s of %s", done, total);
    else
        (void)snprintf(out, size, "%s", state->done_bytes > 0 ? done : "");
}

static void draw_bar(unsigned percent, unsigned cells, char *out)
{
    unsigned full = percent * cells / 100;

    memset(out, ' ', cells);
    memset(out, '=', full);
    if (full < cells)
        out[full] = '>';
    out[cells] = '\0';
}

char *progress_render(const ProgressState *state, unsigned width, char out[static PROGRESS_LINE_SIZE])
{
    char amount[3 * TEXT_BYTES_SIZE], speed[TEXT_BYTES_SIZE + 8] = "", left[32] = "", bar[BAR_MAX + 1];
    char rate[TEXT_BYTES_SIZE];

    if (width >= PROGRESS_LINE_SIZE)
        width = PROGRESS_LINE_SIZE - 1;
    format_amount(state, amount, sizeof(amount));
    if (state->rate >= 1) {
        text_bytes((uint64_t)state->rate, rate);
        (void)snprintf(speed, sizeof(speed), "  %s/s", rate);
        if (state->has_total && state->done_bytes < state->total_bytes)
            format_time_left(state, left, sizeof(left));
    }
    if (!state->has_total) {
        (void)snprintf(out, width + 1, "%-9s  %s%s", state->phase, amount, speed);
        return out;
    }
    unsigned percent = percent_of(state);
    size_t need =
        (size_t)snprintf(out, width + 1, "%-9s %3u%%  %s%s%s", state->phase, percent, amount, speed, left);
    if (need + BAR_MIN + 3 <= width) {
        size_t cells = width - need - 3 < BAR_MAX ? width - need - 3 : BAR_MAX;
        draw_bar(percent, (unsigned)cells, bar);
        (void)snprintf(out, width + 1, "%-9s %3u%% [%s]  %s%s%s", state->phase, percent, bar, amount, speed,
                       left);
    } else if (need > width) {
        (void)snprintf(out, width + 1, "%-9s %3u%%  %s", state->phase, percent, amount);
    }
    return out;
}

double rate_sample(Rate *rate, uint64_t bytes, int64_t now_ms)
{
    if (rate->at_ms == 0 || bytes < rate->bytes) {
        *rate = (Rate){.at_ms = now_ms, .bytes = bytes};
        return 0;
    }
    double elapsed_s = (double)(now_ms - rate->at_ms) / 1000;
    if (elapsed_s < 0.2 || (bytes == rate->bytes && elapsed_s < RATE_MEMORY_S))
        return rate->per_second; /* the coordinator hears of progress once a second only */
    double now_per_second = (double)(bytes - rate->bytes) / elapsed_s;
    double weight = rate->per_second > 0 ? elapsed_s / (elapsed_s + RATE_MEMORY_S) : 1;
    rate->per_second += (now_per_second - rate->per_second) * weight;
    rate->at_ms = now_ms;
    rate->bytes = bytes;
    return rate->per_second;
}

void progress_init(Progress *progress, int fd)
{
    const char *term = getenv("TERM");

    *progress =
        (Progress){.fd = fd, .phase = "", .terminal = isatty(fd) && !(term && strcmp(term, "dumb") == 0)};
}

static unsigned terminal_width(int fd)
{
    struct winsize window;

    if (ioctl(fd, TIOCGWINSZ, &window) < 0 || window.ws_col == 0)
        return DEFAULT_WIDTH;
    return window.ws_col;
}

/* In one write. A terminal that went away is no reason to fail. */
static void put(int fd, const char *text)
{
    if (write_all(fd, text, strlen(text)) < 0)
        return;
}

/* One write, and only if something has changed: no flicker. The last column stays free, else some terminals
 * wrap. */
static void draw(Progress *progress, const char line[static PROGRESS_LINE_SIZE])
{
    char screen[PROGRESS_LINE_SIZE + 8];

    if (progress->shown && strcmp(line, progress->line) == 0)
        return;
    (void)snprintf(screen, sizeof(screen), "\r%s\033[K", line);
    put(progress->fd, screen);
    memcpy(progress->line, line, sizeof(progress->line));
    progress->shown = true;
}

static void print_line(const Progress *progress, const ProgressState *state)
{
    char amount[3 * TEXT_BYTES_SIZE], line[sizeof(amount) + 64];

    format_amount(state, amount, sizeof(amount));
    (void)snprintf(line, sizeof(line), "beckon: %s%s%s\n", state->phase, amount[0] ? " " : "", amount);
    put(progress->fd, line);
}

void progress_update(Progress *progress, const ProgressState *state, int64_t now_ms)
{
    bool new_phase = strcmp(state->phase, progress->phase) != 0;
    ProgressState shown = *state;
    char line[PROGRESS_LINE_SIZE] = "";

    if (new_phase)
        progress->rate = (Rate){0};
    shown.rate = rate_sample(&progress->rate, state->done_bytes, now_ms);
    if (!new_phase && now_ms - progress->shown_at_ms < (progress->terminal ? REDRAW_MS : LINE_MS))
        return;
    if (progress->terminal)
        draw(progress, progress_render(&shown, terminal_width(progress->fd) - 1, line));
    else
        print_line(progress, &shown);
    progress->phase = state->phase;
    progress->shown_at_ms = now_ms;
}

void progress_say(Progress *progress, const char *text, int64_t now_ms)
{
    char line[PROGRESS_LINE_SIZE] = "", whole[PROGRESS_LINE_SIZE + 16];
    unsigned width = terminal_width(progress->fd);

    if (now_ms - progress->shown_at_ms < (progress->terminal ? REDRAW_MS : LINE_MS))
        return;
    (void)snprintf(line, width < sizeof(line) ? width : sizeof(line), "%s", text);
    (void)snprintf(whole, sizeof(whole), "beckon: %s\n", line);
    if (progress->terminal)
        draw(progress, line);
    else
        put(progress->fd, whole);
    progress->phase = "";
    progress->shown_at_ms = now_ms;
}

void progress_clear(Progress *progress)
{
    if (progress->shown)
        put(progress->fd, "\r\033[K");
    progress->shown = false;
}
