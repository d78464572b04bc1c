/* Bugs on purpose, to prove that tests/faults would notice them: PLANTED("name") is true in a build with
 * BECKON_PLANTS=ON, and there only if the environment variable BECKON_PLANT has that name. Anywhere else it
 * is a constant false, and the compiler leaves nothing of it. */
#pragma once

#include <stdbool.h>

#ifdef BECKON_PLANTS
#include <stdlib.h>
#include <string.h>

static inline bool is_planted(const char *name)
{
    const char *chosen = getenv("BECKON_PLANT");

    return chosen && strcmp(chosen, name) == 0;
}
#define PLANTED(name) is_planted(name)
#else
#define PLANTED(name) false
#endif
