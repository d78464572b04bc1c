/* The life of a request, as a pure function.
 *
 *   queued ──▶ accepted ──▶ running ──▶ completed          only a valid receipt leads to completed;
 *      │           │           │                           the agent's `done` leaves a request running
 *      └───────────┴───────────┴──▶ failed, rejected, cancelled, expired
 *
 * The states are those of UploadState without UPLOAD_DONE, which a request never has. completed, failed,
 * rejected, cancelled and expired are final; a valid receipt still overrides each of them, for then the file
 * is there, whatever was believed before. */
#pragma once

#include "protocol/message.h"

#include <stdbool.h>

typedef enum RequestEvent {
    REQUEST_EVENT_ACCEPTED, /* the first six are the agent's words */
    REQUEST_EVENT_RUNNING,
    REQUEST_EVENT_DONE,
    REQUEST_EVENT_FAILED,
    REQUEST_EVENT_REJECTED,
    REQUEST_EVENT_CANCELLED,
    REQUEST_EVENT_RECEIPT,      /* valid, for this client, this id and this path */
    REQUEST_EVENT_CANCEL_ASKED, /* changes no state: the answers of agent and receiver decide */
    REQUEST_EVENT_PUT_OFF, /* changes no state: the device's queue is full, and the command is repeated */
    REQUEST_EVENT_EXPIRED,
} RequestEvent;
#define REQUEST_EVENT_COUNT (REQUEST_EVENT_EXPIRED + 1)

UploadState request_next(UploadState state, RequestEvent event);

bool request_is_final(UploadState state);

/* Whether a power cut may not take back that event has led to state. What an agent says is under way it says
 * again, so that such a change is not worth an fsync. */
bool request_must_last(UploadState state, RequestEvent event);

/* "receipt", "cancel asked": for the history. */
const char *request_event_name(RequestEvent event);

/* The event that an agent's status is. false for a state that no agent may claim. */
bool request_event_of_status(UploadState status, RequestEvent *ret_event);
