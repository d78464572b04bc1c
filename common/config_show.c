#include "common/config.h"
#include "common/json.h"
#include "common/text.h"

#include <errno.h>

static cJSON *list_json(const ConfigList *list)
{
    cJSON *array CLEANUP(json_delete) = cJSON_CreateArray();

    for (size_t i = 0; array && i < list->count; i++) {
        cJSON *item = cJSON_CreateString(list->items[i]);
        if (!item || !cJSON_AddItemToArray(array, item))
            return NULL;
    }
    return TAKE_PTR(array);
}

static bool add_pairs(cJSON *section, const ConfigList *pairs)
{
    for (size_t i = 0; i < pairs->count; i++) {
        char *name CLEANUP(free_ptr) = strdup(pairs->items[i]);
        char *value = name ? strchr(name, '=') : NULL;
        if (!value)
            return false;
        *value++ = '\0';
        if (!cJSON_AddStringToObject(section, name, value))
            return false;
    }
    return true;
}

/* As it could be written in the file; a duration is stored without the unit in which it was given. */
static cJSON *value_json(const ConfigKey *key, const void *member)
{
    switch (key->type) {
    case CONFIG_BOOL:
        return cJSON_CreateBool(*(const bool *)member);
    case CONFIG_SIZE:
    case CONFIG_NUMBER:
        return cJSON_CreateNumber((double)*(const uint64_t *)member);
    case CONFIG_DURATION: {
        char *text CLEANUP(free_ptr) = text_format("%llums", (unsigned long long)*(const uint64_t *)member);
        return text ? cJSON_CreateString(text) : NULL;
    }
    case CONFIG_LIST:
    case CONFIG_FILES:
    case CONFIG_PAIRS:
        return list_json(member);
    case CONFIG_STRING:
    case CONFIG_FILE:
    case CONFIG_FOLDER:
    case CONFIG_ADDRESS:
        break;
    }
    const char *text = *(char *const *)member;
    return text ? cJSON_CreateString(text) : cJSON_CreateNull();
}

static bool add_key(cJSON *object, const ConfigKey *key, const void *config)
{
    const void *member = (const char *)config + key->offset;
    cJSON *section = cJSON_GetObjectItemCaseSensitive(object, key->section);

    if (!section)
        section = cJSON_AddObjectToObject(object, key->section);
    if (!section || key->type == CONFIG_PAIRS)
        return section && add_pairs(section, member);
    cJSON *value = value_json(key, member);
    return value && cJSON_AddItemToObject(section, key->name, value);
}

int config_show(const ConfigKey *keys, size_t key_count, const void *config, FILE *stream)
{
    cJSON *object CLEANUP(json_delete) = cJSON_CreateObject();

    for (size_t i = 0; object && i < key_count; i++)
        if (!add_key(object, &keys[i], config))
            return -ENOMEM;
    char *text CLEANUP(free_ptr) = object ? cJSON_Print(object) : NULL;
    if (!text)
        return -ENOMEM;
    return fprintf(stream, "%s\n", text) < 0 || fflush(stream) != 0 ? -EIO : 0;
}
