/* A daemon's configuration under the eyes of `beckon doctor`: what doctor_daemon.c and doctor_files.c share.
 */
#pragma once

#include "coordinator/cli/doctor.h"

#define CHECK_SIZE 64

/* Flags: a check may be for several. */
typedef enum Role { AGENT = 1, RECEIVER = 2, COORDINATOR = 4 } Role;

typedef struct Daemon {
    Report *report;
    Role role;
    const char *role_name; /* "agent" */
    const char *file;
    cJSON *config; /* as daemon_config_read() has it */
} Daemon;

/* NULL, or 0: it is not set. */
const char *daemon_setting(const Daemon *daemon, const char *section, const char *name);
uint64_t daemon_number(const Daemon *daemon, const char *section, const char *name);

/* "[mqtt] key" */
const char *daemon_key_name(const char *section, const char *key, char buf[static CHECK_SIZE]);

/* doctor_files.c: files, folders and the kernel, as this user finds them. */
void doctor_look_at_files(const Daemon *daemon);
