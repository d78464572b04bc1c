/* A table in aligned columns, for people. Widths are those of a terminal, also for names in UTF-8. */
#pragma once

#include "common/cleanup.h"

#include <stdio.h>

#define TABLE_COLUMNS_MAX 8

typedef struct Table Table;

/* titles: count of them, at most TABLE_COLUMNS_MAX; kept, not copied. NULL when out of memory. */
Table *table_new(const char *const *titles, size_t count);
Table *table_free(Table *table); /* returns NULL */

/* Copies the cells, one for each title. They must be printable. 0 or -ENOMEM. */
int table_add(Table *table, const char *const *cells) MUST_CHECK;

void table_print(const Table *table, FILE *stream);
