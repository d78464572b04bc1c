/* A single-threaded event loop on poll(2): descriptors, timers, and the signals that end or reload a daemon.
 *
 * All functions belong to the thread that runs the loop. Callbacks may add and remove sources,
 * their own included. */
#pragma once

#include "common/cleanup.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct Loop Loop;
typedef struct LoopSource LoopSource;

/* Blocks SIGINT, SIGTERM and SIGHUP for the calling thread and those it starts later. What comes from now on
 * waits for loop_run(), so that a daemon that is told to stop while it starts ends as at any other time. */
void loop_block_signals(void);

/* Does the same, and ignores SIGPIPE. */
int loop_new(Loop **ret_loop) MUST_CHECK;
Loop *loop_free(Loop *loop); /* returns NULL; frees the sources that are left */

/* Calls ready(revents) whenever fd is ready for events (POLLIN, POLLOUT). fd stays the caller's. */
int loop_add_fd(Loop *loop, int fd, short events, void (*ready)(void *userdata, short revents),
                void *userdata, LoopSource **ret_source) MUST_CHECK;

/* A timer, not yet set. */
int loop_add_timer(Loop *loop, void (*due)(void *userdata), void *userdata,
                   LoopSource **ret_source) MUST_CHECK;

/* Fires once, delay_ms from now; setting it again moves it. Negative: never. */
void loop_timer_set(LoopSource *timer, int64_t delay_ms);

LoopSource *loop_remove(LoopSource *source); /* returns NULL; NULL is fine */

/* Called on SIGHUP; without it SIGHUP is ignored. */
void loop_on_reload(Loop *loop, void (*reload)(void *userdata), void *userdata);
/* Called on SIGCHLD (which is then blocked too). */
int loop_on_child(Loop *loop, void (*child)(void *userdata), void *userdata) MUST_CHECK;

/* Something else than this loop that must be alive (a thread): asked before the service manager's watchdog is
 * fed. */
void loop_on_watchdog(Loop *loop, bool (*is_alive)(void *userdata), void *userdata);

/* Runs until SIGINT, SIGTERM or loop_quit(), telling a service manager when it begins and ends, and feeding
 * its watchdog. 0 or a negative errno. */
int loop_run(Loop *loop) MUST_CHECK;
void loop_quit(Loop *loop);
