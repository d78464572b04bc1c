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
    *ret_snapshot = (Snapshot){.device = info.st_dev,
                               .inode = info.st_ino,
                               .size_bytes = (uint64_t)info.st_size,
                               .modified = info.st_mtim};
    return 0;
}

bool snapshot_still_holds(const Snapshot *before, const Snapshot *now)
{
    if (now->device != before->device || now->inode != before->inode || now->size_bytes < before->size_bytes)
        return false;
    return now->size_bytes > before->size_bytes || (now->modified.tv_sec == before->modified.tv_sec &&
                                                    now->modified.tv_nsec == before->modified.tv_nsec);
}

void snapshot_format(const Snapshot *snapshot, char out[static SNAPSHOT_TEXT_SIZE])
{
    (void)snprintf(out, SNAPSHOT_TEXT_SIZE, "%" PRIu64 ":%" PRIu64 ":%" PRIu64 ":%" PRIu64 ":%" PRIu64,
                   snapshot->device, snapshot->inode, snapshot->size_bytes,
                   (uint64_t)snapshot->modified.tv_sec, (uint64_t)snapshot->modified.tv_nsec);
}

bool snapshot_parse(const char *text, Snapshot *ret_snapshot)
{
    char copy[SNAPSHOT_TEXT_SIZE], *rest = NULL;
    uint64_t numbers[5];
    size_t count = 0;

    if (strlen(text) >= sizeof(copy))
        return false;
    memcpy(copy, text, strlen(text) + 1);
    for (char *word = strtok_r(copy, ":", &rest); word; word = strtok_r(NULL, ":", &rest))
        if (count == ARRAY_SIZE(numbers) || !text_to_u64(word, &numbers[count++]))
            return false;
    if (count != ARRAY_SIZE(numbers) || numbers[4] >= 1000000000)
        return false;
    *ret_snapshot = (Snapshot){.device = numbers[0],
                               .inode = numbers[1],
                               .size_bytes = numbers[2],
                               .modified = {.tv_sec = (time_t)numbers[3], .tv_nsec = (long)numbers[4]}};
    return true;
}
