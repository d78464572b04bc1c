/* The receiver as a whole: the store and who works on it, the HTTPS server, and the link to the broker.
 *
 * Threads: the HTTPS server's, one a connection; the broker link's; and the caller's, which runs the loop:
 * MQTT messages, receipts, timers. */
#pragma once

#include "common/cleanup.h"
#include "receiver/config.h"

typedef struct Receiver Receiver;

/* Opens the store (finishing what a crash broke off), listens and connects. Every failure has its log line.
 * 0 or a negative errno. */
int receiver_new(const ReceiverConfig *config, Receiver **ret_receiver) MUST_CHECK;

/* Serves until SIGINT or SIGTERM. 0 or a negative errno. */
int receiver_run(Receiver *receiver) MUST_CHECK;

/* Ends the connections, keeps what arrived, says goodbye to the broker. Returns NULL. */
Receiver *receiver_free(Receiver *receiver);
