/* tests/unit/slow_receive.h - dataplane_receive() as it is easiest to understand: one datagram at a time, each check
 * where PROTOCOL.md has it, nothing remembered. What batches are compared with.
 */
#pragma once
#include "onion/dataplane.h"

void slow_receive(struct dp_thread *t, uint8_t *d, size_t n, const struct addr *from, nsec_t now,
		  struct dp_result *ret);
