/* exit/closed.h - the addresses that are never reached from inside: the relay's own, this host's, other relays'.
 * Control thread only. */
#pragma once
#include <stddef.h>
#include "base/addr.h"

#define CLOSED_HOST_MOST 1024 /* addresses of this host; the kernel's filter refuses the rest */

/* Zero to begin. */
struct closed {
	struct addr *own, *relays, *all; /* all: what closed_refresh() put together */
	size_t nown, nrelays, n;
};

/* Copies. 0 or -ENOMEM with the old ones kept. They count after the next closed_refresh(). */
int closed_set_own(struct closed *c, const struct addr *own, size_t n) __attribute__((warn_unused_result));
int closed_set_relays(struct closed *c, const struct addr *relays, size_t n) __attribute__((warn_unused_result));
/* Ask the kernel for this host's addresses and put all together. 0, or -errno with `all` as it was. */
int closed_refresh(struct closed *c) __attribute__((warn_unused_result));
void closed_done(struct closed *c);
