/* The tables, as the steps that lead to them. */
#pragma once

#include <stddef.h>

/* SQL; step n brings a database of user_version n to n + 1. Never change a step that was released: add one.
 */
extern const char *const store_migrations[];
extern const size_t store_migration_count;
