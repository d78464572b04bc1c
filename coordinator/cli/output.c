#include "coordinator/cli/output.h"

#include "common/files.h"
#include "protocol/ident.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

struct Output {
    char *path;
    int folder_fd;    /* -1: a stream */
    const char *name; /* within path */
    char temporary[UPLOAD_ID_SIZE + 16];
    bool has_temporary;
    int fd;
    uint64_t size;
    Digest *digest;
};

Output *output_free(Output *output)
{
    if (!output)
        return NULL;
    if (output->has_temporary)
        (void)unlinkat(output->folder_fd, output->temporary,
                       0); /* on the way out of a failure that is already told */
    close_fd(&output->fd);
    close_fd(&output->folder_fd);
    digest_free(output->digest);
    free(output->path);
    free(output);
    return NULL;
}

static void output_free_ptr(Output **output)
{
    output_free(*output);
}

static int open_stream(Output *output, const char *target)
{
    bool standard = strcmp(target, "-") == 0;

    output->fd =
        standard ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3) : open(target, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (output->fd < 0)
        return -errno;
    output->path = strdup(standard ? "standard output" : target);
    return output->path ? 0 : -ENOMEM;
}

/* Opens the folder of output->path and looks whether a file can be made in it. */
static int open_folder(Output *output)
{
    char *slash = strrchr(output->path, '/');
    char *folder CLEANUP(free_ptr) =
        slash ? strndup(output->path, slash == output->path ? 1 : (size_t)(slash - output->path))
              : strdup(".");
    struct stat status;

    if (!folder)
        return -ENOMEM;
    output->name = slash ? slash + 1 : output->path;
    output->folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (output->folder_fd < 0)
        return -errno;
    if (!output->name[0] || strcmp(output->name, ".") == 0 || strcmp(output->name, "..") == 0)
        return -EINVAL;
    if (fstatat(output->folder_fd, output->name, &status, 0) == 0 && S_ISDIR(status.st_mode))
        return -EISDIR;
    return faccessat(output->folder_fd, ".", W_OK | X_OK, AT_EACCESS) < 0 ? -errno : 0;
}

static int set_path(Output *output, const char *target, const char *name, const struct stat *status)
{
    int length = 0;

    if (status && S_ISDIR(status->st_mode)) {
        if (!name[0])
            return -EINVAL;
        length =
            asprintf(&output->path, "%s%s%s", target, target[strlen(target) - 1] == '/' ? "" : "/", name);
    } else {
        /* The file behind a link is replaced, not the link. */
        output->path = status ? realpath(target, NULL) : strdup(target);
    }
    if (length < 0)
        output->path = NULL;
    return output->path ? 0 : -ENOMEM;
}

int output_open(const char *target, const char *name, Output **ret_output)
{
    Output *output CLEANUP(output_free_ptr) = calloc(1, sizeof(*output));
    struct stat status;

    if (!output)
        return -ENOMEM;
    output->fd = output->folder_fd = -1;
    int r = digest_new(&output->digest);
    if (r < 0)
        return r;
    bool exists = strcmp(target, "-") != 0 && stat(target, &status) == 0;
    if (strcmp(target, "-") == 0 || (exists && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode))) {
        r = open_stream(output, target);
    } else {
        r = set_path(output, target, name, exists ? &status : NULL);
        if (r == 0)
            r = open_folder(output);
    }
    if (r == 0)
        *ret_output = TAKE_PTR(output);
    return r;
}

bool output_is_stream(const Output *output)
{
    return output->folder_fd < 0;
}

const char *output_path(const Output *output)
{
    return output->path;
}

uint64_t output_size(const Output *output)
{
    return output->size;
}

static int make_temporary(Output *output)
{
    char id[UPLOAD_ID_SIZE];

    upload_id_new(id);
    (void)snprintf(output->temporary, sizeof(output->temporary), ".beckon-%s", id);
    output->fd = openat(output->folder_fd, output->temporary,
                        O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (output->fd < 0)
        return -errno;
    output->has_temporary = true;
    return 0;
}

int output_write(Output *output, const void *data, size_t size)
{
    int r = output->fd < 0 ? make_temporary(output) : 0;

    if (r == 0)
        r = write_all(output->fd, data, size);
    if (r == 0)
        r = digest_update(output->digest, data, size);
    if (r == 0)
        output->size += size;
    return r;
}

int output_restart(Output *output)
{
    Digest *fresh = NULL;

    if (output_is_stream(output))
        return -ESPIPE;
    if (output->fd >= 0 && (ftruncate(output->fd, 0) < 0 || lseek(output->fd, 0, SEEK_SET) < 0))
        return -errno;
    int r = digest_new(&fresh);
    if (r < 0)
        return r;
    digest_free(output->digest);
    output->digest = fresh;
    output->size = 0;
    return 0;
}

static int publish(Output *output)
{
    if (output->fd < 0) { /* an empty file */
        int r = make_temporary(output);
        if (r < 0)
            return r;
    }
    if (fsync(output->fd) < 0)
        return -errno;
    if (renameat(output->folder_fd, output->temporary, output->folder_fd, output->name) < 0)
        return -errno;
    output->has_temporary = false;
    return folder_sync(output->folder_fd);
}

int output_commit(Output *output, uint64_t size, const uint8_t sha256[static SHA256_SIZE])
{
    uint8_t seen[SHA256_SIZE];

    if (output->size != size)
        return OUTPUT_E_SIZE;
    int r = digest_final(output->digest, seen);
    if (r < 0)
        return r;
    if (memcmp(seen, sha256, sizeof(seen)) != 0)
        return OUTPUT_E_DIGEST;
    return output_is_stream(output) ? 0 : publish(output);
}
