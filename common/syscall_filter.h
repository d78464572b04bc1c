/* seccomp filters: which system calls a process and its children may make from now on (libseccomp inside).
 *
 * Calls are named, so that one list serves every architecture; a name that this one, or this libseccomp, does
 * not have is passed over. What is refused fails with EPERM and kills nobody: a library that tries something
 * new has its fallback. clone3() does not exist (ENOSYS) in any filter, because none can see its flags; the C
 * library then takes clone(). Filters add up: a later one can only take more away. */
#pragma once

#include "common/cleanup.h"

#include <stddef.h>
#include <stdint.h>

typedef enum SyscallTest {
    SYSCALL_ARG_IS,     /* (argument & mask) == value */
    SYSCALL_ARG_IS_NOT, /* argument != value */
} SyscallTest;

/* The mask of an int: the kernel looks at the lower half of the register only. */
#define SYSCALL_INT UINT32_MAX

/* A call with one of its arguments, 0 to 5. Several rules with one name: any of them. */
typedef struct SyscallRule {
    const char *name;
    SyscallTest test;
    unsigned arg;
    uint64_t mask, value;
} SyscallRule;

/* All but these fail. names: separated by spaces; rules: where it depends on an argument. For all threads of
 * the process. 0 or a negative errno. */
int syscall_filter_allow_only(const char *names, const SyscallRule *rules, size_t count) MUST_CHECK;

/* These fail, all others go on. The same otherwise. */
int syscall_filter_refuse(const char *names, const SyscallRule *rules, size_t count) MUST_CHECK;

/* 0 if the kernel has such filters, or -EOPNOTSUPP. */
int syscall_filter_check(void) MUST_CHECK;
