/* client/grant.c - the client does not trust the exit: which grants it refuses. PROTOCOL.md
 * section 7. Pure.
 *
 * Direct is what this machine reaches beside the tunnel: the networks that it is on, and those that
 * its main table has a route to. A resolver there would be asked in clear. */
#include "client/client.h"

#define MTU_LEAST_V6 1280
#define MTU_LEAST_V4 576 /* RFC 791: what every host takes */

static bool in_any(const struct addr *a, const char *const *texts)
{
	struct prefix p;

	for (; *texts; texts++)
		if (!prefix_parse(*texts, &p) && prefix_has(&p, a))
			return true;
	return false;
}

static bool is_direct(const struct addr *a, const struct prefix *direct, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (prefix_has(&direct[i], a))
			return true;
	return false;
}

static bool may_be_lease(const struct addr *a)
{
	static const char *const ranges[] = {"10.0.0.0/8", "172.16.0.0/12", "100.64.0.0/10",
					     "fd00::/8", NULL};

	return in_any(a, ranges);
}

/* A resolver that is this very host or its link would be asked beside the tunnel. */
static bool is_on_link(const struct addr *a)
{
	static const char *const ranges[] = {"0.0.0.0/8",   "127.0.0.0/8", "169.254.0.0/16",
					     "224.0.0.0/3", "::/127",	   "fe80::/10",
					     "ff00::/8",    NULL};

	return in_any(a, ranges);
}

const char *grant_judge(const struct msg_grant *g, const struct prefix *direct, size_t ndirect)
{
	const struct addr *lease[2] = {&g->lease4, &g->lease6};

	if (!g->lease4.family && !g->lease6.family)
		return "the exit granted no inner address";
	for (unsigned i = 0; i < 2; i++) {
		if (!lease[i]->family)
			continue;
		if (!may_be_lease(lease[i]))
			return "the exit granted an inner address outside the private ranges";
		if (is_direct(lease[i], direct, ndirect))
			return "the exit granted an inner address of a network that this machine "
			       "is on or has a route to";
	}
	if (g->mtu < (g->lease6.family ? MTU_LEAST_V6 : MTU_LEAST_V4))
		return "the exit granted an MTU that is too small";
	for (unsigned i = 0; i < g->ndns; i++) {
		if (!g->dns[i].family)
			return "the exit granted a DNS server without an address";
		if (is_on_link(&g->dns[i]) || is_direct(&g->dns[i], direct, ndirect))
			return "the exit granted a DNS server in a network that this machine is on "
			       "or has a route to";
		if (addr_equal_ip(&g->dns[i], &g->lease4) || addr_equal_ip(&g->dns[i], &g->lease6))
			return "the exit granted this machine's inner address as DNS server";
	}
	return NULL;
}
