/* A path on the device as text: nothing here looks at the file system. */
#pragma once

#include <stdbool.h>

/* Removes empty and "." components of an absolute path, in place. false, and path is spoilt, if there is a
 * "..". */
bool path_normalize(char *path);

/* What follows folder in path, without a leading '/' ("" for the folder itself); NULL if path is not below
 * it. Both normalized. */
const char *path_below(const char *path, const char *folder);

/* /proc, /sys, /dev, or below one of them. */
bool path_is_kernels(const char *path);

/* Whether pattern (fnmatch(3), upper and lower case of ASCII alike) forbids path. A pattern with a leading
 * '/' matches a whole path or one of the folders on the way, and its '*' does not reach over a '/'; any other
 * pattern matches one of the names in below, which is the end of path. */
bool path_matches(const char *path, const char *below, const char *pattern);

/* Whether a pattern is one that path_matches() takes as its writer means it: a name without '/', or a
 * normalized absolute path below "/", and no "**", which would be a mere "*". */
bool path_pattern_is_valid(const char *pattern);
