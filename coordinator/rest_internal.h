/* What rest.c (HTTP: routes, bodies, the bearer, the audit log) and rest_calls.c (what each call does) share.
 */
#pragma once

#include "coordinator/rest.h"

#include <cjson/cJSON.h>

/* One request on its way through. */
typedef struct Call {
    Rest *rest;
    HttpRequest *request;
    bool accountable; /* grant says to whom; false only on routes that are open to everybody */
    bool audited;
    Grant grant;
    const char *client, *file, *upload; /* for the audit log: what it is about, as far as it is known; of a
                                           batch, whom it asks and its own id */
    char id[UPLOAD_ID_SIZE];            /* the path's variable part; both kinds of id have the same bound */
    const char *body;
    size_t body_size;
} Call;

/* object is taken over; NULL: out of memory. */
void call_answer(Call *call, unsigned status, cJSON *object);
/* The same with one more header. */
void call_answer_with(Call *call, unsigned status, cJSON *object, const char *name, const char *value);

/* status 0: the one that suits the code. */
void call_refuse(Call *call, unsigned status, const Problem *problem);
/* The same with a member of its own, taken over. */
void call_refuse_with(Call *call, unsigned status, const Problem *problem, const char *name, cJSON *member);

/* 403 for a token that does not do, where one with scopes would (RFC 6750 section 3.1). */
void call_forbid(Call *call, unsigned scopes, const Problem *problem);

/* Writes the audit line, which answering does by itself, before something is done that can't be undone. The
 * answer then writes none, unless it is a refusal after all. 0, or -1 and *problem. */
int call_audit(Call *call, unsigned status, const char *reason, Problem *problem) MUST_CHECK;

/* Writes that a call has no good token. What strangers can bring about at will is noted only so often. */
void call_note_stranger(const Call *call, unsigned status, const char *reason);

typedef struct Route {
    const char *method;
    const char *path; /* one "*" stands for an id */
    unsigned scopes;  /* that the grant must have; 0: open to everybody, and not audited */
    void (*call)(Call *call);
    const char *query; /* the names that it takes, "a, b", and no others; NULL: whatever comes */
} Route;

/* What of the body of POST /download says what is wanted, but not of whom. The strings in *wanted live as
 * long as object. These return 0, or -1 and *problem. */
int call_read_wish(const cJSON *object, NewRequest *wanted, Problem *problem) MUST_CHECK;
int call_bad_member(Problem *problem, const char *name, const char *expected);
int call_bad_query(Problem *problem, const char *name, const char *expected);
int call_read_limit(Call *call, size_t *ret_limit, Problem *problem) MUST_CHECK; /* of a page */
/* For NewRequest. */
int call_approve(void *userdata, const char *id, Problem *problem);
/* Of what control_create() and batch_create() say. */
void call_refuse_wish(Call *call, const Problem *problem);

/* rest_batches.c */
bool batches_are_meant(const cJSON *object); /* by the body of POST /download */
void batches_post(Call *call, const cJSON *object, NewRequest *wish);
void batches_get_all(Call *call);
void batches_get(Call *call);
void batches_delete(Call *call);

/* rest_events.c */
void events_get(Call *call);

/* rest_health.c */
void health_get(Call *call);
void health_get_live(Call *call);
void health_get_ready(Call *call);
void metrics_get(Call *call);

/* rest_session.c */
void session_get(Call *call);
void session_post(Call *call);
void session_delete(Call *call);

/* rest_web.c */
void web_get_page(Call *call);
void web_get_file(Call *call);

extern const Route rest_routes[];
extern const size_t rest_route_count;
