#include "common/config.h"

#include <cjson/cJSON.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

typedef struct Settings {
    char *name, *file, *folder;
    uint64_t size, time, number;
    bool flag;
    ConfigList list, pairs;
} Settings;

#define MEMBER(member) .offset = offsetof(Settings, member)
static const ConfigKey keys[] = {
    {"main", "name", CONFIG_STRING, MEMBER(name), .required = true},
    {"main", "file", CONFIG_FILE, MEMBER(file)},
    {"main", "folder", CONFIG_FOLDER, MEMBER(folder)},
    {"main", "size", CONFIG_SIZE, MEMBER(size), .fallback = "64K"},
    {"main", "time", CONFIG_DURATION, MEMBER(time), .fallback = "5m", .min = 1000, .max = 3600000},
    {"main", "number", CONFIG_NUMBER, MEMBER(number)},
    {"main", "flag", CONFIG_BOOL, MEMBER(flag)},
    {"main", "list", CONFIG_LIST, MEMBER(list)},
    {"labels", NULL, CONFIG_PAIRS, MEMBER(pairs)},
};

/* Loads text as a file; what goes to the log comes back in log, with the file's name cut off. */
static int load(const char *text, Settings *settings, char *log, size_t log_size)
{
    char path[] = "/tmp/beckon-test-XXXXXX";
    int file = mkstemp(path), pipes[2];

    assert_true(file >= 0);
    assert_int_equal(write(file, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(pipe(pipes), 0);
    int saved = dup(STDERR_FILENO);
    assert_true(dup2(pipes[1], STDERR_FILENO) >= 0);
    memset(settings, 0, sizeof(*settings));
    int mistakes = config_load(path, keys, ARRAY_SIZE(keys), settings);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    close(pipes[1]);
    ssize_t got = read(pipes[0], log, log_size - 1);
    log[got > 0 ? got : 0] = '\0';
    close(pipes[0]);
    close(file);
    unlink(path);
    return mistakes;
}

static void good_file_fills_every_type(void **state)
{
    Settings settings;
    char log[4096];
    (void)state;

    assert_int_equal(
        load("[main]\nname = a b ; comment\nfile=/etc/passwd\nfolder = /x\nsize=2M\nnumber = 9\nflag = yes\n"
             "list = /one\n  /two words\nlist=/three\n[labels]\nsite = 7\nname=x\n",
             &settings, log, sizeof(log)),
        0);
    assert_string_equal(log, "");
    assert_string_equal(settings.name, "a b");
    assert_string_equal(settings.file, "/etc/passwd");
    assert_true(settings.size == 2 << 20 && settings.time == 300000 && settings.number == 9 && settings.flag);
    assert_int_equal(settings.list.count, 3);
    assert_string_equal(settings.list.items[1], "/two words");
    assert_int_equal(settings.pairs.count, 2);
    assert_string_equal(settings.pairs.items[0], "site=7");
    config_free(keys, ARRAY_SIZE(keys), &settings);
    assert_null(settings.name);
}

static void every_mistake_is_named_with_its_line(void **state)
{
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"[main]\nname=x\nsiez = 1\n", ":3: unknown key 'siez' in [main]"},
        {"[main]\nname=x\n[mian]\nsize = 1\n", ":4: unknown key 'size' in [mian]"},
        {"[main]\nname=x\nsize = 12Q\n", ":3: [main] size: '12Q' is not a size"},
        {"[main]\nname=x\ntime = soon\n", ":3: [main] time: 'soon' is not a time"},
        {"[main]\nname=x\ntime = 2h\n", ":3: [main] time: '2h' is not a value within its limits"},
        {"[main]\nname=x\nnumber = -1\n", ":3: [main] number: '-1' is not a whole number"},
        {"[main]\nname=x\nflag = maybe\n", ":3: [main] flag: 'maybe' is not true or false"},
        {"[main]\nname=x\nfile = /no/such\n", ":3: [main] file: can't read /no/such: No such file"},
        {"[main]\nname=x\nfolder = here\n", ":3: [main] folder: 'here' is not an absolute path"},
        {"[main]\nname=x\n\nname=y\n", ":4: [main] name is set a second time"},
        {"[main]\nname=x\nrubbish\n", ":3: neither"},
        {"; c\n[main]\nsize = 1\n", ":2: [main] name is missing"},
    };
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        Settings settings;
        char log[4096];
        assert_int_equal(load(cases[i].text, &settings, log, sizeof(log)), 1);
        if (!strstr(log, cases[i].expected))
            fail_msg("expected '%s' in '%s'", cases[i].expected, log);
        config_free(keys, ARRAY_SIZE(keys), &settings);
    }
}

static void long_line_is_refused_not_cut(void **state)
{
    Settings settings;
    char log[4096], text[512] = "[main]\nname = ";
    (void)state;

    memset(text + strlen(text), 'x', 300);
    strcat(text, "\nnumber = 3\n");
    assert_int_equal(load(text, &settings, log, sizeof(log)), 2); /* too long, and so name is missing */
    assert_non_null(strstr(log, ":2: the line has more than 198 bytes"));
    assert_int_equal(settings.number, 3);
    config_free(keys, ARRAY_SIZE(keys), &settings);
}

static void environment_overrides_the_file(void **state)
{
    Settings settings;
    char log[4096];
    (void)state;

    assert_int_equal(setenv("BECKON_MAIN_SIZE", "1K", 1), 0);
    assert_int_equal(setenv("BECKON_MAIN_LIST", "/a:/b", 1), 0);
    assert_int_equal(load("[main]\nname=x\nsize=5\nlist=/c\n", &settings, log, sizeof(log)), 0);
    assert_int_equal(settings.size, 1024);
    assert_int_equal(settings.list.count, 2);
    assert_string_equal(settings.list.items[1], "/b");
    config_free(keys, ARRAY_SIZE(keys), &settings);
    assert_int_equal(setenv("BECKON_MAIN_SIZE", "many", 1), 0);
    assert_int_equal(load("[main]\nname=x\n", &settings, log, sizeof(log)), 1);
    assert_non_null(strstr(log, "BECKON_MAIN_SIZE: 'many' is not a size"));
    config_free(keys, ARRAY_SIZE(keys), &settings);
    (void)unsetenv("BECKON_MAIN_SIZE");
    (void)unsetenv("BECKON_MAIN_LIST");
}

static void what_counts_is_shown_with_defaults_and_environment(void **state)
{
    Settings settings;
    char log[4096], *text = NULL;
    size_t size = 0;
    (void)state;

    setenv("BECKON_MAIN_NUMBER", "12", 1);
    assert_int_equal(load("[main]\nname=a \"b\"\nnumber=7\nlist=/one\n  /two\n[labels]\nsite = 7=8\n",
                          &settings, log, sizeof(log)),
                     0);
    unsetenv("BECKON_MAIN_NUMBER");
    FILE *stream = open_memstream(&text, &size);
    assert_int_equal(config_show(keys, ARRAY_SIZE(keys), &settings, stream), 0);
    (void)fclose(stream);
    cJSON *shown = cJSON_Parse(text);
    char *plain = cJSON_PrintUnformatted(shown);
    assert_string_equal(plain,
                        "{\"main\":{\"name\":\"a \\\"b\\\"\",\"file\":null,\"folder\":null,\"size\":65536,"
                        "\"time\":\"300000ms\",\"number\":12,\"flag\":false,\"list\":[\"/one\",\"/two\"]},"
                        "\"labels\":{\"site\":\"7=8\"}}");
    cJSON_Delete(shown);
    free(plain);
    free(text);
    config_free(keys, ARRAY_SIZE(keys), &settings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_file_fills_every_type),
        cmocka_unit_test(every_mistake_is_named_with_its_line),
        cmocka_unit_test(long_line_is_refused_not_cut),
        cmocka_unit_test(environment_overrides_the_file),
        cmocka_unit_test(what_counts_is_shown_with_defaults_and_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
