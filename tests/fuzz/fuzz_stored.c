/* The metadata beside a file in the store, as it is found on the disk. */
#include "fuzz.h"

#include "receiver/store.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int root_fd = -1;
static Store *store;

static void remove_folder(void)
{
    (void)unlinkat(root_fd, "r1/a.json", 0);
    (void)unlinkat(root_fd, "r1/a/file", 0);
    (void)unlinkat(root_fd, "r1/a", AT_REMOVEDIR);
    (void)unlinkat(root_fd, "r1", AT_REMOVEDIR);
    char path[64], target[256];
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", root_fd);
    ssize_t length = readlink(path, target, sizeof(target) - 1);
    if (length > 0) {
        target[length] = '\0';
        (void)rmdir(target);
    }
    store = store_free(store);
}

static void make_store(void)
{
    char folder[] = "/dev/shm/beckon-fuzz-XXXXXX";

    FUZZ_CHECK(mkdtemp(folder));
    root_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    FUZZ_CHECK(root_fd >= 0 && mkdirat(root_fd, "r1", 0700) == 0 && mkdirat(root_fd, "r1/a", 0700) == 0);
    int fd = openat(root_fd, "r1/a/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    FUZZ_CHECK(fd >= 0 && write(fd, "12345678", 8) == 8 && close(fd) == 0);
    FUZZ_CHECK(store_new(root_fd, &store) == 0);
    (void)atexit(remove_folder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static Stored stored;

    if (root_fd < 0)
        make_store();
    int fd = openat(root_fd, "r1/a.json", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FUZZ_CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size && close(fd) == 0);
    if (store_find(store, "r1", "a", &stored) != 0)
        return 0;
    FUZZ_CHECK(strcmp(stored.receipt.client, "r1") == 0 && strcmp(stored.receipt.upload, "a") == 0);
    FUZZ_CHECK(strcmp(stored.name, "file") == 0 && stored.receipt.size_bytes == 8); /* there is no other */
    FUZZ_CHECK(store_open(store, &stored, &fd) == 0 && close(fd) == 0);
    return 0;
}
