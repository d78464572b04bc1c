/* What REST says of clients and requests. NULL when out of memory; the caller frees with cJSON_Delete(). */
#pragma once

#include "coordinator/store.h"
#include "coordinator/store_batches.h"

#include <cjson/cJSON.h>

cJSON *rest_request_json(const Request *request);
cJSON *rest_event_json(const RequestEventRow *event);
cJSON *rest_client_json(const Client *client);
cJSON *rest_batch_json(const Batch *batch);

/* "2026-11-21T12:00:00.000Z", or null for 0. false when out of memory. */
bool rest_add_time(cJSON *object, const char *name, int64_t unix_ms);
