/* Where completed uploads lie. This is the interface; store_files.c keeps them as local files:
 *
 *   <store>/<client>/<id>/<safe name>    the content
 *   <store>/<client>/<id>.json           what is known about it, the signed receipt included
 *
 * An upload is in the store if and only if both are there and the content has the size that the metadata
 * says; or the metadata says that the content was removed. Whether it is complete is a question for
 * archive.h, which knows of commits that have not ended. Any thread; two threads never put the same upload.
 * The functions block on the disk. */
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
    int64_t removed_unix_s;             /* when the content was; 0: it is there */
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

/* Removes metadata without content, durably: what a broken-off store_put() left, or the record of one that
 * was removed. 0 or a negative errno; what is left over is no harm. */
int store_forget(Store *store, const char *client, const char *id);

/* Removes the content; the metadata stay and say so, so that the id is not taken for a new one before
 * store_forget(). Again after it was broken off: finishes it. stored->removed_unix_s is set. Not two threads
 * at a time. 0 or a negative errno. */
int store_remove(Store *store, Stored *stored, int64_t now_unix_s) MUST_CHECK;

/* Calls each for every client that has a folder, or for every upload of a client; ends at the first that does
 * not return 0, and returns that. Metadata that are damaged are left out. 0 or a negative errno. */
int store_each_client(Store *store, int (*each)(void *userdata, const char *client),
                      void *userdata) MUST_CHECK;
int store_each(Store *store, const char *client, int (*each)(void *userdata, Stored *stored),
               void *userdata) MUST_CHECK;

/* Opens the content for reading. 0 or a negative errno. */
int store_open(Store *store, const Stored *stored, int *ret_fd) MUST_CHECK;

/* Whether new files can be taken in at all. */
bool store_is_writable(Store *store);

/* Of the file system. 0 or a negative errno. */
int store_free_bytes(Store *store, uint64_t *ret_bytes) MUST_CHECK;

/* Where the content lies below the store: "client/id/name". The caller frees; NULL when out of memory. */
char *store_place(const Stored *stored);
