/* What the fuzz targets share. Each is one file, fuzz_NAME.c, that defines LLVMFuzzerTestOneInput(): with
 * clang, libFuzzer calls it with what it invents; everywhere else replay.c calls it with the files of
 * corpus/NAME. A target checks what must always hold, not only that nothing crashes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the run, so that the input is kept; the backtrace says where. */
#define FUZZ_CHECK(condition)                                                                                \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            fuzz_fail(__FILE__, __LINE__, #condition);                                                       \
    } while (0)
_Noreturn void fuzz_fail(const char *file, int line, const char *what);

/* A copy of exactly size bytes and a NUL: the sanitizer sees what reads past either. */
char *fuzz_text(const void *data, size_t size);

/* Cuts the next piece, up to the separator, off *rest and ends it with a NUL; NULL when there is none left.
 */
char *fuzz_cut(char **rest, char separator);

/* Whether a person may see text on a terminal: UTF-8 without control characters, and nothing that hides or
 * reorders. newlines: '\n' is fine. */
bool fuzz_is_printable(const char *text, bool newlines);

/* A file with this content, whose name works until the next call. */
const char *fuzz_file(const void *data, size_t size);

/* Runs act with standard error in a file, and returns what was written there. The caller frees. */
char *fuzz_stderr_of(void (*act)(void *userdata), void *userdata);
