#include "common/config.h"

#include "common/log.h"
#include "common/text.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdarg.h>
#include <string.h>

#define SETTINGS_MAX 256 /* key lines and section lines in one file */

/* Where a key, or with name "" a section's heading, stands in the file. */
typedef struct Place {
    char section[32], name[32];
    unsigned line;
} Place;

/* The file read last: config_mistake() names its lines. Configuration is read by one thread, before all
 * others. */
static struct {
    const char *file;
    unsigned line; /* the one being read; after reading, the last one */
    Place places[SETTINGS_MAX];
    size_t place_count;
    int mistakes;
} reading;

typedef struct Load {
    const ConfigKey *keys;
    size_t key_count;
    bool *is_set;
    char *target;
    FILE *stream;
} Load;

static void PRINTF_LIKE(2, 0) mistake_at(unsigned line, const char *format, va_list args)
{
    char text[1024];

    (void)vsnprintf(text, sizeof(text), format, args);
    if (reading.file && line)
        log_error("%s:%u: %s", reading.file, line, text);
    else if (reading.file)
        log_error("%s: %s", reading.file, text);
    else
        log_error("%s", text);
    reading.mistakes++;
}

static void PRINTF_LIKE(2, 3) mistake(unsigned line, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    mistake_at(line, format, args);
    va_end(args);
}

/* The line of a key, else of its section's heading, else the last one; 0 without a file. */
static unsigned line_of(const char *section, const char *name)
{
    unsigned heading = 0;

    for (size_t i = 0; i < reading.place_count; i++) {
        const Place *place = &reading.places[i];
        if (strcmp(place->section, section) != 0)
            continue;
        if (strcmp(place->name, name) == 0)
            return place->line;
        if (place->name[0] == '\0')
            heading = place->line;
    }
    return heading ? heading : reading.line;
}

void config_mistake(const char *section, const char *name, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    mistake_at(line_of(section, name), format, args);
    va_end(args);
}

static void note_place(const char *section, const char *name)
{
    if (reading.place_count == SETTINGS_MAX)
        return;
    Place *place = &reading.places[reading.place_count++];
    (void)snprintf(place->section, sizeof(place->section), "%s", section);
    (void)snprintf(place->name, sizeof(place->name), "%s", name);
    place->line = reading.line;
}

/* libinih does not tell of "[section]" lines. */
static void note_heading(const char *line)
{
    char section[32];
    const char *name = line + strspn(line, " \t");
    size_t length = *name == '[' ? strcspn(name + 1, "]\n") : 0;

    if (length == 0 || length >= sizeof(section))
        return;
    memcpy(section, name + 1, length);
    section[length] = '\0';
    note_place(section, "");
}

/* For ini_parse_stream(): one line a call. A line that libinih would cut is refused here. */
static char *read_line(char *line, int size, void *userdata)
{
    Load *load = userdata;

    if (!fgets(line, size, load->stream))
        return NULL;
    reading.line++;
    if (!strchr(line, '\n') && !feof(load->stream)) {
        for (int c = fgetc(load->stream); c != '\n' && c != EOF;)
            c = fgetc(load->stream);
        mistake(reading.line, "the line has more than %d bytes; shorten it", CONFIG_LINE_MAX);
        (void)snprintf(line, (size_t)size, "\n");
    }
    note_heading(line);
    return line;
}

static bool is_string(const ConfigKey *key)
{
    return key->type == CONFIG_STRING || key->type == CONFIG_FILE || key->type == CONFIG_FOLDER ||
           key->type == CONFIG_ADDRESS;
}

static bool is_list(const ConfigKey *key)
{
    return key->type == CONFIG_LIST || key->type == CONFIG_FILES || key->type == CONFIG_PAIRS;
}

static bool list_append(ConfigList *list, char *item)
{
    char **items = item ? realloc(list->items, (list->count + 1) * sizeof(*items)) : NULL;

    if (!items) {
        free(item);
        return false;
    }
    list->items = items;
    list->items[list->count++] = item;
    return true;
}

static void list_free(ConfigList *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (ConfigList){0};
}

static bool parse_bool(const char *text, bool *ret_value)
{
    static const char *const yes[] = {"true", "yes", "on", "1"}, *const no[] = {"false", "no", "off", "0"};

    for (size_t i = 0; i < ARRAY_SIZE(yes); i++)
        if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
            *ret_value = strcasecmp(text, yes[i]) == 0;
            return true;
        }
    return false;
}

static bool is_address(const char *text)
{
    struct in6_addr address;

    return inet_pton(AF_INET, text, &address) == 1 || inet_pton(AF_INET6, text, &address) == 1;
}

/* NULL, or what should have been there. */
static const char *store_number(const ConfigKey *key, const char *text, uint64_t *target)
{
    uint64_t value = 0;

    if (key->type == CONFIG_SIZE && !text_to_size(text, &value))
        return "a size such as 512, 64K, 10M or 2G";
    if (key->type == CONFIG_DURATION && !text_to_duration(text, &value))
        return "a time such as 200ms, 30s, 5m, 1h or 7d";
    if (key->type == CONFIG_NUMBER && !text_to_u64(text, &value))
        return "a whole number";
    if (value < key->min || (key->max && value > key->max))
        return "a value within its limits";
    *target = value;
    return NULL;
}

static void store(Load *load, const ConfigKey *key, unsigned line, const char *name, const char *text)
{
    void *target = load->target + key->offset;
    const char *wanted = NULL;
    bool stored = true;

    switch (key->type) {
    case CONFIG_SIZE:
    case CONFIG_DURATION:
    case CONFIG_NUMBER:
        wanted = store_number(key, text, target);
        break;
    case CONFIG_BOOL:
        wanted = parse_bool(text, target) ? NULL : "true or false";
        break;
    case CONFIG_FILE:
    case CONFIG_FILES:
        if (access(text, R_OK) < 0) {
            mistake(line, "[%s] %s: can't read %s: %s; correct the path, or let this user read it",
                    key->section, name, text, strerror(errno));
            return;
        }
        break;
    case CONFIG_FOLDER:
        wanted = text[0] == '/' ? NULL : "an absolute path";
        break;
    case CONFIG_ADDRESS:
        wanted = is_address(text) ? NULL : "a numeric IPv4 or IPv6 address";
        break;
    case CONFIG_STRING:
    case CONFIG_LIST:
    case CONFIG_PAIRS:
        break;
    }
    if (wanted) {
        mistake(line, "[%s] %s: '%s' is not %s%s", key->section, name, text, wanted,
                key->min || key->max ? "; see the manual page for its limits" : "");
        return;
    }
    if (key->type == CONFIG_PAIRS) {
        stored = list_append(target, text_format("%s=%s", name, text));
    } else if (is_list(key)) {
        stored = list_append(target, strdup(text));
    } else if (is_string(key)) {
        free(*(char **)target);
        *(char **)target = strdup(text);
        stored = *(char **)target != NULL;
    }
    if (!stored)
        mistake(line, "out of memory");
}

static int on_setting(void *userdata, const char *section, const char *name, const char *value)
{
    Load *load = userdata;

    note_place(section, name);
    for (size_t i = 0; i < load->key_count; i++) {
        const ConfigKey *key = &load->keys[i];
        if (strcmp(key->section, section) != 0 || (key->name && strcmp(key->name, name) != 0))
            continue;
        if (load->is_set[i] && !is_list(key))
            mistake(reading.line, "[%s] %s is set a second time; keep one", section, name);
        else if (value[0] == '\0' && is_list(key))
            ; /* "allow =" with the values in the lines below it */
        else
            store(load, key, reading.line, name, value);
        load->is_set[i] = true;
        return 1;
    }
    mistake(reading.line, "unknown key '%s' in [%s]; check the spelling or remove it", name, section);
    return 1;
}

static void load_file(Load *load, const char *file)
{
    load->stream = fopen(file, "re");
    if (!load->stream) {
        mistake(0, "can't read the configuration: %s", strerror(errno));
        return;
    }
    int line = ini_parse_stream(read_line, load, on_setting, load);
    if (line > 0)
        mistake((unsigned)line, "neither '[section]' nor 'key = value'");
    else if (line < 0)
        mistake(0, "out of memory");
    (void)fclose(load->stream);
}

static const char *environment_of(const ConfigKey *key, char *variable, size_t size)
{
    (void)snprintf(variable, size, "BECKON_%s_%s", key->section, key->name);
    for (char *c = variable; *c; c++)
        *c = (char)toupper((unsigned char)*c);
    return getenv(variable);
}

/* One setting from the environment or a default; a list is split at ':'. */
static void store_text(Load *load, const ConfigKey *key, const char *name, const char *text)
{
    char *copy CLEANUP(free_ptr) = strdup(text);
    char *rest = NULL;

    if (!is_list(key) || !copy) {
        store(load, key, 0, name, text);
        return;
    }
    list_free((ConfigList *)(void *)(load->target + key->offset));
    for (char *item = strtok_r(copy, ":", &rest); item; item = strtok_r(NULL, ":", &rest))
        store(load, key, 0, name, item);
}

static void complete(Load *load, size_t i)
{
    const ConfigKey *key = &load->keys[i];
    char variable[96];

    if (!key->name)
        return;
    const char *value = environment_of(key, variable, sizeof(variable));
    if (value)
        store_text(load, key, variable, value);
    else if (load->is_set[i])
        return;
    else if (key->fallback)
        store_text(load, key, key->name, key->fallback);
    else if (key->required)
        config_mistake(key->section, key->name, "[%s] %s is missing; it must be set", key->section,
                       key->name);
}

int config_load(const char *file, const ConfigKey *keys, size_t key_count, void *target)
{
    bool *is_set CLEANUP(free_ptr) = calloc(key_count, sizeof(*is_set));
    Load load = {.keys = keys, .key_count = key_count, .is_set = is_set, .target = target};

    memset(&reading, 0, sizeof(reading));
    reading.file = file;
    if (!is_set) {
        mistake(0, "out of memory");
        return reading.mistakes;
    }
    if (file)
        load_file(&load, file);
    for (size_t i = 0; i < key_count; i++)
        complete(&load, i);
    return reading.mistakes;
}

void config_free(const ConfigKey *keys, size_t key_count, void *target)
{
    for (size_t i = 0; i < key_count; i++) {
        void *member = (char *)target + keys[i].offset;
        if (is_list(&keys[i])) {
            list_free(member);
        } else if (is_string(&keys[i])) {
            free(*(char **)member);
            *(char **)member = NULL;
        }
    }
}
