/* What rest.c (HTTP: routes, bodies, the bearer) and rest_calls.c (what each call does) share. */
#pragma once

#include "coordinator/rest.h"

#include <cjson/cJSON.h>

/* One request on its way through. */
typedef struct Call {
    Rest *rest;
    HttpRequest *request;
    char id[UPLOAD_ID_SIZE]; /* the path's variable part; both kinds of id have the same bound */
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

typedef struct Route {
    const char *method;
    const char *path; /* one "*" stands for an id */
    bool open;        /* no bearer needed */
    void (*call)(Call *call);
} Route;

/* rest_events.c */
void events_get(Call *call);

/* rest_web.c */
void web_get_page(Call *call);
void web_get_file(Call *call);

extern const Route rest_routes[];
extern const size_t rest_route_count;
