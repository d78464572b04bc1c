/* Follows a batch to its end. */
#pragma once

#include "coordinator/cli/cli.h"

/* Shows its counts as they change. folder, if not NULL, gets each file as folder/CLIENT/NAME as soon as it is
 * verified; it is made if it is not there. Then says who has not completed. EXIT_DONE only if all have. */
int many_follow(Cli *cli, const char *id, const char *folder) MUST_CHECK;
