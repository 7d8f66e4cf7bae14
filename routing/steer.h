/* routing/steer.h - private to routing/: the leases, routes and rules that decide which packets a
 * client's tunnel gets. They are lists made from a struct steer, so that set-up and change agree.
 *
 * Everything, when the client names no ranges. In table T: default through the TUN; far behind,
 * "unreachable default".
 *   rules:  lookup main suppress_prefixlength 0;  not fwmark M lookup T
 *
 * Ranges. In table T, for each: RANGE through the TUN; far behind, "unreachable RANGE". Besides a
 * default through the TUN, for sockets that are bound to it: how --up is verified.
 *   rules:  oif TUN lookup T;  for each range: to RANGE lookup main suppress_prefixlength LEN - 1;
 *           not fwmark M lookup T suppress_prefixlength 0
 * So main wins over a range only by a route that is as specific or more, a smaller prefix length
 * than LEN - 1 being taken where the host is on a network that holds the range; and what is in no
 * range goes on to the host's own rules. The guards are no default: an unreachable route is an
 * answer that no rule can suppress.
 *
 * The two sets of rules have priorities of their own, so that one can be put beside the other.
 */
#pragma once
#include "routing/host.h"
#include "routing/netlink.h"

#define STEER_RANGES_MAX (2 * HOST_RANGES_MAX) /* /0 becomes two of /1 */

struct steer_range {
	struct prefix to;
	uint8_t suppress; /* routes of main of at most this length do not count */
};

struct steer {
	const struct host_client *client; /* but not its ranges */
	uint32_t before;		  /* priority ahead of which the rules go */
	size_t nranges;
	struct steer_range range[STEER_RANGES_MAX];
};

/* How many priorities below `before` this client's rules need. */
uint32_t steer_priorities(const struct host_client *c);
/* Work out what c means on this host. Keeps c, not c->ranges. 0; -errno with a sentence. */
int steer_plan(const struct host_client *c, uint32_t before, struct steer *ret, char *err);
/* Leases, then for each family the guards first and the rules last. 0 or -errno, some steps made. */
int steer_up(struct host *h, const struct steer *s, char *err);
/* From one plan of the same TUN, table and mark to another; what both send through the tunnel has
 * no moment beside it. 0 or -errno, some steps made. */
int steer_change(struct host *h, const struct steer *old, const struct steer *new, char *err);
