/* The MQTT topics: beckon/v1/<client>/... */
#pragma once

#include "common/cleanup.h"
#include "protocol/ident.h"

#define TOPIC_SIZE 192 /* enough for every topic and its NUL */

typedef enum TopicKind {
    TOPIC_CMD_UPLOAD,  /* cmd/upload/<id> */
    TOPIC_CMD_CANCEL,  /* cmd/cancel/<id> */
    TOPIC_CMD_RECEIPT, /* cmd/receipt/<id> */
    TOPIC_CMD_REMOVE,  /* cmd/remove/<id> */
    TOPIC_STATUS,      /* status/<id> */
    TOPIC_PRESENCE,    /* presence; no upload */
    TOPIC_RECEIPT,     /* receipt/<id> */
    TOPIC_REMOVED,     /* removed/<id> */
} TopicKind;

typedef struct Topic {
    TopicKind kind;
    char client[CLIENT_ID_SIZE];
    char upload[UPLOAD_ID_SIZE]; /* "" for presence */
} Topic;

enum { TOPIC_E_INVALID = 1 }; /* not one of ours, or an id in it is not valid */

/* 0 or TOPIC_E_INVALID. */
int topic_parse(const char *text, Topic *ret_topic) MUST_CHECK;

/* client "+" and upload "+" or "#" make a filter. upload is ignored for TOPIC_PRESENCE. Returns out. */
char *topic_format(TopicKind kind, const char *client, const char *upload, char out[static TOPIC_SIZE]);
