/* Where completed uploads lie. This is the interface; store_files.c keeps them as local files:
 *
 *   <store>/<client>/<id>/<safe name>    the content
 *   <store>/<client>/<id>.json           what is known about it, the signed receipt included
 *
 * An upload is in the store if and only if both are there and the content has the size that the metadata
 * says. Whether it is complete is a question for archive.h, which knows of commits that have not ended. Any
 * thread; two threads never put the same upload. The functions block on the disk. */
#pragma once

#include "common/cleanup.h"
#include "protocol/token.h"
#include "receiver/safe_name.h"
#include "receiver/spool.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct Store Store;

/* One upload in the store. Large: keep it on the heap. */
typedef struct Stored {
    Receipt receipt;
    char name[SAFE_NAME_SIZE];
    char token[TICKET_MAX];             /* the receipt, signed */
    char traceparent[TRACEPARENT_SIZE]; /* of the request that began it; "": it had none */
} Stored;

enum { STORE_E_ABSENT = 1 };

int store_new(int root_fd, Store **ret_store) MUST_CHECK;
Store *store_free(Store *store); /* returns NULL */

/* 0 and *ret_stored filled, STORE_E_ABSENT, or a negative errno (-EBADMSG: the metadata is damaged). */
int store_find(Store *store, const char *client, const char *id, Stored *ret_stored) MUST_CHECK;

/* Takes the synced part in, durably, in this order: client folder and id folder; metadata, synced; the part
 * renamed to its name, never over another file; the folder synced. On failure what was done is undone: the
 * upload is not in the store, and the part is either untouched or set aside. 0, or a negative errno: -EEXIST
 * if a file is in the way that is not known here, -EUCLEAN if undoing failed too. part is not freed. */
int store_put(Store *store, const Stored *stored, Part *part) MUST_CHECK;

/* Syncs the content and the folders of one that is in the store, as store_put() would have. 0 or a negative
 * errno. */
int store_sync(Store *store, const Stored *stored) MUST_CHECK;

/* Removes metadata that a broken-off store_put() left without content. */
void store_forget(Store *store, const char *client, const char *id);

/* Opens the content for reading. 0 or a negative errno. */
int store_open(Store *store, const Stored *stored, int *ret_fd) MUST_CHECK;

/* Whether new files can be taken in at all. */
bool store_is_writable(Store *store);

/* Of the file system. 0 or a negative errno. */
int store_free_bytes(Store *store, uint64_t *ret_bytes) MUST_CHECK;

/* Where the content lies below the store: "client/id/name". The caller frees; NULL when out of memory. */
char *store_place(const Stored *stored);
