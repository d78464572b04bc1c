/* Ownership in a word: CLEANUP(fn) frees on every way out of a scope, TAKE_PTR and TAKE_FD hand a value on.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))
#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(text_arg, first_arg) __attribute__((format(printf, text_arg, first_arg)))

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#define TAKE_PTR(pointer)                                                                                    \
    __extension__({                                                                                          \
        __typeof__(pointer) *take_from_ = &(pointer);                                                        \
        __typeof__(pointer) taken_ = *take_from_;                                                            \
        *take_from_ = NULL;                                                                                  \
        taken_;                                                                                              \
    })

static inline int take_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}
#define TAKE_FD(fd) take_fd(&(fd))

/* For CLEANUP: int fd CLEANUP(close_fd) = -1; char *text CLEANUP(free_ptr) = NULL; */
static inline void close_fd(const int *fd)
{
    if (*fd >= 0)
        (void)close(*fd); /* whoever needs to know has called fsync() */
}

static inline void free_ptr(void *pointer)
{
    free(*(void **)pointer);
}

/* The same for a text that is a secret: wiped first. */
static inline void free_secret(char **text)
{
    if (*text)
        explicit_bzero(*text, strlen(*text));
    free(*text);
}

static inline void close_stream(FILE **stream)
{
    if (*stream)
        (void)fclose(*stream);
}
