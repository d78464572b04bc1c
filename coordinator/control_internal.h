/* What control.c (life), ask.c (REST), follow.c (messages in) and command.c (messages out) share. All of it
 * needs the mutex. */
#pragma once

#include "coordinator/control.h"
#include "coordinator/request_state.h"
#include "coordinator/sorted.h"
#include "coordinator/store_batches.h"
#include "coordinator/turns.h"
#include "protocol/topic.h"

/* A client, and when it was last written: a heartbeat alone is not worth an fsync. */
typedef struct Known {
    Client client;
    int64_t saved_ms;    /* Unix */
    int64_t patience_ms; /* how long its silence is borne while it is online */
    int64_t offline_ms;  /* monotonic; it is offline then, if nothing is heard */
    int64_t full_ms;     /* monotonic; when it has last said that its queue is full. 0: never */
    size_t takes;        /* so many of our requests it had then, or more since */
} Known;

typedef struct RequestKey {
    const char *client, *id;
} RequestKey;

/* What is kept in memory of a request that is not final. */
typedef struct Open {
    char client[CLIENT_ID_SIZE];
    char id[UPLOAD_ID_SIZE];
    char traceparent[TRACEPARENT_SIZE];
    RequestOrigin origin;
    UploadState state;
    bool cancel_asked;
    bool out;            /* its command was published, and the agent has not said that its queue is full */
    bool done;           /* the agent says it has sent all: only the receipt is missing */
    bool has_size;       /* progress is written to the store with the next change of state only: */
    uint64_t size_bytes; /* a thousand running uploads must not fsync every second */
    uint64_t sent_bytes;
    int64_t expires_ms;          /* Unix */
    int64_t command_due_ms;      /* monotonic; when the command is to be published again */
    int64_t receipt_due_ms;      /* the same for cmd/receipt */
    int64_t told_ms;             /* monotonic; when its progress was last told to who listens */
    unsigned commands, receipts; /* published since the client was last heard on this request */
} Open;

/* A request that ended without a receipt. The file may be there all the same, so its receiver is asked a few
 * times; after a restart too. */
typedef struct Doubt {
    char client[CLIENT_ID_SIZE];
    char id[UPLOAD_ID_SIZE];
    char traceparent[TRACEPARENT_SIZE];
    int64_t due_ms; /* monotonic; when it is asked again */
    unsigned asked;
} Doubt;

/* A batch that has clients to ask, requests to cancel, or news to tell. */
typedef struct Busy {
    char id[UPLOAD_ID_SIZE];
    char maker[USER_NAME_SIZE]; /* while some are unasked */
    uint64_t unasked;           /* their requests have a place in the quota already */
    int64_t credited_ms;        /* monotonic */
    uint64_t credit;            /* thousandths of clients that may be asked */
    bool changed;               /* its readers are to be told */
} Busy;

/* What is being forgotten: a pass through all that is final, in small steps. */
typedef struct History {
    int64_t look_ms;     /* monotonic; when the next pass begins, if this one has ended */
    bool busy;           /* it has not */
    int64_t by_count_ms; /* Unix; what ended before is more than is kept of all clients together. 0: none */
    int64_t before_ms;   /* Unix; the latest limit that this pass has met with. 0: none */
    char client[CLIENT_ID_SIZE]; /* so far it has come, where clients have rules of their own */
} History;

struct Control {
    ControlConfig config;
    Turns turns;
    bool connected;
    Sorted clients;  /* Known, by client id */
    Sorted open;     /* Open, by RequestKey */
    Sorted doubts;   /* Doubt, by RequestKey */
    Sorted batches;  /* Busy, by batch id */
    Sorted removals; /* Doubt, by RequestKey: the receiver is asked to remove their content */
    History history;
};

static inline void control_unlock(Turns **turns)
{
    turns_leave(*turns);
}

/* Holds the lock until the end of the scope. */
#define LOCKED(control)                                                                                      \
    Turns *locked_ CLEANUP(control_unlock) = &(control)->turns;                                              \
    turns_take(locked_)

/* --- control.c --- */

Known *control_known(Control *control, const char *client);
Open *control_open(Control *control, const char *client, const char *id);
/* The range of a client's open requests in control->open: from *ret_first, returns how many. */
size_t control_open_range(const Control *control, const char *client, size_t *ret_first);

/* Whether the client has at least count (> 0) open requests: a look-up, however many there are. */
bool control_has_open(const Control *control, const char *client, size_t count);

/* How many more requests may be open, besides those that batches will make. */
size_t control_room(const Control *control);

/* Follows a request that is not final: its command is due at once. 0, -ENOMEM or -ENOBUFS. */
int control_add_open(Control *control, const Request *request) MUST_CHECK;
void control_drop_open(Control *control, const char *client, const char *id);

/* Progress is newer in memory than in the store. */
void control_overlay_progress(Control *control, Request *request);

/* Applies event to *request, writes it (a request without seq is added) and keeps the memory in step. problem
 * is recorded with a state that it explains; NULL: none. On a negative errno, which has been logged, nothing
 * has changed. */
int control_change(Control *control, Request *request, RequestEvent event, const Problem *problem) MUST_CHECK;

/* --- ask.c: what can be told from a wish alone, and answers; all of them return -1 --- */

int ask_check_wish(const NewRequest *wanted, Problem *problem);
void ask_fill_key(const Grant *grant, const NewRequest *wanted, char out[static IDEMPOTENCY_KEY_SIZE]);
int ask_key_reused(Problem *problem, const char *made);
int ask_store_problem(Problem *problem, int error);
int ask_no_memory(Problem *problem);
int ask_client_full(Problem *problem, const char *client);
/* Finds one request as REST names it, within what grant sees. 0, or -1. */
int ask_locate(Control *control, const Grant *grant, const char *client, const char *id, Request *ret_request,
               Problem *problem) MUST_CHECK;

/* --- batch_run.c --- */

int batch_compare(const void *item, const void *key); /* for control->batches */
/* After a start: the batches that are not done with. 0 or a negative errno. */
int batch_load(Control *control) MUST_CHECK;
/* The batch in memory, perhaps newly so; NULL when out of memory. */
Busy *batch_note(Control *control, const char *id);
void batch_forget(Control *control, const char *id);
/* Something of it has changed. */
void batch_touch(Control *control, const char *id);
/* Asks, stops and cancels; tells what has changed. Without room at the broker nobody is asked. Takes the lock
 * itself, several times. */
void batch_tick(Control *control, bool room_at_broker);

/* --- removal.c --- */

/* After a start. 0 or a negative errno. */
int removal_load(Control *control) MUST_CHECK;
/* Asks again what is due, until the broker takes no more. */
void removal_tick(Control *control);
/* After a connect: everything is due. */
void removal_wake(Control *control);
/* The receiver has said so, and signed it. */
void removal_follow(Control *control, const Removal *removal);

/* --- history.c --- */

/* Forgets some of the requests, and batches, that are final and older or more than are to be kept. */
void history_tick(Control *control);

/* --- command.c --- */

/* Publishes anything: 0 or a negative errno. Not logged are those for which command_is_busy(): the broker
 * takes nothing now; what is due stays due. */
int command_send(Control *control, TopicKind kind, const char *client, const char *id, const char *payload);
bool command_is_busy(int error);
/* base_ms, doubled so many times within reason. */
int64_t command_doubled(uint64_t base_ms, unsigned times, uint64_t max_ms);

/* How many commands more the client of the last look may be sent. */
typedef struct Window {
    char client[CLIENT_ID_SIZE];
    size_t room;
} Window;

/* Publishes the command now, if that is possible and the client has no more of them than it takes; else it
 * stays due. So with a cancel, and with the command it is said again. */
void command_publish(Control *control, Open *open, const Request *request);
void command_publish_cancel(Control *control, const Request *request);
/* Of a request that has ended without one: now, and a few times in the next hour. */
void command_ask_receipt(Control *control, const Request *request);
/* After a start: the questions of an earlier process are asked again, from the first one on. 0 or a negative
 * errno. */
int command_load_doubts(Control *control) MUST_CHECK;
/* The receiver has answered. */
void command_end_doubt(Control *control, const char *client, const char *id);
/* Asks again what is due, until the broker takes no more. */
void command_tick_doubts(Control *control);
int command_compare_doubt(const void *item, const void *key); /* for control->doubts */
/* The agent has said `done`: ask for the receipt if it does not come by itself. */
void command_expect_receipt(Control *control, Open *open);
/* The client was heard on this request: the silence begins anew, but for a cancel that it has not ended by.
 */
void command_heard(Control *control, Open *open);
/* The client's queue is full: the command waits until one of its others has ended there. */
void command_put_off(Control *control, Open *open);
/* Something has changed at the client: publishes what waits, if there is room now. */
void command_release(Control *control, const char *client);
/* The client came online: whatever is open for it is due. */
void command_wake_client(Control *control, const char *client);
/* After a connect: everything is due. */
void command_wake_all(Control *control);
/* Publishes what is due for one. *window: zero before the first of a pass. false: the broker takes no more
 * now. */
bool command_tick(Control *control, Open *open, Window *window);

/* --- tell.c: events, where somebody listens --- */

void tell_client(Control *control, const Client *client);
void tell_request(Control *control, const Request *request);
void tell_progress(Control *control, const Open *open);
void tell_batch(Control *control, const Batch *batch);
void tell_batch_to(Control *control, const HttpSource *reader, const Batch *batch); /* one alone */

/* --- follow.c --- */

void follow_status(Control *control, const char *client, const char *id, const UploadStatus *status);
void follow_presence(Control *control, const char *id, const Presence *presence, bool retained);
/* The broker sends no last will for an agent that died together with it: whoever is silent for too long is
 * offline. */
void follow_silence(Control *control);
/* After a connect: what was not heard without a broker proves nothing. */
void follow_reconnect(Control *control);
void follow_receipt(Control *control, const Receipt *receipt, const char *stored, const char *traceparent);

/* Whether the file at received (an absolute path, from a receipt) is the one that was asked for. */
bool follow_path_is(const char *asked, const char *received);
