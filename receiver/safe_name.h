/* File names from strangers made fit for a folder, a terminal and a shell. */
#pragma once

#define SAFE_NAME_SIZE 256 /* NAME_MAX bytes and the NUL */

/* The last component of path as a file name: ordinary UTF-8 and spaces stay; control characters, invisible
 * direction marks, backslashes and bytes that are not UTF-8 become '_', and so does a leading dot, dash or
 * space; cut at a whole character at 255 bytes. fallback, which must be safe itself, where nothing is left.
 * Different paths may give the same name. */
void safe_name(const char *path, const char *fallback, char out[static SAFE_NAME_SIZE]);
