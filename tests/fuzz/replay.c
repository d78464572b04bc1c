/* Runs a fuzz target over files: where there is no clang, and as a test of every build.
 *
 *   fuzz_NAME FILE-OR-FOLDER... */
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#define INPUT_MAX ((size_t)1 << 20)

static unsigned replayed;

static bool replay_file(const char *path)
{
    static uint8_t data[INPUT_MAX];
    FILE *file = fopen(path, "rbe");

    if (!file)
        return false;
    size_t size = fread(data, 1, sizeof(data), file);
    bool whole = !ferror(file);
    (void)fclose(file);
    if (!whole) /* a folder */
        return false;
    (void)printf("%s\n", path);
    (void)fflush(stdout);                        /* the last line names the input that ended the run */
    uint8_t *copy = malloc(size > 0 ? size : 1); /* as long as the input, so that a read past it is seen */
    FUZZ_CHECK(copy);
    memcpy(copy, data, size);
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    replayed++;
    return true;
}

static void replay_folder(const char *path)
{
    DIR *folder = opendir(path);

    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        char name[4096];
        int length = snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
        if (entry->d_name[0] != '.' && length > 0 && (size_t)length < sizeof(name))
            (void)replay_file(name);
    }
    if (folder)
        (void)closedir(folder);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (!replay_file(argv[i]))
            replay_folder(argv[i]);
    (void)printf("%u inputs\n", replayed);
    return replayed > 0 ? 0 : 1;
}
