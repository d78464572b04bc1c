/* W3C Trace Context: which trace of the caller's an upload belongs to. A traceparent is kept and passed on as
 * it came; we record no spans of our own. What a thread does for an upload it does within that trace: its
 * JSON log lines about uploads and the MQTT 5 messages that it publishes have it. */
#pragma once

#include "common/cleanup.h"

#include <stdbool.h>

#define TRACEPARENT_SIZE 56 /* "00-<32 digits>-<16 digits>-<2 digits>" */

/* Reads a traceparent (section 3.2 of level 1) of any version into one of version 00. false, and out is
 * untouched, for NULL and for what is not valid, which is to be taken for absent. */
bool traceparent_read(const char *text, char out[static TRACEPARENT_SIZE]);

void traceparent_new(char out[static TRACEPARENT_SIZE]);

/* The trace of this thread until the end of the scope; then it is the one before. traceparent: a valid one,
 * or
 * "": none. */
#define TRACED(traceparent)                                                                                  \
    __attribute__((unused)) Trace traced_ CLEANUP(trace_restore) = trace_begin(traceparent)

typedef struct Trace {
    char parent[TRACEPARENT_SIZE]; /* "": none */
} Trace;

/* Returns what it was before, to be restored. */
Trace trace_begin(const char *traceparent);
void trace_restore(const Trace *before);

/* This thread's traceparent, or "". */
const char *trace_current(void);

#define TRACE_ID_SIZE 33
/* The trace's id in it: 32 hexadecimal digits, or "" of "". */
void trace_id(const char *traceparent, char out[static TRACE_ID_SIZE]);
