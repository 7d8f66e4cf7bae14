/* routing/error.h - how functions of this folder tell what went wrong: one sentence for the user.
 */
#pragma once

#define ROUTING_ERROR_BYTES                                                                        \
	384 /* of every `err` in this folder; never NULL; written only on failure */

/* Write the sentence and return `code` (a -errno), so that a caller can `return routing_fail(...)`.
 */
int routing_fail(char *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
