/* Strict reading of JSON from strangers, on cJSON. Every getter leaves the output untouched unless it returns
 * JSON_OK. */
#pragma once

#include "common/cleanup.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    JSON_OK = 0,
    JSON_E_ABSENT = 1, /* no such member, or it is null */
    JSON_E_TYPE = 2,   /* the member is there but is not what was asked for, or too long, or out of range */
};

/* Parses an object: valid UTF-8, at most max bytes, at most 16 levels deep, no \u0000, nothing after it.
 * NULL for anything else. The caller frees with cJSON_Delete(). */
cJSON *json_parse_object(const void *text, size_t size, size_t max);

/* Copies a string member of at most size - 1 bytes. */
int json_get_string(const cJSON *object, const char *name, char *out, size_t size);

/* The same without a copy; the pointer lives as long as object. */
int json_get_string_ref(const cJSON *object, const char *name, const char **ret_text);

/* A whole number from 0 to 2^53. */
int json_get_u64(const cJSON *object, const char *name, uint64_t *ret_value);
int json_get_bool(const cJSON *object, const char *name, bool *ret_value);

/* Adds a whole number without losing digits below 2^53. false when out of memory. */
bool json_add_u64(cJSON *object, const char *name, uint64_t value);

static inline void json_delete(cJSON **object)
{
    cJSON_Delete(*object);
}
