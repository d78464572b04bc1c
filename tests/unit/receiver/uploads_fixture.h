/* A table of uploads over the store, a clock and connections that are the test's. */
#pragma once

#include "receiver_fixture.h"

static int64_t now_ms;
static unsigned cuts;
static void *last_cut;

static inline int64_t test_now(void)
{
    return now_ms;
}

static inline void test_cut(void *connection)
{
    cuts++;
    last_cut = connection;
}

static inline Uploads *make_uploads(Fixture *fixture, unsigned open_max, unsigned per_client_max)
{
    const UploadsConfig config = {
        .open_max = open_max, .per_client_max = per_client_max, .now_ms = test_now, .cut = test_cut};
    Uploads *uploads = NULL;

    cuts = 0;
    last_cut = NULL;
    assert_int_equal(uploads_new(&config, fixture->spool, fixture->archive, &uploads), 0);
    return uploads;
}

static inline int try_begin(Uploads *uploads, const char *client, const char *id, void *connection,
                            Transfer **ret_transfer)
{
    const TransferStart start = {.client = client, .id = id, .path = "/srv/file", .connection = connection};

    return transfer_begin(uploads, &start, ret_transfer);
}

static inline Transfer *begin(Uploads *uploads, const char *client, const char *id, void *connection)
{
    Transfer *transfer = NULL;

    assert_int_equal(try_begin(uploads, client, id, connection, &transfer), 0);
    return transfer;
}

static inline int finish(Transfer *transfer)
{
    const TransferClaims none = {.marked = true};
    Stored *stored = calloc(1, sizeof(*stored));
    int r = transfer_finish(transfer, &none, stored);

    free(stored);
    return r;
}

static inline int put(Uploads *uploads, const char *client, const char *id, const char *text)
{
    Transfer *transfer = begin(uploads, client, id, NULL);

    assert_int_equal(transfer_write(transfer, text, strlen(text)), 0);
    int r = finish(transfer);
    (void)transfer_end(transfer);
    return r;
}

static inline int try_resume(Uploads *uploads, const char *id, uint64_t offset, uint64_t attempt,
                             Transfer **ret_transfer, uint64_t *ret_offset)
{
    const TransferStart start = {.client = "r1", .id = id, .path = "ignored", .attempt = attempt};

    return transfer_resume(uploads, &start, offset, ret_transfer, ret_offset);
}

static inline Transfer *resume(Uploads *uploads, const char *id, uint64_t offset)
{
    Transfer *transfer = NULL;

    assert_int_equal(try_resume(uploads, id, offset, 0, &transfer, NULL), 0);
    return transfer;
}

static inline int finish_marked(Transfer *transfer, bool marked)
{
    const TransferClaims claims = {.marked = marked};
    Stored *stored = calloc(1, sizeof(*stored));
    int r = transfer_finish(transfer, &claims, stored);

    free(stored);
    return r;
}

/* An upload that was broken off with text in its part. */
static inline void leave(Uploads *uploads, const char *id, uint64_t length, uint64_t attempt,
                         const char *text)
{
    const TransferStart start = {.client = "r1",
                                 .id = id,
                                 .path = "/srv/file",
                                 .has_length = length > 0,
                                 .length = length,
                                 .attempt = attempt};
    Transfer *transfer = NULL;

    assert_int_equal(transfer_begin(uploads, &start, &transfer), 0);
    assert_int_equal(transfer_write(transfer, text, strlen(text)), 0);
    (void)transfer_end(transfer);
}

static inline Uploads *restart(Fixture *fixture, Uploads *uploads)
{
    (void)uploads_free(uploads);
    fixture_restart(fixture);
    return make_uploads(fixture, 10, 10);
}
