#include "common/json.h"

#include "common/text.h"

#include <math.h>
#include <string.h>

#define JSON_DEPTH_MAX 16
#define JSON_WHOLE_MAX 9007199254740992.0 /* 2^53: beyond it a double skips whole numbers */

/* Brackets outside of strings, so that cJSON's recursion is bounded by us, and no \u0000, which would cut a C
 * string. */
static bool is_plain(const char *text, size_t size)
{
    unsigned depth = 0;
    bool in_string = false;

    for (size_t i = 0; i < size; i++) {
        if (in_string && text[i] == '\\') {
            if (size - i >= 6 && memcmp(text + i, "\\u0000", 6) == 0)
                return false;
            i++;
        } else if (in_string && (unsigned char)text[i] < 0x20) {
            return false;
        } else if (text[i] == '"') {
            in_string = !in_string;
        } else if (!in_string && (text[i] == '{' || text[i] == '[')) {
            if (++depth > JSON_DEPTH_MAX)
                return false;
        } else if (!in_string && (text[i] == '}' || text[i] == ']') && depth > 0) {
            depth--;
        }
    }
    return true;
}

cJSON *json_parse_object(const void *text, size_t size, size_t max)
{
    const char *end = NULL;

    if (size > max || !text_is_utf8(text, size) || !is_plain(text, size))
        return NULL;
    cJSON *object = cJSON_ParseWithLengthOpts(text, size, &end, false);
    for (; object && end < (const char *)text + size; end++)
        if (!strchr(" \t\r\n", *end))
            break;
    if (!cJSON_IsObject(object) || end != (const char *)text + size) {
        cJSON_Delete(object);
        return NULL;
    }
    return object;
}

static const cJSON *member(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNull(item) ? NULL : item;
}

int json_get_string_ref(const cJSON *object, const char *name, const char **ret_text)
{
    const cJSON *item = member(object, name);

    if (!item)
        return JSON_E_ABSENT;
    if (!cJSON_IsString(item))
        return JSON_E_TYPE;
    *ret_text = item->valuestring;
    return JSON_OK;
}

int json_get_string(const cJSON *object, const char *name, char *out, size_t size)
{
    const char *text = NULL;
    int r = json_get_string_ref(object, name, &text);

    if (r != JSON_OK)
        return r;
    size_t length = strlen(text);
    if (length >= size)
        return JSON_E_TYPE;
    memcpy(out, text, length + 1);
    return JSON_OK;
}

int json_get_u64(const cJSON *object, const char *name, uint64_t *ret_value)
{
    const cJSON *item = member(object, name);

    if (!item)
        return JSON_E_ABSENT;
    if (!cJSON_IsNumber(item))
        return JSON_E_TYPE;
    double value = item->valuedouble;
    if (!(value >= 0 && value <= JSON_WHOLE_MAX) || value != floor(value))
        return JSON_E_TYPE;
    *ret_value = (uint64_t)value;
    return JSON_OK;
}

int json_get_bool(const cJSON *object, const char *name, bool *ret_value)
{
    const cJSON *item = member(object, name);

    if (!item)
        return JSON_E_ABSENT;
    if (!cJSON_IsBool(item))
        return JSON_E_TYPE;
    *ret_value = cJSON_IsTrue(item);
    return JSON_OK;
}

bool json_add_u64(cJSON *object, const char *name, uint64_t value)
{
    char digits[24];

    (void)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)value);
    return cJSON_AddRawToObject(object, name, digits) != NULL;
}
