/* Names of clients and uploads: nothing else may become a topic level, a folder or a certificate name. And of
 * users. */
#pragma once

#include <stdbool.h>

#define CLIENT_ID_MAX 64
#define UPLOAD_ID_MAX 64
#define CLIENT_ID_SIZE (CLIENT_ID_MAX + 1)
#define UPLOAD_ID_SIZE (UPLOAD_ID_MAX + 1)
#define USER_NAME_MAX 64
#define USER_NAME_SIZE (USER_NAME_MAX + 1)
#define FILE_PATH_MAX 4095 /* bytes of a path on a device */

/* [A-Za-z0-9][A-Za-z0-9._-]{0,63}. Reserved names are valid here. */
bool client_id_is_valid(const char *id);

/* coordinator, receiver, operator: never a device's. */
bool client_id_is_reserved(const char *id);

/* [A-Za-z0-9_-]{1,64} */
bool upload_id_is_valid(const char *id);

/* [A-Za-z0-9][A-Za-z0-9._@+-]{0,63} */
bool user_name_is_valid(const char *name);

/* 1 to FILE_PATH_MAX bytes of UTF-8. A path with more than a few hundred characters that JSON must escape is
 * refused: its receipt could not be written. */
bool file_path_is_valid(const char *path);

/* A new UUIDv7 (RFC 9562 section 5.7): ids sort by the time of their making. */
void upload_id_new(char out[static UPLOAD_ID_SIZE]);
