#include "agent/path.h"
#include "agent/policy.h"
#include "agent/probe.h"
#include "common/log.h"
#include "common/text.h"
#include "protocol/ident.h"

#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>

static void touch_folder(int fd, void *userdata)
{
    const char *folder = userdata;
    struct stat info;
    (void)fd;

    (void)stat(folder, &info);
}

static int check_folder(char *folder)
{
    char *given CLEANUP(free_ptr) = strdup(folder);

    if (!given || folder[0] != '/' || !path_normalize(folder)) {
        config_mistake("files", "allow", "[files] allow: '%s' is not an absolute folder", given ? given : "");
        return 1;
    }
    if (path_is_kernels(folder)) {
        config_mistake("files", "allow",
                       "[files] allow: %s shows the kernel's state and is never sent; remove it", folder);
        return 1;
    }
    char mount[FILE_PATH_MAX + 1];
    probe_mount_of(folder, mount);
    if (probe(mount, -1, PROBE_PATIENCE_MS, touch_folder, folder) == PROBE_E_SILENT) {
        log_warn("[files] allow: the file system of %s does not answer", folder);
        return 0;
    }
    char *real CLEANUP(free_ptr) = realpath(folder, NULL);
    if (real && strcmp(real, folder) != 0)
        log_warn("[files] allow: %s goes through a symbolic link, so nothing below it can be sent; write %s",
                 folder, real);
    return 0;
}

static int check_patterns(const Policy *policy)
{
    int mistakes = 0;

    for (size_t i = 0; i < policy->deny.count; i++)
        if (!path_pattern_is_valid(policy->deny.items[i])) {
            config_mistake(
                "files", "deny",
                "[files] deny: '%s' must be one name without '/' (such as *.key), or an absolute path "
                "(such as /srv/*/private), and '**' has no meaning",
                policy->deny.items[i]);
            mistakes++;
        }
    if (policy->deny.count > POLICY_DENY_MAX) {
        config_mistake("files", "deny", "[files] deny has more than %d patterns; remove some",
                       POLICY_DENY_MAX);
        mistakes++;
    }
    return mistakes;
}

static bool find_user(const char *name, uid_t *ret_user)
{
    const struct passwd *entry = getpwnam(name);
    uint64_t number = 0;

    if (!entry && (!text_to_u64(name, &number) || number >= (uid_t)-1))
        return false;
    *ret_user = entry ? entry->pw_uid : (uid_t)number;
    return true;
}

static int check_owners(Policy *policy)
{
    int mistakes = 0;

    if (policy->owner.count > POLICY_OWNERS_MAX) {
        config_mistake("files", "owner", "[files] owner has more than %d users; remove some",
                       POLICY_OWNERS_MAX);
        return 1;
    }
    for (size_t i = 0; i < policy->owner.count; i++)
        if (!find_user(policy->owner.items[i], &policy->owner_ids[i])) {
            config_mistake("files", "owner",
                           "[files] owner: there is no user '%s' here; give a name or a number",
                           policy->owner.items[i]);
            mistakes++;
        }
    return mistakes;
}

int policy_check_config(Policy *policy)
{
    int mistakes = 0;

    for (size_t i = 0; i < policy->allow.count; i++)
        mistakes += check_folder(policy->allow.items[i]);
    if (!policy->base && policy->allow.count > 0 && !(policy->base = strdup(policy->allow.items[0])))
        mistakes++;
    return mistakes + check_patterns(policy) + check_owners(policy);
}
