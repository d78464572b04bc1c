/* Ends of the worker for which it needs no receiver. */
#include "agent/upload.h"
#include "protocol/digest.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

int __wrap_digest_new(Digest **ret_digest);

int __wrap_digest_new(Digest **ret_digest)
{
    (void)ret_digest;
    return -ENOMEM;
}

/* In a process of its own, which the worker's cage keeps. */
static UploadLine run(const UploadJob *job)
{
    char text[UPLOAD_LINE_MAX];
    int pipe_fds[2], status = 0;
    UploadLine line = {0};
    FILE *file = tmpfile();

    assert_non_null(file);
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t child = fork();
    if (child == 0)
        _exit(upload_run(job, fileno(file), pipe_fds[1]));
    close(pipe_fds[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
    ssize_t size = read(pipe_fds[0], text, sizeof(text));
    assert_true(size > 1);
    assert_int_equal(upload_line_parse(text, (size_t)size - 1, &line), 0);
    close(pipe_fds[0]);
    (void)fclose(file);
    return line;
}

static void want_of_memory_for_the_digest_is_tried_again(void **state)
{
    const UploadJob job = {
        .url = (char[]){"https://127.0.0.1:1"}, .id = (char[]){"t1"}, .path = (char[]){"f"}};
    (void)state;

    UploadLine line = run(&job);
    assert_int_equal(line.kind, UPLOAD_LINE_FAILED);
    assert_string_equal(line.problem.reason, "OUT_OF_MEMORY");
    assert_true(line.retry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(want_of_memory_for_the_digest_is_tried_again)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
