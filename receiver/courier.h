/* Publishes the receipts and removals of the outbox, and takes one out of it only when the broker has
 * acknowledged it.
 *
 * At most COURIER_WINDOW are under way at a time; the rest waits on the disk, however long the broker is
 * away. Main thread only. */
#pragma once

#include "common/cleanup.h"
#include "receiver/archive.h"
#include "receiver/outbox.h"

#include <stddef.h>
#include <stdint.h>

#define COURIER_WINDOW 128

typedef struct Courier Courier;

/* publish: as mqtt_link_publish(), not retained. outbox, archive (which knows what was removed) and link are
 * borrowed. */
typedef int (*CourierPublish)(void *link, const char *topic, const void *payload, size_t size, uint64_t tag);
int courier_new(Outbox *outbox, Archive *archive, CourierPublish publish, void *link,
                Courier **ret_courier) MUST_CHECK;
Courier *courier_free(Courier *courier); /* returns NULL */

/* What happened: the broker came or went; a message arrived there; there may be something new in the outbox;
 * a while has passed, after which entries that could not be read or not removed are tried again. */
void courier_connected(Courier *courier);
void courier_disconnected(Courier *courier);
void courier_published(Courier *courier, uint64_t tag);
void courier_pump(Courier *courier);
void courier_retry(Courier *courier);
