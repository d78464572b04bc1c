#include "agent/http_apart.h"

#include "common/files.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static _Noreturn void serve(const HttpPut *put, pid_t parent, int fd)
{
    HttpAnswer *answer = calloc(1, sizeof(*answer));

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || !answer || http_put(put, answer) < 0 ||
        write_all(fd, answer, sizeof(*answer)) < 0)
        _exit(1);
    _exit(0);
}

/* Only the whole answer and its end. */
static int read_answer(int fd, HttpAnswer *answer)
{
    size_t size = 0;

    while (size < sizeof(*answer)) {
        ssize_t got = read(fd, (char *)answer + size, sizeof(*answer) - size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -EIO;
        size += (size_t)got;
    }
    return 0;
}

/* The child has talked to strangers: its texts end where they must. */
static void bound(HttpAnswer *answer)
{
    answer->error[sizeof(answer->error) - 1] = '\0';
    answer->repr_digest[sizeof(answer->repr_digest) - 1] = '\0';
    answer->upload_offset[sizeof(answer->upload_offset) - 1] = '\0';
    answer->upload_length[sizeof(answer->upload_length) - 1] = '\0';
    answer->upload_complete[sizeof(answer->upload_complete) - 1] = '\0';
    if (answer->body_size > HTTP_ANSWER_MAX)
        answer->body_size = HTTP_ANSWER_MAX;
    answer->body[answer->body_size] = '\0';
}

int http_put_apart(const HttpPut *put, HttpAnswer *ret_answer)
{
    int fds[2] = {-1, -1};
    pid_t parent = getpid();

    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    pid_t child = fork();
    if (child == 0)
        serve(put, parent, fds[1]);
    int r = child < 0 ? -errno : 0;
    close_fd(&fds[1]);
    if (r == 0)
        r = read_answer(fds[0], ret_answer);
    close_fd(&fds[0]);
    if (child > 0) {
        (void)waitpid(child, NULL, 0); /* it has said all, or is dead */
        bound(ret_answer);
    }
    return r;
}
