/* beckon-upload with an exploit stand-in for its source_read() (the linker's --wrap): at the first byte of
 * the body, in the middle of a real upload, it tries everything in exploit.c and reports that as its result,
 * in the only way it has. BECKON_PREY names the folder with the prey, BECKON_PREY_PORT a port of this machine
 * on which something listens. */
#include "agent/source.h"
#include "agent/upload_job.h"
#include "common/files.h"
#include "exploit.h"

#include <arpa/inet.h>
#include <string.h>

int __wrap_source_read(Source *source, void *buf, size_t size, size_t *ret_size);

/* The one to the receiver: of the few descriptors, that with a peer on the network. */
static void find_connection(Prey *prey)
{
    for (prey->connection = UPLOAD_FILE_FD + 1; prey->connection < 32; prey->connection++) {
        socklen_t size = sizeof(prey->receiver);
        if (getpeername(prey->connection, (struct sockaddr *)&prey->receiver, &size) == 0 &&
            prey->receiver.sin_family == AF_INET)
            return;
    }
}

/* One that works and does not come back (exec) shows as a worker without a result. */
static UploadLine try_everything(void)
{
    const char *port = getenv("BECKON_PREY_PORT");
    Prey prey = {.folder = getenv("BECKON_PREY"), .file = UPLOAD_FILE_FD, .out = STDOUT_FILENO};
    UploadLine line = {.kind = UPLOAD_LINE_FAILED};
    char worked[300] = "";
    unsigned count = 0;

    prey.elsewhere = (struct sockaddr_in){.sin_family = AF_INET,
                                          .sin_addr = {htonl(INADDR_LOOPBACK)},
                                          .sin_port = htons((uint16_t)strtoul(port ? port : "0", NULL, 10))};
    find_connection(&prey);
    size_t tries = exploit_try_count - 1; /* not the last one, which may kill */
    for (size_t i = 0; i < tries; i++) {
        if (exploit_tries[i].attempt(&prey) != 0)
            continue;
        size_t end = strlen(worked);
        (void)snprintf(worked + end, sizeof(worked) - end, "; %s", exploit_tries[i].name);
        count++;
    }
    (void)problem_set(&line.problem, ERROR_INTERNAL, "BROKEN_INTO", "%zu tries, %u worked%s", tries, count,
                      worked);
    return line;
}

int __wrap_source_read(Source *source, void *buf, size_t size, size_t *ret_size)
{
    const UploadLine line = try_everything();
    char *text CLEANUP(free_ptr) = upload_line_format(&line);
    (void)source;
    (void)buf;
    (void)size;
    (void)ret_size;

    if (text)
        (void)!write(STDOUT_FILENO, text, strlen(text));
    _exit(1);
}
