/* A folder of the test's own, and whole removal of it. */
#pragma once

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

static inline int remove_entry(const char *path, const struct stat *status, int flag, struct FTW *ftw)
{
    (void)status;
    (void)flag;
    (void)ftw;
    return remove(path);
}

/* Copies the new folder's path to out. */
static inline void temp_folder_make(char *out, size_t size)
{
    const char *base = getenv("TMPDIR");
    (void)snprintf(out, size, "%s/beckon-test-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(out))
        abort();
}

/* 0, or -1 with errno. */
static inline int temp_folder_remove(const char *path)
{
    return nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}
