/* A store in a temporary folder, and everything between it and the network. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/files.h"
#include "protocol/token.h"
#include "receiver/archive.h"
#include "receiver/uploads.h"
#include "tests/unit/temp_folder.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct Fixture {
    char path[64];
    int root_fd;
    SigningKey *key;
    Spool *spool;
    Store *store;
    Outbox *outbox;
    Archive *archive;
} Fixture;

/* The keys of RFC 8410 section 10.3. */
#define TEST_KEY                                                                                             \
    "-----BEGIN PRIVATE KEY-----\n"                                                                          \
    "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n"                                     \
    "-----END PRIVATE KEY-----\n"
#define TEST_PUBLIC_KEY                                                                                      \
    "-----BEGIN PUBLIC KEY-----\n"                                                                           \
    "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"                                         \
    "-----END PUBLIC KEY-----\n"

static inline void fixture_open(Fixture *fixture)
{
    assert_int_equal(spool_new(fixture->root_fd, 0, &fixture->spool), 0);
    assert_int_equal(store_new(fixture->root_fd, &fixture->store), 0);
    assert_int_equal(outbox_new(fixture->root_fd, &fixture->outbox), 0);
    assert_int_equal(archive_new(fixture->store, fixture->outbox, fixture->key, "test", &fixture->archive),
                     0);
}

static inline void fixture_close(Fixture *fixture)
{
    fixture->archive = archive_free(fixture->archive);
    fixture->outbox = outbox_free(fixture->outbox);
    fixture->store = store_free(fixture->store);
    fixture->spool = spool_free(fixture->spool);
}

/* As after the end of one process and the start of the next. */
static inline void fixture_restart(Fixture *fixture)
{
    fixture_close(fixture);
    fixture_open(fixture);
    assert_int_equal(archive_recover(fixture->archive), 0);
}

static inline void write_file(const Fixture *fixture, const char *name, const char *text)
{
    int fd = openat(fixture->root_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write_all(fd, text, strlen(text)), 0);
    (void)close(fd);
}

static inline int fixture_setup(void **state)
{
    Fixture *fixture = calloc(1, sizeof(*fixture));
    char key[96];

    assert_non_null(fixture);
    (void)snprintf(fixture->path, sizeof(fixture->path), "/tmp/beckon-unit-XXXXXX");
    assert_non_null(mkdtemp(fixture->path));
    fixture->root_fd = open(fixture->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fixture->root_fd >= 0);
    write_file(fixture, "key.pem", TEST_KEY);
    (void)snprintf(key, sizeof(key), "%s/key.pem", fixture->path);
    assert_int_equal(signing_key_load(key, &fixture->key), 0);
    fixture_open(fixture);
    *state = fixture;
    return 0;
}

static inline int fixture_teardown(void **state)
{
    Fixture *fixture = *state;

    fixture_close(fixture);
    (void)signing_key_free(fixture->key);
    (void)close(fixture->root_fd);
    (void)temp_folder_remove(fixture->path);
    free(fixture);
    return 0;
}

static inline bool exists(const Fixture *fixture, const char *name)
{
    struct stat info;

    return fstatat(fixture->root_fd, name, &info, AT_SYMLINK_NOFOLLOW) == 0;
}

/* The text of a file below the store; the caller frees. */
static inline char *content(const Fixture *fixture, const char *name)
{
    char *text = NULL;
    size_t size = 0;

    assert_int_equal(file_read_at(fixture->root_fd, name, 1 << 20, &text, &size), 0);
    return text;
}

static inline Part *new_part(Fixture *fixture, const char *client, const char *id)
{
    PartRecord *record = calloc(1, sizeof(*record));
    Part *part = NULL;

    assert_non_null(record);
    (void)snprintf(record->client, sizeof(record->client), "%s", client);
    (void)snprintf(record->id, sizeof(record->id), "%s", id);
    (void)snprintf(record->path, sizeof(record->path), "/srv/file");
    assert_int_equal(spool_create(fixture->spool, record, &part), 0);
    free(record);
    return part;
}

static inline Part *part_with(Fixture *fixture, const char *client, const char *id, const char *text)
{
    Part *part = new_part(fixture, client, id);

    assert_int_equal(part_append(part, text, strlen(text)), 0);
    return part;
}

/* A complete upload with text as its content. */
static inline void commit_text(Fixture *fixture, const char *client, const char *id, const char *path,
                               const char *text)
{
    Part *part = part_with(fixture, client, id, text);
    Stored *stored = calloc(1, sizeof(*stored));
    uint8_t sha256[SHA256_SIZE];

    assert_non_null(stored);
    assert_int_equal(part_digest(part, sha256), 0);
    assert_int_equal(archive_commit(fixture->archive, part, client, id, path, sha256, stored), 0);
    (void)part_remove(part);
    free(stored);
}

static inline int find_upload(Fixture *fixture, const char *client, const char *id)
{
    Stored *stored = calloc(1, sizeof(*stored));
    int r = archive_find(fixture->archive, client, id, stored);

    free(stored);
    return r;
}

#define WITH_STORE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
