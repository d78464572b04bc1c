/* The receiver's HTTPS interface: /v1/uploads/<id> and the health pages. The table of what answers what is in
 * docs/protocol.md. */
#pragma once

#include "common/audit.h"
#include "common/http_server.h"
#include "protocol/token.h"
#include "receiver/answer.h"
#include "receiver/archive.h"
#include "receiver/intake_fields.h"
#include "receiver/store.h"
#include "receiver/uploads.h"

#include <stdatomic.h>

typedef enum TicketRule {
    TICKETS_IGNORED,  /* there is no key to check them with */
    TICKETS_CHECKED,  /* one that is shown must be good, and limits */
    TICKETS_REQUIRED, /* and one must be shown */
} TicketRule;

/* All borrowed. The handlers' userdata. */
typedef struct Api {
    Uploads *uploads;
    Archive *archive;
    Store *store;
    const KeyRing *coordinator_keys; /* whose tickets count; may hold none */
    TicketRule tickets;              /* for uploads */
    bool ticket_alone;               /* one is enough where there is no certificate */
    uint64_t max_size;               /* bytes of one upload; 0: no limit */
    Audit *audit;                    /* of downloads; NULL: none is kept */
    Outbox *outbox;
    bool knows_people; /* by the CA that has signed them, not by their reserved names alone */
    const char *mqtt_cert_file;
    int64_t server_expires_unix_s; /* the certificate's end */
    uint64_t free_space_floor;     /* bytes */
    atomic_bool broker_connected;  /* set by the main thread, like: */
    atomic_int_fast64_t turned_ms; /* monotonic; when it was last seen at work. 0: not yet */
} Api;

extern const HttpHandlers api_handlers;

/* Who asks, as far as the certificate tells. */
typedef struct Caller {
    bool known;  /* a verified certificate with a CN that is a client id */
    bool person; /* or a service: not a device */
    char name[CLIENT_ID_SIZE];
} Caller;

/* 0, or -1 and *refusal for a certificate that is not to be trusted; that is logged here. No certificate at
 * all is 0. */
int caller_identify(const Api *api, HttpRequest *request, Caller *ret_caller, Refusal *refusal) MUST_CHECK;

/* The pages that need no certificate: /health, /livez, /readyz. Whether path is one of them; then it is
 * answered. */
bool health_answer(Api *api, HttpRequest *request, const char *path);

/* /metrics, for whom it may concern. */
void metrics_answer(Api *api, HttpRequest *request, const Caller *caller);

#define UPLOADS_PATH "/v1/uploads/"

/* What a caller may do with an upload. */
typedef struct Permit {
    char client[CLIENT_ID_SIZE];
    char id[UPLOAD_ID_SIZE];
    uint64_t max_size;            /* bytes; 0: no limit */
    bool ticketed;                /* by a ticket, and then only with a digest, and */
    char path[FILE_PATH_MAX + 1]; /* of this path on the device; "": of any */
} Permit;

/* 0 if the caller may ask about uploads at all: it is a device, or has a ticket where that is enough. Else -1
 * and *refusal. */
int permit_check_caller(const Api *api, const HttpRequest *request, const Caller *caller,
                        Refusal *refusal) MUST_CHECK;

/* By the certificate, and by the ticket (Authorization: Bearer), which must be for the same client. id NULL:
 * for /v1/uploads itself, where the ticket names the upload, or it gets a new id. 0, or -1 and *refusal. */
int permit_read(const Api *api, const HttpRequest *request, const Caller *caller, const char *id,
                Permit *ret_permit, Refusal *refusal) MUST_CHECK;

/* Bytes: intake_begin() either answers or makes the request's state; the others take it from there. */
void intake_begin(Api *api, HttpRequest *request, IntakeMethod method, const Permit *permit);
void intake_body(HttpRequest *request, const void *data, size_t size);
void intake_end(HttpRequest *request);
void intake_done(HttpRequest *request);

/* What more than one of them refuses with. */
int refuse_absent(Refusal *refusal);
int refuse_deleted(Refusal *refusal);

/* For the audit log: a GET of id that was refused before it came to download_begin(). */
void download_refused(const Api *api, HttpRequest *request, const Caller *caller, const char *id,
                      const Refusal *refusal);

/* GET; the caller may have no certificate but a ticket. */
void download_begin(Api *api, HttpRequest *request, const Caller *caller, const char *id);
