/* Both steps of policy.h in a row, as an attempt makes them, without the child in between. */
#pragma once

#include "agent/policy.h"

static inline int policy_open(const Policy *policy, const char *path, uint64_t max_size_bytes,
                              AllowedFile *ret_file, Problem *problem)
{
    char *absolute CLEANUP(free_ptr) = NULL;

    if (policy_path(policy, path, &absolute, problem) < 0)
        return -1;
    return policy_open_path(policy, absolute, max_size_bytes, ret_file, problem);
}
