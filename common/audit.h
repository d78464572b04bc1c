/* The audit log: who asked for what, when, from where, and what came of it. One JSON object a line, appended
 * to a file of its own, and written before the answer goes out.
 *
 * Control characters, terminal escapes and bytes that are not UTF-8 are escaped, and long texts cut, so no
 * stranger's text can forge, break or hide a line. Lines are not synced one by one: a power cut may take the
 * last seconds. Any thread. */
#pragma once

#include "common/cleanup.h"

#include <stdint.h>

#define AUDIT_TEXT_MAX 5120 /* bytes of one text, before escapes; the rest is cut */

typedef struct Audit Audit;

/* NULL and "": left out. */
typedef struct AuditEvent {
    const char *user;   /* who, as far as it is proved */
    const char *from;   /* the address */
    const char *what;   /* "POST /download" */
    const char *client; /* of whom */
    const char *file;   /* its path on the device */
    const char *upload; /* the id */
    unsigned status;    /* of the HTTP answer */
    const char *reason; /* why it was refused; NULL: it was not */
    uint64_t unwritten; /* so many like this one before it have no line of their own */
} AuditEvent;

/* For a daemon's config check: 0, also for NULL, or 1 after a config_mistake() if path can't be such a file.
 */
int audit_check(const char *section, const char *path);

/* Opens or makes (0640) the file, and its folder (0750), for appending; program is kept. A symbolic link, or
 * anything else than a regular file, is refused. 0 or a negative errno. */
int audit_open(const char *path, const char *program, Audit **ret_audit) MUST_CHECK;
Audit *audit_close(Audit *audit); /* returns NULL */

/* After the file was moved away: goes on with a new one. If that fails, which is logged, the old one stays in
 * use. */
void audit_reopen(Audit *audit);

/* 0, also when audit is NULL (none is wanted); or a negative errno: then nothing may be done or given away.
 * The first failure in a row is logged, and its end. */
int audit_write(Audit *audit, const AuditEvent *event) MUST_CHECK;
