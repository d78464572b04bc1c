/* The coordinator as a whole: broker link, REST server and clock around control.h. */
#pragma once

#include "coordinator/config.h"

/* Runs until SIGTERM or SIGINT. 0 or a negative errno, which has been logged. */
int coordinator_run(const CoordinatorConfig *config) MUST_CHECK;
