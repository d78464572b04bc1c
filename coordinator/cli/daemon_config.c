#include "coordinator/cli/daemon_config.h"

#include "common/files.h"
#include "common/json.h"
#include "common/text.h"

#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define OUTPUT_MAX ((size_t)1 << 20)

extern char **environ;

/* Beside this program; NULL when out of memory, or if it is not there. */
static char *find_beside(const char *name)
{
    char self[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);

    if (length <= 0)
        return NULL;
    self[length] = '\0';
    char *slash = strrchr(self, '/');
    char *path CLEANUP(free_ptr) = slash ? text_format("%.*s/%s", (int)(slash - self), self, name) : NULL;
    return path && access(path, X_OK) == 0 ? TAKE_PTR(path) : NULL;
}

static int run(const char *role, const char *file, int output, int log)
{
    char *name CLEANUP(free_ptr) = text_format("beckon-%s", role);
    char *beside CLEANUP(free_ptr) = name ? find_beside(name) : NULL;
    char *argv[] = {name, (char *)"--show-config", (char *)"--config", (char *)file, NULL};
    posix_spawn_file_actions_t actions;
    pid_t child;
    int status;

    if (!name || setenv("BECKON_LOG_FORMAT", "text", 1) < 0 || setenv("BECKON_LOG_LEVEL", "warn", 1) < 0)
        return -ENOMEM;
    if (posix_spawn_file_actions_init(&actions) != 0)
        return -ENOMEM;
    int r = posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(&actions, log, STDERR_FILENO);
    if (r == 0)
        r = posix_spawnp(&child, beside ? beside : name, &actions, NULL, argv, environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    if (r != 0)
        return -r;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return 0; /* its exit code says no more than its log */
}

/* All that was written into a memory file. */
static int read_back(int fd, char **ret_text, size_t *ret_size)
{
    char path[32];

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return file_read(path, OUTPUT_MAX, ret_text, ret_size);
}

int daemon_config_read(const char *role, const char *file, cJSON **ret_config, char **ret_log)
{
    int output CLEANUP(close_fd) = memfd_create("config", MFD_CLOEXEC);
    int log CLEANUP(close_fd) = memfd_create("log", MFD_CLOEXEC);
    char *text CLEANUP(free_ptr) = NULL, *lines CLEANUP(free_ptr) = NULL;
    size_t text_size = 0, lines_size = 0;

    if (output < 0 || log < 0)
        return -errno;
    int r = run(role, file, output, log);
    if (r == 0)
        r = read_back(output, &text, &text_size);
    if (r == 0)
        r = read_back(log, &lines, &lines_size);
    if (r < 0)
        return r;
    *ret_config = json_parse_object(text, text_size, OUTPUT_MAX);
    *ret_log = TAKE_PTR(lines);
    return 0;
}
