/* beckon-upload: the agent's worker. Not for use by hand. */
#include "agent/upload.h"

#include "common/program.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* libmosquitto's sockets in the agent are not CLOEXEC. This process is to have its job, its reports and its
 * file. */
static void close_others(void)
{
    if (syscall(SYS_close_range, UPLOAD_FILE_FD + 1, ~0U, 0) == 0)
        return;
    for (int fd = UPLOAD_FILE_FD + 1; fd < 1024; fd++) /* Linux before 5.9 */
        (void)close(fd);
}

static int read_job(UploadJob *ret_job)
{
    static char text[UPLOAD_JOB_MAX];
    size_t size = 0;

    while (size < sizeof(text)) {
        ssize_t got = read(STDIN_FILENO, text + size, sizeof(text) - size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        size += (size_t)got;
    }
    int r = upload_job_parse(text, size, ret_job);
    explicit_bzero(text, size);
    return r;
}

int main(int argc, char **argv)
{
    UploadJob job = {0};

    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("beckon-upload %s\n", BECKON_VERSION);
        return 0;
    }
    if (argc > 1) {
        printf("beckon-upload: started by beckon-agent for each upload, with a job on standard input and the "
               "open file as\n"
               "descriptor %d; see beckon-upload(8). Not for use by hand.\n",
               UPLOAD_FILE_FD);
        return strcmp(argv[1], "--help") == 0 ? 0 : 2;
    }
    /* Without the agent there is nobody to report to. If it died before this call, the first report ends us.
     */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    close_others();
    program_keep_secrets();
    if (read_job(&job) < 0) {
        fprintf(stderr, "beckon-upload: no valid job on standard input; see beckon-upload(8)\n");
        return 2;
    }
    int result = upload_run(&job, UPLOAD_FILE_FD, STDOUT_FILENO);
    upload_job_free(&job);
    return result;
}
