/* How far a transfer is, on standard error: a bar that redraws itself on a terminal, a line now and then
 * elsewhere. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct ProgressState {
    const char *phase; /* a word of ours: "queued", "uploading", "fetching" */
    uint64_t done_bytes;
    bool has_total;
    uint64_t total_bytes;
    double rate; /* bytes a second; 0: not known yet */
} ProgressState;

#define PROGRESS_LINE_SIZE 512

/* The bar's text, in ASCII, at most width columns (and never more than PROGRESS_LINE_SIZE - 1). On a narrow
 * terminal the bar goes first, then the rate and the time left. Returns out. */
char *progress_render(const ProgressState *state, unsigned width, char out[static PROGRESS_LINE_SIZE]);

/* A rate smoothed over the last few seconds, from samples at any distance. */
typedef struct Rate {
    int64_t at_ms; /* of the last sample that moved; 0: none yet */
    uint64_t bytes;
    double per_second;
} Rate;
double rate_sample(Rate *rate, uint64_t bytes, int64_t now_ms);

typedef struct Progress {
    int fd;
    bool terminal;
    bool shown;        /* a bar is on the last line */
    const char *phase; /* last shown */
    int64_t shown_at_ms;
    Rate rate;
    char line[PROGRESS_LINE_SIZE]; /* last drawn */
} Progress;

/* A terminal gets the bar unless TERM is dumb. */
void progress_init(Progress *progress, int fd);

/* Shows state (whose rate is ignored) if it is time to. */
void progress_update(Progress *progress, const ProgressState *state, int64_t now_ms);

/* The same with any printable line in the bar's place. */
void progress_say(Progress *progress, const char *text, int64_t now_ms);

/* Takes the bar away, so that other lines can be printed. */
void progress_clear(Progress *progress);
