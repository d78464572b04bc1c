/* What store_sqlite.c (clients and requests) and store_batches.c share. */
#pragma once

#include "coordinator/database.h"
#include "coordinator/store.h"

struct Store {
    Database *database;
    const Grant *grant; /* whose eyes is_seen() has; NULL: everybody's */
};

/* Within a transaction of the caller's: the row (sets request->seq), and a line of its history. 0 or a
 * negative errno. */
int store_insert_request(Store *store, Request *request) MUST_CHECK;
int store_insert_event(Store *store, const Request *request, const char *event) MUST_CHECK;
