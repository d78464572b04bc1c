#include "common/text.h"
#include "coordinator/cli/certificate.h"
#include "coordinator/cli/daemon.h"

#include <errno.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

#define FREE_MIN ((uint64_t)16 << 20) /* for a daemon's own state */

/* --- keys and certificates --- */

static const struct {
    unsigned roles;
    const char *section, *name;
} secrets[] = {{AGENT | RECEIVER | COORDINATOR, "mqtt", "key"}, {AGENT | RECEIVER, "receiver", "key"},
               {RECEIVER, "receiver", "signing_key"},           {COORDINATOR, "coordinator", "key"},
               {COORDINATOR, "coordinator", "signing_key"},     {COORDINATOR, "coordinator", "token_file"}};

static void check_secrets(const Daemon *daemon)
{
    char check[CHECK_SIZE];
    struct stat status;

    for (size_t i = 0; i < ARRAY_SIZE(secrets); i++) {
        const char *path = daemon_setting(daemon, secrets[i].section, secrets[i].name);
        if (!(secrets[i].roles & daemon->role) || !path || stat(path, &status) < 0)
            continue;
        (void)daemon_key_name(secrets[i].section, secrets[i].name, check);
        if (status.st_mode & (S_IRWXO | S_IWGRP))
            report_add(daemon->report, VERDICT_WARNING, check,
                       "others may read or change %s, and whoever has it is this machine; chmod 600 it",
                       path);
        else
            report_add(daemon->report, VERDICT_OK, check, "%s is kept from others", path);
    }
}

typedef enum Kind { ANY, OF_SERVER, OF_CLIENT } Kind;
static const struct {
    unsigned roles;
    const char *section, *name;
    Kind kind;
} certificates[] = {{AGENT | RECEIVER | COORDINATOR, "mqtt", "ca", ANY},
                    {AGENT | RECEIVER | COORDINATOR, "mqtt", "cert", OF_CLIENT},
                    {AGENT, "receiver", "cert", OF_CLIENT},
                    {RECEIVER, "receiver", "cert", OF_SERVER},
                    {RECEIVER, "receiver", "client_ca", ANY},
                    {RECEIVER, "receiver", "people_ca", ANY},
                    {COORDINATOR, "coordinator", "cert", OF_SERVER}};

static bool check_kind(const Daemon *daemon, const char *check, const char *path,
                       const Certificate *certificate, Kind kind)
{
    if ((kind == OF_SERVER && !certificate->is_server) || (kind == OF_CLIENT && !certificate->is_client)) {
        report_add(daemon->report, VERDICT_FAULT, check,
                   "%s is no certificate of a %s; make one with beckon-pki %s", path,
                   kind == OF_SERVER ? "server" : "client",
                   kind == OF_SERVER       ? "server"
                   : daemon->role == AGENT ? "client"
                                           : "service");
        return false;
    }
    return true;
}

static void check_certificates(const Daemon *daemon)
{
    char check[CHECK_SIZE];
    Certificate certificate;

    for (size_t i = 0; i < ARRAY_SIZE(certificates); i++) {
        const char *path = daemon_setting(daemon, certificates[i].section, certificates[i].name);
        if (!(certificates[i].roles & daemon->role) || !path || certificate_read(path, &certificate) < 0)
            continue; /* what does not load is among the mistakes in the configuration */
        (void)daemon_key_name(certificates[i].section, certificates[i].name, check);
        if (check_kind(daemon, check, path, &certificate, certificates[i].kind))
            doctor_judge_end(daemon->report, check, path, certificate.ends_unix_s,
                             "make it anew with beckon-pki");
    }
}

/* The broker's rules go by the name in the certificate, and tell nobody that they refuse. */
static void check_service_name(const Daemon *daemon)
{
    const char *path = daemon_setting(daemon, "mqtt", "cert");
    Certificate certificate;

    if (daemon->role == AGENT || !path || certificate_read(path, &certificate) < 0)
        return;
    if (strcmp(certificate.name, daemon->role_name) == 0)
        report_add(daemon->report, VERDICT_OK, "[mqtt] cert: name", "%s", certificate.name);
    else
        report_add(daemon->report, VERDICT_FAULT, "[mqtt] cert: name",
                   "it is for %s, and the broker lets only %s do what a %s does; take that of beckon-pki "
                   "service %s, or add the name to people.acl",
                   certificate.name, daemon->role_name, daemon->role_name, daemon->role_name);
}

static void check_revocation_lists(const Daemon *daemon)
{
    const char *path = daemon_setting(daemon, "receiver", "crl");
    const char *authorities = daemon_setting(daemon, "receiver", "client_ca");
    RevocationLists lists;

    if (daemon->role != RECEIVER || !path || !authorities ||
        revocation_lists_read(path, authorities, &lists) < 0)
        return;
    if (!lists.is_signed)
        report_add(
            daemon->report, VERDICT_FAULT, "[receiver] crl",
            "%s has a list that no authority in %s has signed; copy clients.crl and clients.crt from the "
            "same beckon-pki folder",
            path, authorities);
    else
        doctor_judge_end(daemon->report, "[receiver] crl", path, lists.ends_unix_s,
                         "every client is refused then: copy a new clients.crl from beckon-pki");
}

/* --- folders --- */

static const struct {
    Role role;
    const char *section, *name;
    bool is_file; /* in the folder that is meant */
} folders[] = {{AGENT, "agent", "state_dir", false},
               {RECEIVER, "receiver", "store", false},
               {RECEIVER, "receiver", "audit_file", true},
               {COORDINATOR, "coordinator", "database", true},
               {COORDINATOR, "coordinator", "audit_file", true}};

/* Cuts the last part off; "/" stays. */
static void to_parent(char *path)
{
    char *slash = strrchr(path, '/');

    if (slash)
        slash[slash == path] = '\0';
}

static void check_room(const Daemon *daemon, const char *check, const char *folder)
{
    uint64_t floor = daemon_number(daemon, "limits", "free_space_floor");
    struct statvfs disk;
    char left[TEXT_BYTES_SIZE], wanted[TEXT_BYTES_SIZE];

    if (statvfs(folder, &disk) < 0)
        return;
    if (floor < FREE_MIN)
        floor = FREE_MIN;
    text_bytes((uint64_t)disk.f_bavail * disk.f_frsize, left);
    text_bytes(floor, wanted);
    if ((uint64_t)disk.f_bavail * disk.f_frsize < floor)
        report_add(daemon->report, VERDICT_FAULT, check,
                   "only %s free on the disk of %s, and %s are needed; free some, or lower [limits] "
                   "free_space_floor",
                   left, folder, wanted);
    else
        report_add(daemon->report, VERDICT_OK, check, "%s can be written, %s free", folder, left);
}

static void check_folder(const Daemon *daemon, const char *check, const char *path, bool is_file)
{
    char *folder CLEANUP(free_ptr) = strdup(path);

    if (folder && is_file)
        to_parent(folder);
    while (folder && access(folder, F_OK) < 0 && errno == ENOENT && folder[1])
        to_parent(folder); /* it will be made */
    if (folder && access(folder, R_OK | W_OK | X_OK) == 0)
        check_room(daemon, check, folder);
    else if (folder)
        report_add(daemon->report, VERDICT_FAULT, check,
                   "%s can't be written (%s); chown it to the user of beckon-%s, or set %s to another folder",
                   path, strerror(errno), daemon->role_name, check);
}

static void check_folders(const Daemon *daemon)
{
    char check[CHECK_SIZE];

    for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
        const char *path = daemon_setting(daemon, folders[i].section, folders[i].name);
        if (folders[i].role == daemon->role && path)
            check_folder(daemon, daemon_key_name(folders[i].section, folders[i].name, check), path,
                         folders[i].is_file);
    }
}

static void check_allowed_folder(const Daemon *daemon, const char *path)
{
    struct stat status;

    if (stat(path, &status) < 0)
        report_add(daemon->report, VERDICT_FAULT, "[files] allow",
                   "%s: %s; make the folder, or take it out of [files] allow", path, strerror(errno));
    else if (!S_ISDIR(status.st_mode))
        report_add(daemon->report, VERDICT_FAULT, "[files] allow",
                   "%s is no folder; write the folder that it is in", path);
    else if (access(path, R_OK | X_OK) == 0)
        report_add(daemon->report, VERDICT_OK, "[files] allow", "%s can be read", path);
    else
        report_add(daemon->report, (status.st_mode & S_IRGRP) ? VERDICT_WARNING : VERDICT_FAULT,
                   "[files] allow",
                   "%s can't be read by this user; let the agent in, if its unit does not do so already: "
                   "systemctl edit beckon-agent, SupplementaryGroups=",
                   path);
}

static void check_allowed(const Daemon *daemon)
{
    const cJSON *files = cJSON_GetObjectItemCaseSensitive(daemon->config, "files");
    const cJSON *allow = cJSON_GetObjectItemCaseSensitive(files, "allow"), *one = NULL;

    if (daemon->role != AGENT)
        return;
    cJSON_ArrayForEach(one, allow) check_allowed_folder(daemon, one->valuestring);
    if (cJSON_GetArraySize(allow) == 0)
        report_add(daemon->report, VERDICT_WARNING, "[files] allow",
                   "it is empty, so nothing may leave this device; list the folders that may");
}

/* What is missing of the sandbox is among the daemon's own warnings. */
static void check_kernel(const Daemon *daemon)
{
    const struct open_how how = {0};

    if (daemon->role != AGENT)
        return;
    if (access("/proc/self/fd", X_OK) < 0)
        report_add(daemon->report, VERDICT_FAULT, "kernel",
                   "there is no /proc; mount it, for the agent opens files by it");
    else if (syscall(SYS_openat2, -1, "", &how, sizeof(how)) < 0 && (errno == ENOSYS || errno == EPERM))
        report_add(
            daemon->report, VERDICT_WARNING, "kernel",
            "it has no openat2 (Linux 5.6), so no symbolic link is followed; update it, or allow it in "
            "the container");
    else
        report_add(daemon->report, VERDICT_OK, "kernel", "it has openat2");
}

void doctor_look_at_files(const Daemon *daemon)
{
    check_secrets(daemon);
    check_certificates(daemon);
    check_service_name(daemon);
    check_revocation_lists(daemon);
    check_folders(daemon);
    check_allowed(daemon);
    check_kernel(daemon);
}
