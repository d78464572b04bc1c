/* A request made by a process of its own. */
#pragma once

#include "agent/http_put.h"

/* As http_put(), but in a child: for a request after which there will be another, because a cage that has
 * closed over one connection opens for no second, and none may stay idle while gigabytes are hashed. While
 * there is one thread. 0, -ENOMEM, -EIO if the child died, or another negative errno. */
int http_put_apart(const HttpPut *put, HttpAnswer *ret_answer) MUST_CHECK;
