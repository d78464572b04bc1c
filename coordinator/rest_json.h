/* What REST says of clients and requests. NULL when out of memory; the caller frees with cJSON_Delete(). */
#pragma once

#include "coordinator/store.h"

#include <cjson/cJSON.h>

cJSON *rest_request_json(const Request *request);
cJSON *rest_event_json(const RequestEventRow *event);
cJSON *rest_client_json(const Client *client);
