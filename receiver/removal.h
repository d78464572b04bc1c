/* cmd/remove: a file is removed because its coordinator says so, with a signed ticket and not otherwise. */
#pragma once

#include "common/audit.h"
#include "protocol/topic.h"
#include "receiver/archive.h"

typedef struct RemovalConfig {
    Archive *archive;
    const KeyRing *coordinator_keys; /* none: nothing is removed */
    Audit *audit;                    /* may be NULL */
} RemovalConfig;

/* A message on cmd/remove/<id>. What is refused is logged and audited, and not answered. */
void removal_command(const RemovalConfig *config, const Topic *about, const void *payload, size_t size);
