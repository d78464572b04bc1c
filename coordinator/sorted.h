/* A sorted array of pointers: found by bisection, walked in order. Small, and quick up to some hundred
 * thousand items. */
#pragma once

#include "common/cleanup.h"

#include <stddef.h>

typedef struct Sorted {
    int (*compare)(const void *item, const void *key); /* as strcmp() */
    size_t max;                                        /* items at most */
    void **items;                                      /* start with NULL, 0, 0 */
    size_t count, capacity;
} Sorted;

/* The first item that is not less than key, or count. */
size_t sorted_position(const Sorted *sorted, const void *key);

/* NULL if absent. */
void *sorted_find(const Sorted *sorted, const void *key);

/* Keeps the pointer. 0, -EEXIST, -ENOBUFS at max, or -ENOMEM. */
int sorted_insert(Sorted *sorted, const void *key, void *item) MUST_CHECK;

/* Forgets the item at that position; it stays the caller's. */
void *sorted_take(Sorted *sorted, size_t position);

/* Frees the array and each item with free_item. */
void sorted_deinit(Sorted *sorted, void (*free_item)(void *item));
