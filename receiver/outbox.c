#include "receiver/outbox.h"

#include "common/files.h"
#include "common/log.h"
#include "protocol/message.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>

#define ENTRY_NAME_SIZE (CLIENT_ID_SIZE + UPLOAD_ID_SIZE + 10)

struct Outbox {
    int fd;
    int event_fd;
};

static const char *const kind_names[] = {
    [OUTBOX_PENDING] = "pending", [OUTBOX_RECEIPT] = "receipt", [OUTBOX_REMOVED] = "removed"};

int outbox_new(int root_fd, Outbox **ret_outbox)
{
    Outbox *outbox CLEANUP(free_ptr) = malloc(sizeof(*outbox));

    if (!outbox)
        return -ENOMEM;
    int r = folder_open_at(root_fd, ".outbox", 0700, &outbox->fd);
    if (r < 0)
        return r;
    outbox->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (outbox->event_fd < 0) {
        r = -errno;
        close_fd(&outbox->fd);
        return r;
    }
    *ret_outbox = TAKE_PTR(outbox);
    return 0;
}

Outbox *outbox_free(Outbox *outbox)
{
    if (outbox) {
        close_fd(&outbox->event_fd);
        close_fd(&outbox->fd);
    }
    free(outbox);
    return NULL;
}

int outbox_fd(const Outbox *outbox)
{
    return outbox->event_fd;
}

static void entry_name(const char *client, const char *id, OutboxKind kind, char out[static ENTRY_NAME_SIZE])
{
    (void)snprintf(out, ENTRY_NAME_SIZE, "%s.%s.%s", client, id, kind_names[kind]);
}

/* The reverse; false for a file that is not ours. */
static bool parse_entry_name(const char *name, OutboxKind kind, OutboxKey *ret_key)
{
    char copy[ENTRY_NAME_SIZE];

    if (snprintf(copy, sizeof(copy), "%s", name) >= (int)sizeof(copy))
        return false;
    char *last = strrchr(copy, '.');
    if (!last || strcmp(last + 1, kind_names[kind]) != 0)
        return false;
    *last = '\0';
    char *id = strrchr(copy, '.'); /* an id has no dot, a client may */
    if (!id)
        return false;
    *id++ = '\0';
    if (!client_id_is_valid(copy) || !upload_id_is_valid(id))
        return false;
    memcpy(ret_key->client, copy, strlen(copy) + 1); /* valid ids fit */
    memcpy(ret_key->id, id, strlen(id) + 1);
    return true;
}

int outbox_prepare(Outbox *outbox, const char *client, const char *id, const char *message)
{
    char name[ENTRY_NAME_SIZE];

    entry_name(client, id, OUTBOX_PENDING, name);
    int before = outbox_is_pending(outbox, client, id);
    int r = before < 0 ? before : file_replace_at(outbox->fd, name, message, strlen(message), 0600);
    if (r < 0 && before == 0)
        (void)unlinkat(outbox->fd, name, 0); /* the rename may have happened before the failure */
    return r;
}

int outbox_release(Outbox *outbox, const char *client, const char *id)
{
    char pending[ENTRY_NAME_SIZE], receipt[ENTRY_NAME_SIZE];

    entry_name(client, id, OUTBOX_PENDING, pending);
    entry_name(client, id, OUTBOX_RECEIPT, receipt);
    if (renameat(outbox->fd, pending, outbox->fd, receipt) < 0)
        return -errno;
    outbox_announce(outbox);
    return 0;
}

void outbox_announce(Outbox *outbox)
{
    (void)eventfd_write(outbox->event_fd, 1); /* fails only when it is readable anyway */
}

int outbox_note_removal(Outbox *outbox, const char *client, const char *id)
{
    char name[ENTRY_NAME_SIZE];

    entry_name(client, id, OUTBOX_REMOVED, name);
    return file_replace_at(outbox->fd, name, "", 0, 0600);
}

int outbox_withdraw(Outbox *outbox, const char *client, const char *id)
{
    char name[ENTRY_NAME_SIZE];

    entry_name(client, id, OUTBOX_PENDING, name);
    return unlinkat(outbox->fd, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

static int has_entry(Outbox *outbox, const char *client, const char *id, OutboxKind kind)
{
    char name[ENTRY_NAME_SIZE];

    entry_name(client, id, kind, name);
    if (faccessat(outbox->fd, name, F_OK, 0) == 0)
        return 1;
    return errno == ENOENT ? 0 : -errno;
}

int outbox_is_pending(Outbox *outbox, const char *client, const char *id)
{
    return has_entry(outbox, client, id, OUTBOX_PENDING);
}

int outbox_is_waiting(Outbox *outbox, OutboxKind kind, const char *client, const char *id)
{
    return has_entry(outbox, client, id, kind);
}

int outbox_list(Outbox *outbox, OutboxKind kind, bool (*skip)(const OutboxKey *key, void *userdata),
                void *userdata, OutboxKey *keys, size_t max)
{
    int fd = openat(outbox->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    size_t count = 0;
    struct dirent *entry;

    if (!folder) {
        int r = -errno;
        close_fd(&fd);
        return r;
    }
    while (count < max && (entry = readdir(folder)) != NULL)
        if (parse_entry_name(entry->d_name, kind, &keys[count]) && !(skip && skip(&keys[count], userdata)))
            count++;
    (void)closedir(folder);
    return (int)count;
}

static bool count_one(const OutboxKey *key, void *userdata)
{
    (void)key;
    ++*(size_t *)userdata;
    return true;
}

size_t outbox_count(Outbox *outbox, OutboxKind kind)
{
    OutboxKey key;
    size_t count = 0;

    if (outbox_list(outbox, kind, count_one, &count, &key, 1) < 0)
        return 0; /* a folder that can't be read shows at the next commit */
    return count;
}

int outbox_read(Outbox *outbox, const OutboxKey *key, char **ret_message, size_t *ret_size)
{
    char name[ENTRY_NAME_SIZE];

    entry_name(key->client, key->id, OUTBOX_RECEIPT, name);
    return file_read_at(outbox->fd, name, MESSAGE_MAX, ret_message, ret_size);
}

int outbox_delivered(Outbox *outbox, OutboxKind kind, const OutboxKey *key)
{
    char name[ENTRY_NAME_SIZE];

    entry_name(key->client, key->id, kind, name);
    if (unlinkat(outbox->fd, name, 0) == 0 || errno == ENOENT)
        return 0;
    int r = -errno;
    log_at(LOG_LEVEL_WARN, key->client, key->id, "%s can't be taken out of the outbox: %s",
           kind == OUTBOX_REMOVED ? "its removal" : "its receipt", strerror(-r));
    return r;
}
