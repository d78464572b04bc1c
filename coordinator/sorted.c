#include "coordinator/sorted.h"

#include <errno.h>
#include <string.h>

size_t sorted_position(const Sorted *sorted, const void *key)
{
    size_t low = 0, high = sorted->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (sorted->compare(sorted->items[middle], key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void *sorted_find(const Sorted *sorted, const void *key)
{
    size_t position = sorted_position(sorted, key);
    if (position == sorted->count || sorted->compare(sorted->items[position], key) != 0)
        return NULL;
    return sorted->items[position];
}

static int grow(Sorted *sorted)
{
    size_t capacity = sorted->capacity ? sorted->capacity * 2 : 16;
    void **items = reallocarray(sorted->items, capacity, sizeof(*items));
    if (!items)
        return -ENOMEM;
    sorted->items = items;
    sorted->capacity = capacity;
    return 0;
}

int sorted_insert(Sorted *sorted, const void *key, void *item)
{
    size_t position = sorted_position(sorted, key);
    if (position < sorted->count && sorted->compare(sorted->items[position], key) == 0)
        return -EEXIST;
    if (sorted->count >= sorted->max)
        return -ENOBUFS;
    if (sorted->count == sorted->capacity) {
        int r = grow(sorted);
        if (r < 0)
            return r;
    }
    memmove(sorted->items + position + 1, sorted->items + position,
            (sorted->count - position) * sizeof(*sorted->items));
    sorted->items[position] = item;
    sorted->count++;
    return 0;
}

void *sorted_take(Sorted *sorted, size_t position)
{
    void *item = sorted->items[position];
    sorted->count--;
    memmove(sorted->items + position, sorted->items + position + 1,
            (sorted->count - position) * sizeof(*sorted->items));
    return item;
}

void sorted_deinit(Sorted *sorted, void (*free_item)(void *item))
{
    for (size_t i = 0; i < sorted->count; i++)
        free_item(sorted->items[i]);
    free(sorted->items);
    sorted->items = NULL;
    sorted->count = sorted->capacity = 0;
}
