#include "agent/path.h"

#include "common/cleanup.h"
#include "protocol/ident.h"

#include <fnmatch.h>
#include <string.h>

/* What is written never overtakes what is read, because each component has a '/' before it. */
bool path_normalize(char *path)
{
    char *end = path, *rest = NULL;

    for (char *name = strtok_r(path, "/", &rest); name; name = strtok_r(NULL, "/", &rest)) {
        size_t length = strlen(name);
        if (strcmp(name, "..") == 0)
            return false;
        if (strcmp(name, ".") == 0)
            continue;
        *end++ = '/';
        memmove(end, name, length);
        end += length;
    }
    if (end == path)
        *end++ = '/';
    *end = '\0';
    return true;
}

const char *path_below(const char *path, const char *folder)
{
    size_t length = strcmp(folder, "/") == 0 ? 0 : strlen(folder);

    if (strncmp(path, folder, length) != 0)
        return NULL;
    if (path[length] == '\0')
        return path + length;
    return path[length] == '/' ? path + length + 1 : NULL;
}

bool path_is_kernels(const char *path)
{
    static const char *const folders[] = {"/proc", "/sys", "/dev"};

    for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
        if (path_below(path, folders[i]))
            return true;
    return false;
}

static bool has_name(const char *path, const char *pattern)
{
    char names[FILE_PATH_MAX + 1], *rest = NULL;

    (void)snprintf(names, sizeof(names), "%s", path);
    for (char *name = strtok_r(names, "/", &rest); name; name = strtok_r(NULL, "/", &rest))
        if (fnmatch(pattern, name, FNM_CASEFOLD) == 0)
            return true;
    return false;
}

bool path_matches(const char *path, const char *below, const char *pattern)
{
    if (pattern[0] != '/')
        return has_name(below, pattern);
    return fnmatch(pattern, path, FNM_CASEFOLD | FNM_PATHNAME | FNM_LEADING_DIR) == 0;
}

bool path_pattern_is_valid(const char *pattern)
{
    char copy[FILE_PATH_MAX + 1];

    if (pattern[0] == '\0' || strlen(pattern) >= sizeof(copy) || strstr(pattern, "**"))
        return false;
    if (pattern[0] != '/')
        return strchr(pattern, '/') == NULL && strcmp(pattern, ".") != 0 && strcmp(pattern, "..") != 0;
    memcpy(copy, pattern, strlen(pattern) + 1);
    return path_normalize(copy) && strcmp(copy, pattern) == 0 && strcmp(copy, "/") != 0;
}
