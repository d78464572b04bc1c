/* Paths and the patterns that they are held against. Input: a pattern; a path or a client's name; a folder;
 * each on a line. */
#include "fuzz.h"

#include "agent/path.h"
#include "protocol/grant.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#define PATH_SIZE (FILE_PATH_MAX + 1)

static bool has_component(const char *path, const char *name)
{
    size_t length = strlen(name);

    for (; (path = strchr(path, '/')); path++)
        if (strncmp(path + 1, name, length) == 0 && (path[length + 1] == '/' || path[length + 1] == '\0'))
            return true;
    return false;
}

/* Absolute, every component a name, and the same when it is done again. */
static bool normalize(const char *text, char path[static PATH_SIZE])
{
    char again[PATH_SIZE];

    (void)snprintf(path, PATH_SIZE, "/%s", text);
    if (!path_normalize(path)) {
        (void)snprintf(again, sizeof(again), "/%s", text);
        FUZZ_CHECK(has_component(again, ".."));
        return false;
    }
    FUZZ_CHECK(path[0] == '/' && !has_component(path, "..") && !has_component(path, "."));
    FUZZ_CHECK(!strstr(path, "//") && (strcmp(path, "/") == 0 || path[strlen(path) - 1] != '/'));
    memcpy(again, path, PATH_SIZE);
    FUZZ_CHECK(path_normalize(again) && strcmp(again, path) == 0);
    return true;
}

static void check_below(const char *path, const char *folder)
{
    const char *below = path_below(path, folder);

    if (!below)
        return;
    FUZZ_CHECK(below >= path && below <= path + strlen(path) && *below != '/');
    FUZZ_CHECK(strncmp(path, folder, strlen(folder)) == 0);
    FUZZ_CHECK(!path_is_kernels(folder) || path_is_kernels(path));
}

/* What a rule forbids, it forbids below a folder too. */
static void check_deny(const char *path, const char *pattern)
{
    char deeper[PATH_SIZE + 8];

    if (!path_pattern_is_valid(pattern) || strlen(path) > FILE_PATH_MAX - 8)
        return;
    if (!path_matches(path, path + 1, pattern))
        return;
    (void)snprintf(deeper, sizeof(deeper), "%s/x", strcmp(path, "/") == 0 ? "" : path);
    FUZZ_CHECK(path_matches(deeper, deeper + 1, pattern));
}

/* The C library's word for the same question. */
static void check_clients(const char *pattern, const char *name)
{
    static Grant grant;

    if (!client_pattern_is_valid(pattern) || !client_id_is_valid(name))
        return;
    grant.pattern_count = 1;
    (void)snprintf(grant.patterns[0], sizeof(grant.patterns[0]), "%s", pattern);
    FUZZ_CHECK(grant_sees(&grant, name) == (fnmatch(pattern, name, 0) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char path[PATH_SIZE], folder[PATH_SIZE];
    char *text = fuzz_text(data, size), *rest = text;
    const char *pattern = fuzz_cut(&rest, '\n'), *name = fuzz_cut(&rest, '\n');

    /* The library's own matching takes exponential time for what no owner writes. */
    if (name && strlen(pattern) < 64 && strlen(name) < FILE_PATH_MAX) {
        check_clients(pattern, name);
        if (normalize(name, path)) {
            check_deny(path, pattern);
            if (rest && strlen(rest) < FILE_PATH_MAX && normalize(rest, folder))
                check_below(path, folder);
        }
    }
    free(text);
    return 0;
}
