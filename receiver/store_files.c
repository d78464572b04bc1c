#include "receiver/store.h"

#include "common/files.h"
#include "common/json.h"
#include "common/log.h"
#include "common/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define METADATA_MAX 65536
#define METADATA_NAME_SIZE (UPLOAD_ID_SIZE + 8)
#define FOLDER_MODE 0750
#define METADATA_MODE 0640

struct Store {
    int root_fd;
};

int store_new(int root_fd, Store **ret_store)
{
    Store *store = malloc(sizeof(*store));

    if (!store)
        return -ENOMEM;
    store->root_fd = fcntl(root_fd, F_DUPFD_CLOEXEC, 0);
    if (store->root_fd < 0) {
        int r = -errno;
        free(store);
        return r;
    }
    *ret_store = store;
    return 0;
}

Store *store_free(Store *store)
{
    if (store)
        close_fd(&store->root_fd);
    free(store);
    return NULL;
}

char *store_place(const Stored *stored)
{
    return text_format("%s/%s/%s", stored->receipt.client, stored->receipt.upload, stored->name);
}

static void metadata_name(const char *id, char out[static METADATA_NAME_SIZE])
{
    (void)snprintf(out, METADATA_NAME_SIZE, "%s.json", id);
}

static int open_folder(int at, const char *name, int *ret_fd)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    *ret_fd = fd;
    return 0;
}

/* The folders of one upload. -ENOENT if either is missing. */
static int open_folders(const Store *store, const char *client, const char *id, int *ret_client_fd,
                        int *ret_id_fd)
{
    int client_fd CLEANUP(close_fd) = -1;
    int r = open_folder(store->root_fd, client, &client_fd);

    if (r == 0)
        r = open_folder(client_fd, id, ret_id_fd);
    if (r == 0)
        *ret_client_fd = TAKE_FD(client_fd);
    return r;
}

/* Metadata */

static bool add_removed(cJSON *object, int64_t removed_unix_s)
{
    char time[TEXT_TIME_SIZE];

    text_time(removed_unix_s * 1000, time);
    return removed_unix_s == 0 || (cJSON_AddStringToObject(object, "removed", time) &&
                                   json_add_u64(object, "removedUnix", (uint64_t)removed_unix_s));
}

/* For people too, so that nothing in it commands their terminal. */
static char *format_metadata(const Stored *stored)
{
    cJSON *object CLEANUP(json_delete) = cJSON_CreateObject();
    char sha256[SHA256_HEX_SIZE], time[TEXT_TIME_SIZE];
    const Receipt *receipt = &stored->receipt;

    text_hex(receipt->sha256, SHA256_SIZE, sha256);
    text_time(receipt->issued_unix_s * 1000, time);
    if (!object || !cJSON_AddStringToObject(object, "client", receipt->client) ||
        !cJSON_AddStringToObject(object, "id", receipt->upload) ||
        !cJSON_AddStringToObject(object, "path", receipt->path) ||
        !cJSON_AddStringToObject(object, "name", stored->name) ||
        !json_add_u64(object, "size", receipt->size_bytes) ||
        !cJSON_AddStringToObject(object, "sha256", sha256) ||
        !cJSON_AddStringToObject(object, "receiver", receipt->issuer) ||
        !cJSON_AddStringToObject(object, "received", time) ||
        !json_add_u64(object, "receivedUnix", (uint64_t)receipt->issued_unix_s) ||
        (stored->traceparent[0] && !cJSON_AddStringToObject(object, "traceparent", stored->traceparent)) ||
        !add_removed(object, stored->removed_unix_s) ||
        !cJSON_AddStringToObject(object, "receipt", stored->token))
        return NULL;
    char *text CLEANUP(free_ptr) = cJSON_Print(object);
    return text ? text_printable_json(text) : NULL;
}

static bool parse_metadata(const char *text, size_t size, Stored *stored)
{
    cJSON *object CLEANUP(json_delete) = json_parse_object(text, size, METADATA_MAX);
    Receipt *receipt = &stored->receipt;
    char sha256[SHA256_HEX_SIZE];
    uint64_t issued = 0, removed = 0;

    if (!object || json_get_string(object, "client", receipt->client, sizeof(receipt->client)) != JSON_OK ||
        json_get_string(object, "id", receipt->upload, sizeof(receipt->upload)) != JSON_OK ||
        json_get_string(object, "path", receipt->path, sizeof(receipt->path)) != JSON_OK ||
        json_get_string(object, "name", stored->name, sizeof(stored->name)) != JSON_OK ||
        json_get_u64(object, "size", &receipt->size_bytes) != JSON_OK ||
        json_get_string(object, "sha256", sha256, sizeof(sha256)) != JSON_OK ||
        json_get_string(object, "receiver", receipt->issuer, sizeof(receipt->issuer)) != JSON_OK ||
        json_get_u64(object, "receivedUnix", &issued) != JSON_OK ||
        json_get_u64(object, "removedUnix", &removed) == JSON_E_TYPE ||
        json_get_string(object, "receipt", stored->token, sizeof(stored->token)) != JSON_OK)
        return false;
    stored->removed_unix_s = (int64_t)removed;
    receipt->issued_unix_s = (int64_t)issued;
    const char *traceparent = NULL;
    (void)json_get_string_ref(object, "traceparent", &traceparent); /* not in every record */
    (void)traceparent_read(traceparent, stored->traceparent);
    return text_unhex(sha256, receipt->sha256, SHA256_SIZE) && *stored->name && !strchr(stored->name, '/') &&
           strcmp(stored->name, "..") != 0;
}

static int read_metadata(int client_fd, const char *client, const char *id, Stored *stored)
{
    char *text CLEANUP(free_ptr) = NULL;
    char name[METADATA_NAME_SIZE];
    size_t size = 0;

    metadata_name(id, name);
    int r = file_read_at(client_fd, name, METADATA_MAX, &text, &size);
    if (r < 0)
        return r;
    if (!parse_metadata(text, size, stored) || strcmp(stored->receipt.client, client) != 0 ||
        strcmp(stored->receipt.upload, id) != 0)
        return -EBADMSG;
    return 0;
}

/* Looking */

/* 0, -ENOENT, or another negative errno. */
static int check_content(int client_fd, const Stored *stored)
{
    int id_fd CLEANUP(close_fd) = -1;
    struct stat info = {0};
    int r = open_folder(client_fd, stored->receipt.upload, &id_fd);

    if (r == 0 && fstatat(id_fd, stored->name, &info, AT_SYMLINK_NOFOLLOW) < 0)
        r = -errno;
    if (r < 0)
        return r;
    return S_ISREG(info.st_mode) && (uint64_t)info.st_size == stored->receipt.size_bytes ? 0 : -ENOENT;
}

int store_find(Store *store, const char *client, const char *id, Stored *ret_stored)
{
    int client_fd CLEANUP(close_fd) = -1;
    Stored *stored CLEANUP(free_ptr) = calloc(1, sizeof(*stored));

    if (!stored)
        return -ENOMEM;
    int r = open_folder(store->root_fd, client, &client_fd);
    if (r == 0)
        r = read_metadata(client_fd, client, id, stored);
    if (r == 0 && stored->removed_unix_s == 0)
        r = check_content(client_fd, stored);
    if (r == -ENOENT)
        return STORE_E_ABSENT;
    if (r == 0)
        *ret_stored = *stored;
    return r;
}

int store_open(Store *store, const Stored *stored, int *ret_fd)
{
    int client_fd CLEANUP(close_fd) = -1, id_fd CLEANUP(close_fd) = -1;
    int r = open_folders(store, stored->receipt.client, stored->receipt.upload, &client_fd, &id_fd);

    if (r < 0)
        return r;
    int fd = openat(id_fd, stored->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    *ret_fd = fd;
    return 0;
}

bool store_is_writable(Store *store)
{
    struct statvfs info;

    return fstatvfs(store->root_fd, &info) == 0 && !(info.f_flag & ST_RDONLY) && info.f_bavail > 0 &&
           has_free_inode(&info, 0) && faccessat(store->root_fd, ".incoming", W_OK | X_OK, AT_EACCESS) == 0;
}

int store_free_bytes(Store *store, uint64_t *ret_bytes)
{
    struct statvfs info;

    if (fstatvfs(store->root_fd, &info) < 0)
        return -errno;
    *ret_bytes = (uint64_t)info.f_bavail * info.f_frsize;
    return 0;
}

/* Taking in */

/* Both folders, made if they are missing, and the client's made durable here even if another thread has just
 * made it and has not yet come to its own sync. (The id's folder becomes durable with the metadata, which
 * lies beside it.) */
static int make_folders(const Store *store, const Receipt *receipt, int *ret_client_fd, int *ret_id_fd)
{
    int client_fd CLEANUP(close_fd) = -1;
    int r = folder_open_at(store->root_fd, receipt->client, FOLDER_MODE, &client_fd);

    if (r == 0)
        r = folder_sync(store->root_fd);
    if (r == 0)
        r = folder_open_at(client_fd, receipt->upload, FOLDER_MODE, ret_id_fd);
    if (r == 0)
        *ret_client_fd = TAKE_FD(client_fd);
    return r;
}

static int write_metadata(int client_fd, const Stored *stored)
{
    char *text CLEANUP(free_ptr) = format_metadata(stored);
    char name[METADATA_NAME_SIZE];

    if (!text)
        return -ENOMEM;
    metadata_name(stored->receipt.upload, name);
    return file_replace_at(client_fd, name, text, strlen(text), METADATA_MODE);
}

/* Without its metadata or without its content the upload is not in the store: either step is enough. */
static int undo(int client_fd, int id_fd, const Stored *stored, Part *part, bool moved)
{
    char name[METADATA_NAME_SIZE];

    metadata_name(stored->receipt.upload, name);
    bool forgotten = unlinkat(client_fd, name, 0) == 0 || errno == ENOENT;
    bool taken_back = moved
                          ? part_take_back(part, id_fd, stored->name) == 0
                          : faccessat(id_fd, stored->name, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
    return forgotten || taken_back ? 0 : -EUCLEAN;
}

int store_put(Store *store, const Stored *stored, Part *part)
{
    int client_fd CLEANUP(close_fd) = -1, id_fd CLEANUP(close_fd) = -1;
    int r = make_folders(store, &stored->receipt, &client_fd, &id_fd);
    bool moved = false;

    if (r == 0 && faccessat(id_fd, stored->name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return -EEXIST; /* before its metadata, if it has any, is touched */
    if (r < 0)
        return r;
    r = write_metadata(client_fd, stored);
    if (r == 0) {
        r = part_move(part, id_fd, stored->name);
        moved = r == 0;
    }
    if (r == 0)
        r = folder_sync(id_fd);
    if (r < 0 && undo(client_fd, id_fd, stored, part, moved) < 0)
        return -EUCLEAN;
    return moved && r < 0 ? -EIO : r; /* a sync that failed for want of space is no reason to keep the part */
}

int store_sync(Store *store, const Stored *stored)
{
    int client_fd CLEANUP(close_fd) = -1, id_fd CLEANUP(close_fd) = -1, fd CLEANUP(close_fd) = -1;
    int r = open_folders(store, stored->receipt.client, stored->receipt.upload, &client_fd, &id_fd);

    if (r == 0)
        r = store_open(store, stored, &fd);
    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    if (r == 0)
        r = folder_sync(id_fd);
    if (r == 0)
        r = folder_sync(client_fd);
    return r == 0 ? folder_sync(store->root_fd) : r;
}

int store_forget(Store *store, const char *client, const char *id)
{
    int client_fd CLEANUP(close_fd) = -1;
    char name[METADATA_NAME_SIZE];
    int r = open_folder(store->root_fd, client, &client_fd);

    if (r < 0)
        return r == -ENOENT ? 0 : r;
    metadata_name(id, name);
    (void)unlinkat(client_fd, id, AT_REMOVEDIR); /* if it is empty; first, for then the id may be used anew */
    if (unlinkat(client_fd, name, 0) < 0)
        return errno == ENOENT ? 0 : -errno;
    return folder_sync(client_fd); /* or a power cut brings it back beside what comes next under this id */
}

/* Removing */

static int remove_content(int client_fd, const Stored *stored)
{
    int id_fd CLEANUP(close_fd) = -1;
    int r = open_folder(client_fd, stored->receipt.upload, &id_fd);

    if (r == 0 && unlinkat(id_fd, stored->name, 0) < 0 && errno != ENOENT)
        r = -errno;
    if (r < 0)
        return r == -ENOENT ? 0 : r;                                 /* it was removed before */
    (void)unlinkat(client_fd, stored->receipt.upload, AT_REMOVEDIR); /* left over, it is no harm */
    return folder_sync(client_fd);
}

int store_remove(Store *store, Stored *stored, int64_t now_unix_s)
{
    int client_fd CLEANUP(close_fd) = -1;
    int r = open_folder(store->root_fd, stored->receipt.client, &client_fd);

    if (r == 0 && stored->removed_unix_s == 0) {
        stored->removed_unix_s = now_unix_s;
        r = write_metadata(client_fd, stored);
    }
    return r == 0 ? remove_content(client_fd, stored) : r;
}

/* Walking */

/* Takes fd over. */
static int open_listing(int fd, DIR **ret_folder)
{
    *ret_folder = fdopendir(fd);
    if (*ret_folder)
        return 0;
    int r = -errno;
    (void)close(fd);
    return r;
}

static void close_listing(DIR **folder)
{
    if (*folder)
        (void)closedir(*folder);
}

int store_each_client(Store *store, int (*each)(void *userdata, const char *client), void *userdata)
{
    DIR *folder CLEANUP(close_listing) = NULL;
    struct dirent *entry;
    int fd = -1;
    int r = open_folder(store->root_fd, ".", &fd);

    if (r == 0)
        r = open_listing(fd, &folder);
    while (r == 0 && (entry = readdir(folder)) != NULL)
        if (client_id_is_valid(entry->d_name))
            r = each(userdata, entry->d_name);
    return r;
}

/* "<id>.json"; false for another file. */
static bool is_metadata(const char *name, char id[static UPLOAD_ID_SIZE])
{
    size_t length = strcspn(name, ".");

    if (length >= UPLOAD_ID_SIZE || strcmp(name + length, ".json") != 0)
        return false;
    memcpy(id, name, length);
    id[length] = '\0';
    return upload_id_is_valid(id);
}

int store_each(Store *store, const char *client, int (*each)(void *userdata, Stored *stored), void *userdata)
{
    DIR *folder CLEANUP(close_listing) = NULL;
    Stored *stored CLEANUP(free_ptr) = malloc(sizeof(*stored));
    struct dirent *entry;
    char id[UPLOAD_ID_SIZE];
    int fd = -1;
    int r = stored ? open_folder(store->root_fd, client, &fd) : -ENOMEM;

    if (r == 0)
        r = open_listing(fd, &folder);
    while (r == 0 && (entry = readdir(folder)) != NULL)
        if (is_metadata(entry->d_name, id) && store_find(store, client, id, stored) == 0)
            r = each(userdata, stored);
    return r == -ENOENT || r == -ENOTDIR ? 0 : r;
}
