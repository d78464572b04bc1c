/* W3C Trace Context: which trace of the caller's an upload belongs to. A traceparent is kept and passed on as
 * it came; we record no spans of our own, but every JSON log line of the upload has the trace's id. */
#pragma once

#include "common/cleanup.h"
#include "common/log.h"

#include <stdbool.h>

#define TRACEPARENT_SIZE 56 /* "00-<32 digits>-<16 digits>-<2 digits>" */

/* Reads a traceparent (section 3.2 of level 1) of any version into one of version 00. false, and out is
 * untouched, for NULL and for what is not valid, which is to be taken for absent. */
bool traceparent_read(const char *text, char out[static TRACEPARENT_SIZE]);

void traceparent_new(char out[static TRACEPARENT_SIZE]);

/* The trace of this thread's log lines, until the end of the scope; then it is the one before. traceparent: a
 * valid one, or "": none. */
#define TRACED(traceparent) LogTrace traced_ CLEANUP(log_trace_restore) = trace_begin(traceparent)
LogTrace trace_begin(const char *traceparent);
