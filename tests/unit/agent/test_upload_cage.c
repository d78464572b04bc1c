/* The worker's cage, from inside: an exploit stand-in, which runs in a process that has entered the very cage
 * of beckon-upload, tries everything in exploit.c, once before the connection is made and once after. */
#include "agent/upload_cage.h"
#include "common/cage.h"
#include "common/landlock.h"
#include "exploit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

typedef enum Stage { OUTSIDE, ENTERED, CLOSED } Stage;
static const char *const stage_names[] = {"without a cage", "before the connection", "connected"};

#define NOT_SAID (-1) /* the process became another, or ended, before it could say */
#define KILLED (-2)

typedef struct Scene {
    char folder[64], key[80], url[64];
    int listeners[2]; /* the receiver, elsewhere */
    int pipe[2];
    Prey prey;
    int *said; /* shared with the children */
} Scene;

static int listen_on(struct sockaddr_in *ret_address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t size = sizeof(*ret_address);

    *ret_address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    assert_int_equal(bind(fd, (struct sockaddr *)ret_address, size), 0);
    assert_int_equal(listen(fd, 1024), 0); /* nobody accepts */
    assert_int_equal(getsockname(fd, (struct sockaddr *)ret_address, &size), 0);
    return fd;
}

static void make_file(const Scene *scene, const char *name)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/%s", scene->folder, name);
    int fd CLEANUP(close_fd) = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_int_equal(write(fd, "secret", 6), 6);
}

static int open_scene(void **state)
{
    static Scene scene;
    char path[128];

    (void)snprintf(scene.folder, sizeof(scene.folder), "/tmp/beckon-unit-XXXXXX");
    assert_non_null(mkdtemp(scene.folder));
    make_file(&scene, "key");
    make_file(&scene, "secret");
    make_file(&scene, "sent");
    scene.listeners[0] = listen_on(&scene.prey.receiver);
    scene.listeners[1] = listen_on(&scene.prey.elsewhere);
    (void)snprintf(scene.url, sizeof(scene.url), "https://127.0.0.1:%u", ntohs(scene.prey.receiver.sin_port));
    (void)snprintf(scene.key, sizeof(scene.key), "%s/key", scene.folder);
    (void)snprintf(path, sizeof(path), "%s/sent", scene.folder);
    assert_int_equal(pipe2(scene.pipe, O_CLOEXEC), 0);
    scene.prey.file = open(path, O_RDONLY | O_CLOEXEC);
    scene.prey.out = scene.pipe[1];
    scene.prey.folder = scene.folder;
    scene.said = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(scene.said, MAP_FAILED);
    /* The child must be allowed to look at us, as far as anything outside the cage decides that. */
    (void)prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
    *state = &scene;
    return 0;
}

static int close_scene(void **state)
{
    Scene *scene = *state;
    const char *const names[] = {"key", "secret", "sent", "created", "link"};
    char path[128];

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", scene->folder, names[i]);
        (void)unlink(path);
    }
    (void)snprintf(path, sizeof(path), "%s/made", scene->folder);
    (void)rmdir(path);
    (void)munmap(scene->said, 4096);
    for (int i = 0; i < 2; i++) {
        (void)close(scene->listeners[i]);
        (void)close(scene->pipe[i]);
    }
    (void)close(scene->prey.file);
    return rmdir(scene->folder);
}

/* As upload_run() and its transfer do it. */
static int go_in(Scene *scene, Stage stage)
{
    const UploadJob job = {
        .url = scene->url, .ca_file = scene->key, .cert_file = scene->key, .key_file = scene->key};

    if (stage >= ENTERED && upload_cage_enter(&job) < 0)
        return -1;
    scene->prey.connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(scene->prey.connection, (const struct sockaddr *)&scene->prey.receiver,
                sizeof(scene->prey.receiver)) < 0)
        return -1;
    return stage >= CLOSED ? upload_cage_close() : 0;
}

/* An errno, 0 if it worked, NOT_SAID or KILLED. */
static int try_it(Scene *scene, Stage stage, int (*attempt)(const Prey *prey))
{
    int status = 0;

    *scene->said = NOT_SAID;
    pid_t pid = fork();
    if (pid == 0) {
        if (go_in(scene, stage) < 0)
            _exit(99);
        *scene->said = attempt(&scene->prey);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status))
        return KILLED;
    assert_int_not_equal(WEXITSTATUS(status), 99); /* it did not get into its cage */
    return *scene->said;
}

static bool has_worked(int result)
{
    return result == 0 || result == NOT_SAID; /* exec says nothing */
}

static const char *in_words(int result)
{
    return has_worked(result) ? "works" : result == KILLED ? "killed" : strerrorname_np(result);
}

static void skip_without_cage(void)
{
    if (!cage_lack())
        return;
    print_message("skipped: %s\n", cage_lack());
    skip();
}

static bool is_early(const Try *try)
{
    return try->early_abi && landlock_abi() >= try->early_abi;
}

static void every_try_works_without_a_cage_and_fails_inside(void **state)
{
    Scene *scene = *state;
    unsigned escapes = 0, duds = 0;

    skip_without_cage();
    print_message("%-32s %-16s %-22s %s\n", "", stage_names[0], stage_names[1], stage_names[2]);
    for (size_t i = 0; i < exploit_try_count; i++) {
        const Try *try = &exploit_tries[i];
        int results[3];
        for (Stage stage = OUTSIDE; stage <= CLOSED; stage++) {
            make_file(scene, "victim");
            results[stage] = try_it(scene, stage, try->attempt);
            char path[128];
            (void)snprintf(path, sizeof(path), "%s/victim", scene->folder);
            (void)unlink(path);
        }
        bool dud = !has_worked(results[OUTSIDE]) && !try->special;
        bool escape = has_worked(results[CLOSED]) || (is_early(try) && has_worked(results[ENTERED]));
        print_message("%-32s %-16s %-22s %s%s\n", try->name, in_words(results[OUTSIDE]),
                      in_words(results[ENTERED]), in_words(results[CLOSED]),
                      escape ? "   ESCAPED"
                      : dud  ? "   PROVES NOTHING"
                             : "");
        escapes += escape;
        duds += dud;
    }
    print_message("%zu tries: %u escaped, %u prove nothing\n", exploit_try_count, escapes, duds);
    assert_int_equal(escapes, 0);
    assert_int_equal(duds, 0);
}

/* 0 if all of the worker's own work goes on, otherwise the line that did not. */
static int do_the_work(const Prey *prey)
{
    struct stat info;
    char text[8];

    if (fstat(prey->file, &info) < 0 || pread(prey->file, text, 6, 0) != 6)
        return __LINE__;
    if (send(prey->connection, text, 6, MSG_NOSIGNAL) != 6)
        return __LINE__;
    if (recv(prey->connection, text, sizeof(text), MSG_DONTWAIT) >= 0 || errno != EAGAIN)
        return __LINE__;
    if (write(prey->out, "{}\n", 3) != 3)
        return __LINE__;
    char *memory = malloc(8 << 20);
    if (!memory)
        return __LINE__;
    memset(memory, 1, 8 << 20);
    free(memory);
    return fstat(STDERR_FILENO, &info) == 0 && S_ISCHR(info.st_mode) ? 0 : __LINE__;
}

static void the_work_goes_on_and_the_agents_log_is_out_of_reach(void **state)
{
    skip_without_cage();
    assert_int_equal(try_it(*state, CLOSED, do_the_work), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_try_works_without_a_cage_and_fails_inside),
        cmocka_unit_test(the_work_goes_on_and_the_agents_log_is_out_of_reach),
    };

    return cmocka_run_group_tests(tests, open_scene, close_scene);
}
