/* Makes the n-th call of a running program go wrong: a library for LD_PRELOAD, steered through a small mapped
 * file, so that a campaign can set off one fault after the other without starting anything anew.
 *
 * The file is $BECKON_FAULTS/<program>; engine/faultline.py makes it and writes into it. Only calls of our
 * own code count, and those that cJSON and SQLite make for it: what OpenSSL or the resolver do for themselves
 * is not our concern. Worker threads count together: the n-th call of the program, not of a thread. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* In the order of CALLS in engine/faultline.py. */
typedef enum Call {
    CALL_OPEN,
    CALL_READ,
    CALL_PREAD,
    CALL_WRITE,
    CALL_PWRITE,
    CALL_FSYNC,
    CALL_FDATASYNC,
    CALL_RENAME,
    CALL_LINK,
    CALL_UNLINK,
    CALL_MKDIR,
    CALL_TRUNCATE,
    CALL_STAT,
    CALL_ACCESS,
    CALL_SYNC_RANGE,
    CALL_SOCKET,
    CALL_ACCEPT,
    CALL_PIPE,
    CALL_SPAWN,
    CALL_THREAD,
    CALL_MEMORY,
} Call;

enum { ACTION_SHORT = -1, ACTION_KILL_BEFORE = -2, ACTION_KILL_AFTER = -3 }; /* above 0: an errno */

typedef struct Faultline {
    _Atomic uint64_t calls;    /* bits of Call that count; 0: nothing goes wrong */
    _Atomic int64_t countdown; /* the call that takes it from 1 to 0 is hit */
    _Atomic int64_t times;     /* and so are the next ones, this many in all */
    _Atomic int32_t action;
    _Atomic int32_t last; /* the Call that was hit */
    _Atomic uint64_t hits;
    _Atomic uint64_t seen; /* calls that counted since it was armed */
} Faultline;

typedef enum Fate { FATE_PASS, FATE_FAIL, FATE_SHORT, FATE_KILL_AFTER } Fate;

#define OBJECTS_MAX 4

static struct {
    uintptr_t start, end;
} ours[OBJECTS_MAX];
static size_t ours_count;
static Faultline *line;
static pid_t program;

static int note_object(struct dl_phdr_info *info, size_t size, void *userdata)
{
    (void)size;
    (void)userdata;
    if (ours_count == OBJECTS_MAX ||
        (ours_count > 0 && !strstr(info->dlpi_name, "libcjson") && !strstr(info->dlpi_name, "libsqlite3")))
        return 0; /* the program itself comes first */
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X))
            continue;
        ours[ours_count].start = info->dlpi_addr + part->p_vaddr;
        ours[ours_count].end = ours[ours_count].start + part->p_memsz;
        ours_count++;
        break;
    }
    return 0;
}

__attribute__((constructor)) static void begin(void)
{
    const char *folder = getenv("BECKON_FAULTS");
    char path[4096];

    program = getpid();
    if (!folder)
        return;
    (void)snprintf(path, sizeof(path), "%s/%s", folder, program_invocation_short_name);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0)
        return;
    void *mapped = mmap(NULL, sizeof(Faultline), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)syscall(SYS_close, fd);
    (void)dl_iterate_phdr(note_object, NULL);
    if (mapped != MAP_FAILED)
        line = mapped;
}

static bool is_ours(const void *caller)
{
    for (size_t i = 0; i < ours_count; i++)
        if ((uintptr_t)caller >= ours[i].start && (uintptr_t)caller < ours[i].end)
            return true;
    return false;
}

/* The whole program, also if it is a child that it has forked. */
static void die(void)
{
    if (getpid() != program)
        (void)kill(program, SIGKILL);
    if (kill(getpid(), SIGKILL) < 0)
        _exit(1); /* from its cage a worker signals nobody, not even itself */
    for (;;)
        (void)pause(); /* the signal may reach another thread first */
}

/* What becomes of this call; errno is set if it is to fail. */
static Fate decide(Call call, const void *caller)
{
    if (!line || !(atomic_load_explicit(&line->calls, memory_order_relaxed) >> call & 1))
        return FATE_PASS;
    if (call != CALL_SOCKET && call != CALL_ACCEPT && !is_ours(caller))
        return FATE_PASS;
    atomic_fetch_add(&line->seen, 1);
    int64_t left = atomic_fetch_sub(&line->countdown, 1);
    if (left > 1 || left <= 1 - atomic_load(&line->times))
        return FATE_PASS;
    atomic_store(&line->last, (int32_t)call);
    atomic_fetch_add(&line->hits, 1);
    int action = atomic_load(&line->action);
    if (action == ACTION_KILL_BEFORE)
        die();
    if (action > 0)
        errno = action;
    return action > 0 ? FATE_FAIL : action == ACTION_SHORT ? FATE_SHORT : FATE_KILL_AFTER;
}

#define REAL(name)                                                                                           \
    static __typeof__(&name) real;                                                                           \
    if (!real)                                                                                               \
    *(void **)&real = dlsym(RTLD_NEXT, #name)

/* A call that fails with -1 and errno. */
#define WRAP(call, type, name, parameters, arguments)                                                        \
    type name parameters                                                                                     \
    {                                                                                                        \
        REAL(name);                                                                                          \
        Fate fate = decide(call, __builtin_return_address(0));                                               \
        if (fate == FATE_FAIL)                                                                               \
            return -1;                                                                                       \
        type r = real arguments;                                                                             \
        if (fate == FATE_KILL_AFTER)                                                                         \
            die();                                                                                           \
        return r;                                                                                            \
    }

/* The same for one that may do less than it was asked for. */
#define WRAP_SHORT(call, name, parameters, arguments)                                                        \
    ssize_t name parameters                                                                                  \
    {                                                                                                        \
        REAL(name);                                                                                          \
        Fate fate = decide(call, __builtin_return_address(0));                                               \
        if (fate == FATE_FAIL)                                                                               \
            return -1;                                                                                       \
        if (fate == FATE_SHORT && size > 1)                                                                  \
            size /= 2;                                                                                       \
        ssize_t r = real arguments;                                                                          \
        if (fate == FATE_KILL_AFTER)                                                                         \
            die();                                                                                           \
        return r;                                                                                            \
    }

#define MODE_OF(flags, last)                                                                                 \
    mode_t mode = 0;                                                                                         \
    if (flags & (O_CREAT | __O_TMPFILE)) {                                                                   \
        va_list rest;                                                                                        \
        va_start(rest, last);                                                                                \
        mode = va_arg(rest, mode_t);                                                                         \
        va_end(rest);                                                                                        \
    }

int openat64(int at, const char *path, int flags, ...)
{
    REAL(openat64);
    MODE_OF(flags, flags)
    Fate fate = decide(CALL_OPEN, __builtin_return_address(0));
    if (fate == FATE_FAIL)
        return -1;
    int fd = real(at, path, flags, mode);
    if (fate == FATE_KILL_AFTER)
        die();
    return fd;
}

int open64(const char *path, int flags, ...)
{
    REAL(open64);
    MODE_OF(flags, flags)
    Fate fate = decide(CALL_OPEN, __builtin_return_address(0));
    if (fate == FATE_FAIL)
        return -1;
    int fd = real(path, flags, mode);
    if (fate == FATE_KILL_AFTER)
        die();
    return fd;
}

WRAP_SHORT(CALL_READ, read, (int fd, void *data, size_t size), (fd, data, size))
WRAP_SHORT(CALL_PREAD, pread64, (int fd, void *data, size_t size, off64_t at), (fd, data, size, at))
WRAP_SHORT(CALL_WRITE, write, (int fd, const void *data, size_t size), (fd, data, size))
WRAP_SHORT(CALL_PWRITE, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
WRAP(CALL_FSYNC, int, fsync, (int fd), (fd))
WRAP(CALL_FDATASYNC, int, fdatasync, (int fd), (fd))
WRAP(CALL_RENAME, int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to))
WRAP(CALL_RENAME, int, renameat2, (int a, const char *from, int b, const char *to, unsigned flags),
     (a, from, b, to, flags))
WRAP(CALL_LINK, int, linkat, (int a, const char *from, int b, const char *to, int flags),
     (a, from, b, to, flags))
WRAP(CALL_UNLINK, int, unlinkat, (int at, const char *path, int flags), (at, path, flags))
WRAP(CALL_UNLINK, int, unlink, (const char *path), (path))
WRAP(CALL_MKDIR, int, mkdirat, (int at, const char *path, mode_t mode), (at, path, mode))
WRAP(CALL_TRUNCATE, int, ftruncate64, (int fd, off64_t size), (fd, size))
WRAP(CALL_STAT, int, fstat64, (int fd, struct stat64 *info), (fd, info))
WRAP(CALL_STAT, int, fstatat64, (int at, const char *path, struct stat64 *info, int flags),
     (at, path, info, flags))
WRAP(CALL_ACCESS, int, faccessat, (int at, const char *path, int mode, int flags), (at, path, mode, flags))
WRAP(CALL_SYNC_RANGE, int, sync_file_range, (int fd, off64_t at, off64_t size, unsigned flags),
     (fd, at, size, flags))
WRAP(CALL_SOCKET, int, socket, (int domain, int type, int protocol), (domain, type, protocol))
WRAP(CALL_ACCEPT, int, accept4, (int fd, __SOCKADDR_ARG address, socklen_t *size, int flags),
     (fd, address, size, flags))
WRAP(CALL_PIPE, int, pipe2, (int ends[2], int flags), (ends, flags))

int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                const posix_spawnattr_t *attributes, char *const arguments[], char *const environment[])
{
    REAL(posix_spawn);
    Fate fate = decide(CALL_SPAWN, __builtin_return_address(0));
    if (fate == FATE_FAIL)
        return errno;
    int r = real(pid, path, actions, attributes, arguments, environment);
    if (fate == FATE_KILL_AFTER)
        die();
    return r;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *userdata)
{
    REAL(pthread_create);
    Fate fate = decide(CALL_THREAD, __builtin_return_address(0));
    if (fate == FATE_FAIL)
        return errno;
    int r = real(thread, attributes, run, userdata);
    if (fate == FATE_KILL_AFTER)
        die();
    return r;
}

/* glibc's own names: dlsym() itself asks for memory. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);

static bool memory_fails(const void *caller)
{
    if (decide(CALL_MEMORY, caller) != FATE_FAIL)
        return false;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    return memory_fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return memory_fails(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return memory_fails(__builtin_return_address(0)) ? NULL : __libc_realloc(old, size);
}

void *reallocarray(void *old, size_t count, size_t size)
{
    if (size > 0 && count > SIZE_MAX / size) {
        errno = ENOMEM;
        return NULL;
    }
    return memory_fails(__builtin_return_address(0)) ? NULL : __libc_realloc(old, count * size);
}

char *strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = memory_fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);

    return copy ? memcpy(copy, text, size) : NULL;
}
