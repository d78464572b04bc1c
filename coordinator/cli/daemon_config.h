/* What a daemon makes of its configuration: the daemon itself is asked (--show-config), so that nobody else
 * has to know its keys, their defaults and its environment. */
#pragma once

#include "common/cleanup.h"

#include <cjson/cJSON.h>

/* role: "agent". The program beckon-ROLE beside this one, or else of the PATH. *ret_config is what counts, as
 * far as it could be read, or NULL; *ret_log the mistakes and warnings, a line each as a log has it. 0, or a
 * negative errno (-ENOENT: there is no such program). The caller frees both. */
int daemon_config_read(const char *role, const char *file, cJSON **ret_config, char **ret_log) MUST_CHECK;
