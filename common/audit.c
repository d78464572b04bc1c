#include "common/audit.h"

#include "common/clock.h"
#include "common/config.h"
#include "common/files.h"
#include "common/json.h"
#include "common/log.h"
#include "common/text.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#define CUT "\xe2\x80\xa6"         /* … */
#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD, for a byte that is not UTF-8 */

struct Audit {
    pthread_mutex_t mutex;
    char *path;
    const char *program;
    int fd;
    bool failing; /* the last write failed */
    bool torn;    /* and it left half a line behind */
};

/* --- the file --- */

/* The mode of a new file is ours, whatever the umask; that of one that was there is its owner's affair. */
static int open_file(const char *path, int *ret_fd)
{
    enum { FLAGS = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY };
    struct stat info;
    int fd CLEANUP(close_fd) = open(path, FLAGS | O_EXCL, 0640);
    if (fd >= 0 && fchmod(fd, 0640) < 0)
        return -errno;
    if (fd < 0 && errno == EEXIST)
        fd = open(path, FLAGS, 0640);
    if (fd < 0 || fstat(fd, &info) < 0)
        return -errno;
    if (!S_ISREG(info.st_mode))
        return -EINVAL;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int audit_check(const char *section, const char *path)
{
    struct stat info;
    size_t length = path ? strlen(path) : 0;
    if (length == 0 || (path[length - 1] != '/' && (lstat(path, &info) < 0 || S_ISREG(info.st_mode))))
        return 0;
    config_mistake(section, "audit_file", "[%s] audit_file: '%s' is no regular file; name one, or a new one",
                   section, path);
    return 1;
}

static int make_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder CLEANUP(free_ptr) = slash ? strndup(path, (size_t)(slash - path)) : NULL;
    int fd CLEANUP(close_fd) = -1;
    if (!slash || !folder || !*folder)
        return !slash || folder ? 0 : -ENOMEM;
    return folder_open(folder, 0750, &fd);
}

int audit_open(const char *path, const char *program, Audit **ret_audit)
{
    Audit *audit = calloc(1, sizeof(*audit));
    if (!audit)
        return -ENOMEM;
    audit->fd = -1;
    audit->program = program;
    audit->path = strdup(path);
    int r = audit->path ? -pthread_mutex_init(&audit->mutex, NULL) : -ENOMEM;
    if (r < 0) {
        free(audit->path);
        free(audit);
        return r;
    }
    r = make_folder_of(path);
    if (r == 0)
        r = open_file(path, &audit->fd);
    if (r < 0) {
        (void)audit_close(audit);
        return r;
    }
    *ret_audit = audit;
    return 0;
}

Audit *audit_close(Audit *audit)
{
    if (!audit)
        return NULL;
    (void)pthread_mutex_destroy(&audit->mutex);
    close_fd(&audit->fd);
    free(audit->path);
    free(audit);
    return NULL;
}

void audit_reopen(Audit *audit)
{
    int fd = -1;
    int r = open_file(audit->path, &fd);
    if (r < 0) {
        log_error("%s: can't open a new audit log, the old one stays in use: %s", audit->path, strerror(-r));
        return;
    }
    (void)pthread_mutex_lock(&audit->mutex);
    close_fd(&audit->fd);
    audit->fd = fd;
    audit->torn = false;
    (void)pthread_mutex_unlock(&audit->mutex);
    log_info("%s: opened anew", audit->path);
}

/* --- a line --- */

/* Valid UTF-8 of at most AUDIT_TEXT_MAX bytes and the mark that it was cut. */
static char *clean(const char *text)
{
    char *out = malloc(AUDIT_TEXT_MAX + sizeof(CUT));
    size_t used = 0, left = strnlen(text, AUDIT_TEXT_MAX + 1);
    while (out && left > 0) {
        uint32_t point;
        size_t length = text_character(text, left, &point);
        const char *shown = length ? text : REPLACEMENT;
        size_t shown_length = length ? length : strlen(REPLACEMENT);
        if (used + shown_length > AUDIT_TEXT_MAX) {
            memcpy(out + used, CUT, strlen(CUT));
            used += strlen(CUT);
            break;
        }
        memcpy(out + used, shown, shown_length);
        used += shown_length;
        text += length ? length : 1;
        left -= length ? length : 1;
    }
    if (out)
        out[used] = '\0';
    return out;
}

static bool add(cJSON *object, const char *name, const char *text)
{
    if (!text || !*text)
        return true;
    char *cleaned CLEANUP(free_ptr) = clean(text);
    return cleaned && cJSON_AddStringToObject(object, name, cleaned);
}

/* NULL when out of memory. */
static char *format(const Audit *audit, const AuditEvent *event)
{
    char at[TEXT_TIME_SIZE];
    text_time(clock_unix_ms(), at);
    cJSON *object CLEANUP(json_delete) = cJSON_CreateObject();
    if (!object || !add(object, "time", at) || !add(object, "program", audit->program) ||
        !add(object, "user", event->user) || !add(object, "from", event->from) ||
        !add(object, "what", event->what) || !add(object, "client", event->client) ||
        !add(object, "file", event->file) || !add(object, "id", event->upload) ||
        !json_add_u64(object, "status", event->status) ||
        !add(object, "result", event->reason ? event->reason : "ok") ||
        (event->unwritten && !json_add_u64(object, "unwritten", event->unwritten)))
        return NULL;
    char *json CLEANUP(free_ptr) = cJSON_PrintUnformatted(object);
    char *line CLEANUP(free_ptr) = json ? text_printable_json(json) : NULL;
    return line ? text_format("%s\n", line) : NULL;
}

/* One write, so that a line is there whole or is seen to be torn. A signal can't interrupt it on a disk. */
static int append(Audit *audit, const char *line)
{
    if (audit->torn && write(audit->fd, "\n", 1) != 1)
        return -ENOSPC;
    audit->torn = false;
    size_t size = strlen(line);
    ssize_t written = write(audit->fd, line, size);
    if (written == (ssize_t)size)
        return 0;
    int error = written < 0 ? errno : ENOSPC;
    audit->torn = written > 0;
    return -error;
}

int audit_write(Audit *audit, const AuditEvent *event)
{
    if (!audit)
        return 0;
    char *line CLEANUP(free_ptr) = format(audit, event);
    (void)pthread_mutex_lock(&audit->mutex);
    int r = line ? append(audit, line) : -ENOMEM;
    bool was_failing = audit->failing;
    audit->failing = r < 0;
    (void)pthread_mutex_unlock(&audit->mutex);
    if (r < 0 && !was_failing)
        log_error("%s: the audit log can't be written, so everything is refused: %s", audit->path,
                  strerror(-r));
    else if (r == 0 && was_failing)
        log_info("%s: the audit log can be written again", audit->path);
    return r;
}
