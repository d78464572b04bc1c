#include "agent/snapshot.h"

#include "common/text.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

int snapshot_take(int fd, Snapshot *ret_snapshot)
{
    struct stat info;

    if (fstat(fd, &info) < 0)
        return -errno;
    *ret_snapshot =
        (Snapshot){.inode = info.st_ino, .size_bytes = (uint64_t)info.st_size, .modified = info.st_mtim};
    return 0;
}

bool snapshot_still_holds(const Snapshot *before, const Snapshot *now)
{
    bool same_time =
        now->modified.tv_sec == before->modified.tv_sec && now->modified.tv_nsec == before->modified.tv_nsec;

    return (now->size_bytes == before->size_bytes && same_time) ||
           (now->inode == before->inode && now->size_bytes > before->size_bytes);
}

void snapshot_format(const Snapshot *snapshot, char out[static SNAPSHOT_TEXT_SIZE])
{
    (void)snprintf(out, SNAPSHOT_TEXT_SIZE, "%" PRIu64 ":%" PRIu64 ":%" PRIu64 ":%" PRIu64, snapshot->inode,
                   snapshot->size_bytes, (uint64_t)snapshot->modified.tv_sec,
                   (uint64_t)snapshot->modified.tv_nsec);
}

bool snapshot_parse(const char *text, Snapshot *ret_snapshot)
{
    char copy[SNAPSHOT_TEXT_SIZE], *rest = NULL;
    uint64_t numbers[4];
    size_t count = 0;

    if (strlen(text) >= sizeof(copy))
        return false;
    memcpy(copy, text, strlen(text) + 1);
    for (char *word = strtok_r(copy, ":", &rest); word; word = strtok_r(NULL, ":", &rest))
        if (count == ARRAY_SIZE(numbers) || !text_to_u64(word, &numbers[count++]))
            return false;
    if (count != ARRAY_SIZE(numbers) || numbers[3] >= 1000000000)
        return false;
    *ret_snapshot = (Snapshot){.inode = numbers[0],
                               .size_bytes = numbers[1],
                               .modified = {.tv_sec = (time_t)numbers[2], .tv_nsec = (long)numbers[3]}};
    return true;
}
