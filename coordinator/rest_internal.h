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
    const char *client, *file, *upload; /* for the audit log: what it is about, as far as it is known */
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

/* Writes the audit line, which answering does by itself, before something is done that can't be undone. The
 * answer then writes none, unless it is a refusal after all. 0, or -1 and *problem. */
int call_audit(Call *call, unsigned status, const char *reason, Problem *problem) MUST_CHECK;

typedef struct Route {
    const char *method;
    const char *path; /* one "*" stands for an id */
    unsigned scopes;  /* that the grant must have; 0: open to everybody, and not audited */
    void (*call)(Call *call);
} Route;

/* rest_events.c */
void events_get(Call *call);

/* rest_session.c */
void session_get(Call *call);
void session_post(Call *call);
void session_delete(Call *call);

/* rest_web.c */
void web_get_page(Call *call);
void web_get_file(Call *call);

extern const Route rest_routes[];
extern const size_t rest_route_count;
