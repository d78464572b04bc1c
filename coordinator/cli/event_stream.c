#include "coordinator/cli/event_stream.h"

#include <errno.h>
#include <string.h>

#define BYTE_ORDER_MARK "\xef\xbb\xbf" /* is left out where the stream begins */

void event_stream_reset(EventStream *stream)
{
    free(TAKE_PTR(stream->data));
    free(TAKE_PTR(stream->line));
    stream->data_size = stream->line_size = 0;
    stream->name[0] = '\0';
    memcpy(stream->next_id, stream->id, sizeof(stream->id));
    stream->begun = stream->after_cr = false;
}

static int append(char **text, size_t *used, const char *more, size_t size)
{
    if (*used + size > EVENT_LINE_MAX)
        return -EMSGSIZE;
    char *grown = realloc(*text, *used + size + 1);
    if (!grown)
        return -ENOMEM;
    memcpy(grown + *used, more, size);
    *used += size;
    grown[*used] = '\0';
    *text = grown;
    return 0;
}

static int finish_event(EventStream *stream)
{
    memcpy(stream->id, stream->next_id, sizeof(stream->id)); /* not before: half an event is to come again */
    int r = stream->data ? stream->on_event(stream->userdata, stream->name, stream->data) : 0;

    free(TAKE_PTR(stream->data));
    stream->data_size = 0;
    stream->name[0] = '\0';
    return r;
}

static int take_field(EventStream *stream, const char *name, const char *value)
{
    if (strcmp(name, "event") == 0)
        (void)snprintf(stream->name, sizeof(stream->name), "%s", value);
    else if (strcmp(name, "id") == 0)
        (void)snprintf(stream->next_id, sizeof(stream->next_id), "%s", value);
    if (strcmp(name, "data") != 0)
        return 0;
    int r = stream->data ? append(&stream->data, &stream->data_size, "\n", 1) : 0;
    return r == 0 ? append(&stream->data, &stream->data_size, value, strlen(value)) : r;
}

static int finish_line(EventStream *stream)
{
    char *taken CLEANUP(free_ptr) = TAKE_PTR(stream->line);
    bool marked = taken && !stream->begun && strncmp(taken, BYTE_ORDER_MARK, 3) == 0;
    char *line = marked ? taken + 3 : taken;

    stream->line_size = 0;
    stream->begun = true;
    if (!line || !*line)
        return finish_event(stream);
    char *colon = strchr(line, ':');
    if (colon == line)
        return 0; /* a comment: the heartbeat */
    if (!colon)
        return take_field(stream, line, "");
    *colon++ = '\0';
    return take_field(stream, line, *colon == ' ' ? colon + 1 : colon);
}

int event_stream_feed(EventStream *stream, const char *bytes, size_t size)
{
    int r = 0;

    while (size > 0 && r == 0) {
        size_t length = 0;
        while (length < size && bytes[length] != '\r' && bytes[length] != '\n')
            length++;
        if (length > 0) {
            stream->after_cr = false;
            r = append(&stream->line, &stream->line_size, bytes, length);
        } else {
            bool is_second_half = bytes[0] == '\n' && stream->after_cr;
            stream->after_cr = bytes[0] == '\r';
            length = 1;
            r = is_second_half ? 0 : finish_line(stream);
        }
        bytes += length;
        size -= length;
    }
    return r;
}
