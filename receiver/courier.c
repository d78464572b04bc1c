#include "receiver/courier.h"

#include "common/log.h"
#include "protocol/message.h"
#include "protocol/topic.h"

#include <errno.h>
#include <string.h>

#define GROUNDED UINT64_MAX /* can't be sent, or not be taken out: left alone until courier_retry() */

typedef struct Flight {
    uint64_t tag; /* 0: free; or GROUNDED */
    OutboxKind kind;
    OutboxKey key;
} Flight;

struct Courier {
    Outbox *outbox;
    Archive *archive;
    CourierPublish publish;
    void *link;
    bool connected;
    uint64_t last_tag;
    size_t flying;
    Flight flights[COURIER_WINDOW];
};

int courier_new(Outbox *outbox, Archive *archive, CourierPublish publish, void *link, Courier **ret_courier)
{
    Courier *courier = calloc(1, sizeof(*courier));

    if (!courier)
        return -ENOMEM;
    courier->outbox = outbox;
    courier->archive = archive;
    courier->publish = publish;
    courier->link = link;
    *ret_courier = courier;
    return 0;
}

Courier *courier_free(Courier *courier)
{
    free(courier);
    return NULL;
}

static bool is_flying(const Courier *courier, OutboxKind kind, const OutboxKey *key)
{
    for (size_t i = 0; courier->flying > 0 && i < COURIER_WINDOW; i++)
        if (courier->flights[i].tag && courier->flights[i].kind == kind &&
            strcmp(courier->flights[i].key.id, key->id) == 0 &&
            strcmp(courier->flights[i].key.client, key->client) == 0)
            return true;
    return false;
}

static bool receipt_is_flying(const OutboxKey *key, void *courier)
{
    return is_flying(courier, OUTBOX_RECEIPT, key);
}

static bool removal_is_flying(const OutboxKey *key, void *courier)
{
    return is_flying(courier, OUTBOX_REMOVED, key);
}

static void take_off(Courier *courier, uint64_t tag, OutboxKind kind, const OutboxKey *key)
{
    for (size_t i = 0; i < COURIER_WINDOW; i++) {
        if (courier->flights[i].tag == 0) {
            courier->flights[i] = (Flight){.tag = tag, .kind = kind, .key = *key};
            courier->flying++;
            return;
        }
    }
}

/* The message for an entry. 0, ARCHIVE_E_ABSENT when there is nothing to tell, or a negative errno. */
static int read_message(Courier *courier, OutboxKind kind, const OutboxKey *key, char **ret_message)
{
    size_t size = 0;

    return kind == OUTBOX_RECEIPT ? outbox_read(courier->outbox, key, ret_message, &size)
                                  : archive_removal_message(courier->archive, key, ret_message);
}

static int publish(Courier *courier, OutboxKind kind, const OutboxKey *key, const char *message)
{
    char topic[TOPIC_SIZE], traceparent[TRACEPARENT_SIZE];

    topic_format(kind == OUTBOX_RECEIPT ? TOPIC_RECEIPT : TOPIC_REMOVED, key->client, key->id, topic);
    message_traceparent(message, strlen(message), traceparent);
    TRACED(traceparent);
    int r = courier->publish(courier->link, topic, message, strlen(message), courier->last_tag + 1);
    if (r == 0)
        take_off(courier, ++courier->last_tag, kind, key);
    return r;
}

/* 0, or a negative errno after which it makes no sense to go on now. */
static int send_one(Courier *courier, OutboxKind kind, const OutboxKey *key)
{
    char *message CLEANUP(free_ptr) = NULL;
    int r = read_message(courier, kind, key, &message);

    if (r == 0)
        return publish(courier, kind, key, message);
    if (r == -EAGAIN)
        return r;
    if (r < 0) {
        log_at(LOG_LEVEL_ERROR, key->client, key->id, "the %s can't be sent: %s",
               kind == OUTBOX_RECEIPT ? "receipt" : "removal", strerror(-r));
        take_off(courier, GROUNDED, kind, key);
    }
    return 0;
}

/* Receipts first: a removal waits until its receipt is out. */
static int list_waiting(Courier *courier, OutboxKey *keys, size_t max, OutboxKind *ret_kind)
{
    int count = outbox_list(courier->outbox, OUTBOX_RECEIPT, receipt_is_flying, courier, keys, max);

    *ret_kind = OUTBOX_RECEIPT;
    if (count != 0)
        return count;
    *ret_kind = OUTBOX_REMOVED;
    return outbox_list(courier->outbox, OUTBOX_REMOVED, removal_is_flying, courier, keys, max);
}

void courier_pump(Courier *courier)
{
    OutboxKey keys[32];
    OutboxKind kind;
    int count, r = 0;

    do {
        size_t room = COURIER_WINDOW - courier->flying;
        if (!courier->connected || room == 0)
            return;
        room = room < ARRAY_SIZE(keys) ? room : ARRAY_SIZE(keys);
        count = list_waiting(courier, keys, room, &kind);
        for (int i = 0; r == 0 && i < count; i++)
            r = send_one(courier, kind, &keys[i]);
    } while (r == 0 && count > 0); /* after a failure the next pump tries again */
}

void courier_retry(Courier *courier)
{
    for (size_t i = 0; i < COURIER_WINDOW; i++) {
        if (courier->flights[i].tag == GROUNDED) {
            courier->flights[i].tag = 0;
            courier->flying--;
        }
    }
    courier_pump(courier);
}

void courier_connected(Courier *courier)
{
    courier->connected = true;
    courier_pump(courier);
}

void courier_disconnected(Courier *courier)
{
    courier->connected = false;
    courier->flying = 0;
    memset(courier->flights, 0, sizeof(courier->flights)); /* whatever was under way is published again */
}

/* What can't be taken out of the outbox stays grounded, or it would be published over and over. */
static void land(Courier *courier, Flight *flight)
{
    if (outbox_delivered(courier->outbox, flight->kind, &flight->key) < 0) {
        flight->tag = GROUNDED;
        return;
    }
    flight->tag = 0;
    courier->flying--;
}

void courier_published(Courier *courier, uint64_t tag)
{
    for (size_t i = 0; tag != 0 && i < COURIER_WINDOW; i++) {
        if (courier->flights[i].tag != tag)
            continue;
        land(courier, &courier->flights[i]);
        break;
    }
    if (courier->flying < COURIER_WINDOW / 2)
        courier_pump(courier);
}
