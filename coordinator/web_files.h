/* The files of web/, as they were when this program was built (cmake/embed.cmake writes web_files.c). */
#pragma once

#include <stddef.h>

typedef struct WebFile {
    const char *name; /* "style.css" */
    const char *type; /* of media */
    const char *tag;  /* an entity tag, quoted */
    const unsigned char *data;
    size_t size;
} WebFile;

extern const WebFile web_files[];
extern const size_t web_file_count;
