#include "common/syscall_filter.h"

#include <errno.h>
#include <seccomp.h>
#include <string.h>
#include <sys/prctl.h>

#define NAME_SIZE 40
#define MODE_FILTER 2 /* SECCOMP_MODE_FILTER, whose header collides with libseccomp's on some systems */

static void release(scmp_filter_ctx *filter)
{
    if (*filter)
        seccomp_release(*filter);
}

/* rule NULL: whatever the arguments are. */
static int add(scmp_filter_ctx filter, uint32_t action, const char *name, const SyscallRule *rule)
{
    int number = seccomp_syscall_resolve_name(name);
    int r;

    if (number == __NR_SCMP_ERROR)
        return 0; /* newer than this libseccomp */
    if (!rule)
        r = seccomp_rule_add(filter, action, number, 0);
    else if (rule->test == SYSCALL_ARG_IS)
        r = seccomp_rule_add(filter, action, number, 1,
                             SCMP_CMP(rule->arg, SCMP_CMP_MASKED_EQ, rule->mask, rule->value));
    else
        r = seccomp_rule_add(filter, action, number, 1, SCMP_CMP(rule->arg, SCMP_CMP_NE, rule->value, 0));
    return number < 0 ? 0 : r; /* below 0: of another architecture */
}

static int add_names(scmp_filter_ctx filter, uint32_t action, const char *names)
{
    char name[NAME_SIZE];
    int r = 0;

    while (r == 0 && *names) {
        size_t length = strcspn(names, " ");
        if (length >= sizeof(name))
            return -EINVAL;
        memcpy(name, names, length);
        name[length] = '\0';
        r = add(filter, action, name, NULL);
        names += length + strspn(names + length, " ");
    }
    return r;
}

static int enter(uint32_t otherwise, uint32_t action, const char *names, const SyscallRule *rules,
                 size_t count)
{
    scmp_filter_ctx filter CLEANUP(release) = seccomp_init(otherwise);

    /* A call by the table of another architecture (32-bit, x32) kills, as is libseccomp's default. */
    int r = filter ? seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1) : -ENOMEM;
    if (r == 0)
        r = add(filter, SCMP_ACT_ERRNO(ENOSYS), "clone3", NULL);
    if (r == 0)
        r = add_names(filter, action, names);
    for (size_t i = 0; r == 0 && i < count; i++)
        r = add(filter, action, rules[i].name, &rules[i]);
    return r == 0 ? seccomp_load(filter) : r;
}

int syscall_filter_allow_only(const char *names, const SyscallRule *rules, size_t count)
{
    return enter(SCMP_ACT_ERRNO(EPERM), SCMP_ACT_ALLOW, names, rules, count);
}

int syscall_filter_refuse(const char *names, const SyscallRule *rules, size_t count)
{
    return enter(SCMP_ACT_ALLOW, SCMP_ACT_ERRNO(EPERM), names, rules, count);
}

int syscall_filter_check(void)
{
    /* EFAULT: it would have read the filter. EINVAL: it does not know what a filter is. */
    if (prctl(PR_SET_SECCOMP, MODE_FILTER, NULL, 0, 0) < 0 && errno == EFAULT)
        return 0;
    return -EOPNOTSUPP;
}
