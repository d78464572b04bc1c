/* cmd/remove: a file is removed because its coordinator says so, with a signed ticket and not otherwise. */
#pragma once

#include "common/audit.h"
#include "protocol/topic.h"
#include "receiver/archive.h"

typedef struct RemovalConfig {
    Archive *archive;
    const KeyRing *coordinator_keys; /* none: nothing is removed */
    Audit *audit;                    /* may be NULL */
    /* Publishes, or forgets: the coordinator asks again until it has an answer. Any thread. */
    void (*publish)(void *userdata, const char *topic, const char *message);
    void *userdata;
} RemovalConfig;

/* A message on cmd/remove/<id>. What is refused is logged and audited, and not answered. */
void removal_command(const RemovalConfig *config, const Topic *about, const void *payload, size_t size);

/* Says that the content of this upload was removed. */
void removal_tell(const RemovalConfig *config, const Stored *stored);
