#include "receiver/courier.h"

#include "common/log.h"
#include "protocol/message.h"
#include "protocol/topic.h"

#include <errno.h>
#include <string.h>

typedef struct Flight {
    uint64_t tag; /* 0: free */
    OutboxKey key;
} Flight;

struct Courier {
    Outbox *outbox;
    CourierPublish publish;
    void *link;
    bool connected;
    uint64_t last_tag;
    size_t flying;
    Flight flights[COURIER_WINDOW];
};

int courier_new(Outbox *outbox, CourierPublish publish, void *link, Courier **ret_courier)
{
    Courier *courier = calloc(1, sizeof(*courier));

    if (!courier)
        return -ENOMEM;
    courier->outbox = outbox;
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

static bool is_flying(const OutboxKey *key, void *userdata)
{
    const Courier *courier = userdata;

    for (size_t i = 0; courier->flying > 0 && i < COURIER_WINDOW; i++)
        if (courier->flights[i].tag && strcmp(courier->flights[i].key.id, key->id) == 0 &&
            strcmp(courier->flights[i].key.client, key->client) == 0)
            return true;
    return false;
}

static void take_off(Courier *courier, uint64_t tag, const OutboxKey *key)
{
    for (size_t i = 0; i < COURIER_WINDOW; i++) {
        if (courier->flights[i].tag == 0) {
            courier->flights[i] = (Flight){.tag = tag, .key = *key};
            courier->flying++;
            return;
        }
    }
}

/* 0, or a negative errno after which it makes no sense to go on now. */
static int send_one(Courier *courier, const OutboxKey *key)
{
    char *message CLEANUP(free_ptr) = NULL;
    char topic[TOPIC_SIZE], traceparent[TRACEPARENT_SIZE];
    size_t size = 0;
    int r = outbox_read(courier->outbox, key, &message, &size);

    if (r < 0) {
        log_at(LOG_LEVEL_ERROR, key->client, key->id, "the receipt to be sent can't be read: %s",
               strerror(-r));
        return r;
    }
    topic_format(TOPIC_RECEIPT, key->client, key->id, topic);
    message_traceparent(message, size, traceparent);
    TRACED(traceparent);
    r = courier->publish(courier->link, topic, message, size, courier->last_tag + 1);
    if (r == 0)
        take_off(courier, ++courier->last_tag, key);
    return r;
}

void courier_pump(Courier *courier)
{
    OutboxKey keys[32];
    int count, r = 0;

    do {
        size_t room = COURIER_WINDOW - courier->flying;
        if (!courier->connected || room == 0)
            return;
        room = room < ARRAY_SIZE(keys) ? room : ARRAY_SIZE(keys);
        count = outbox_list(courier->outbox, OUTBOX_RECEIPT, is_flying, courier, keys, room);
        for (int i = 0; r == 0 && i < count; i++)
            r = send_one(courier, &keys[i]);
    } while (r == 0 && count > 0); /* after a failure the next pump tries again */
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

void courier_published(Courier *courier, uint64_t tag)
{
    for (size_t i = 0; tag != 0 && i < COURIER_WINDOW; i++) {
        if (courier->flights[i].tag != tag)
            continue;
        outbox_delivered(courier->outbox, &courier->flights[i].key);
        courier->flights[i].tag = 0;
        courier->flying--;
        break;
    }
    if (courier->flying < COURIER_WINDOW / 2)
        courier_pump(courier);
}
