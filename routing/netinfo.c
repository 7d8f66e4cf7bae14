/* routing/netinfo.c - see routing/netinfo.h. */
#include "routing/netinfo.h"
#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "routing/netlink.h"

#define WATCH_BUFFER_BYTES (32 * 1024)
#define ROUTE4_BITS_LEAST  8
#define ROUTE6_BITS_LEAST  16
#define ULA_BITS	   7 /* fc00::/7 */

struct gather {
	unsigned except; /* 0: none */
	struct prefix *to;
	size_t n, max;
	bool full;
};

/* False when there is no room. */
static bool gather_prefix(struct gather *g, const struct addr *a, uint8_t len)
{
	g->full = g->n == g->max;
	if (g->full)
		return false;
	struct prefix *p = &g->to[g->n++];
	*p = (struct prefix){.addr = *a, .len = len};
	for (unsigned bit = len; bit < addr_ip_bytes(a) * 8; bit++)
		p->addr.ip[bit / 8] &= (uint8_t) ~(0x80 >> (bit % 8));
	return true;
}

static bool gather_addr(void *arg, const struct netlink_seen_addr *a)
{
	struct gather *g = arg;
	return a->index == g->except || gather_prefix(g, &a->addr, a->len);
}

static bool is_listed(const struct gather *g, const struct netlink_seen_route *r)
{
	for (size_t i = 0; i < g->n; i++) {
		if (g->to[i].len <= r->dst_len && prefix_has(&g->to[i], &r->dst))
			return true;
	}
	return false;
}

static bool is_specific(const struct netlink_seen_route *r)
{
	if (r->family == 4)
		return r->dst_len >= ROUTE4_BITS_LEAST;
	return r->dst_len >= ROUTE6_BITS_LEAST ||
	       (r->dst_len >= ULA_BITS && (r->dst.ip[0] & 0xfe) == 0xfc);
}

/* A route of several next hops names no link, and counts. */
static bool gather_route(void *arg, const struct netlink_seen_route *r)
{
	struct gather *g = arg;
	bool is_ours = r->oif != 0 && r->oif == g->except;
	if (r->table != RT_TABLE_MAIN || r->type != RTN_UNICAST || is_ours || !is_specific(r) ||
	    is_listed(g, r))
		return true;
	return gather_prefix(g, &r->dst, r->dst_len);
}

static int ask_once(struct nl_sock **ret, char *err)
{
	int rc = netlink_open(ret);
	if (rc < 0)
		routing_fail(err, rc, "A netlink socket cannot be opened: %s.", strerror(-rc));
	return rc;
}

static int answered(struct nl_sock *s, int rc, char *err)
{
	netlink_close(s);
	if (rc < 0)
		routing_fail(err, rc, "The host's addresses and routes cannot be read: %s.",
			     strerror(-rc));
	return rc;
}

/* The networks of addresses, and with `routes` the main table's behind them. */
static int gather(const char *except, struct gather *g, size_t *ret_nlocal, bool routes, char *err)
{
	struct nl_sock *s;
	int rc = ask_once(&s, err);
	if (rc < 0)
		return rc;
	g->except = except ? if_nametoindex(except) : 0;
	rc = netlink_each_addr(s, gather_addr, g);
	const size_t nlocal = g->n;
	const bool too_many = g->full;
	if (rc == 0 && !too_many && routes)
		rc = netlink_each_route(s, gather_route, g);
	rc = answered(s, rc, err);
	if (rc == 0 && too_many)
		rc = routing_fail(err, -ENOSPC, "This host has more than %zu addresses.", g->max);
	if (rc == 0)
		*ret_nlocal = nlocal;
	return rc;
}

int netinfo_local_prefixes(const char *except, struct prefix *ret, size_t max, size_t *ret_n,
			   char *err)
{
	struct gather g = {.to = ret, .max = max};
	return gather(except, &g, ret_n, false, err);
}

int netinfo_direct_prefixes(const char *except, struct prefix *ret, size_t max, size_t *ret_nlocal,
			    size_t *ret_n, char *err)
{
	struct gather g = {.to = ret, .max = max};
	int rc = gather(except, &g, ret_nlocal, true, err);
	if (rc == 0)
		*ret_n = g.n;
	return rc;
}

struct wanted {
	uint8_t family;
	bool found;
};

static bool is_default(void *arg, const struct netlink_seen_route *r)
{
	struct wanted *w = arg;
	w->found = r->family == w->family && r->table == RT_TABLE_MAIN && r->dst_len == 0 &&
		   r->type == RTN_UNICAST;
	return !w->found;
}

int netinfo_has_default_route(uint8_t family, char *err)
{
	struct nl_sock *s;
	struct wanted w = {.family = family};
	int rc = ask_once(&s, err);
	if (rc < 0)
		return rc;
	rc = answered(s, netlink_each_route(s, is_default, &w), err);
	return rc < 0 ? rc : w.found;
}

int netinfo_has_link(const char *ifname, char *err)
{
	if (if_nametoindex(ifname) != 0)
		return 1;
	if (errno == ENODEV || errno == ENXIO)
		return 0;
	return routing_fail(err, -errno, "The interface %s cannot be looked up: %s.", ifname,
			    strerror(errno));
}

struct netinfo_watch {
	int fd;
};

int netinfo_watch_open(struct netinfo_watch **ret, char *err)
{
	struct sockaddr_nl groups = {.nl_family = AF_NETLINK,
				     .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR |
						  RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE |
						  RTMGRP_IPV6_ROUTE};
	struct netinfo_watch *w = malloc(sizeof(*w));
	if (!w)
		return routing_fail(err, -ENOMEM, "There is no memory to watch the network.");
	w->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (w->fd < 0 || bind(w->fd, (struct sockaddr *)&groups, sizeof(groups)) < 0) {
		int rc = routing_fail(err, -errno, "Changes of the network cannot be watched: %s.",
				      strerror(errno));
		netinfo_watch_close(w);
		return rc;
	}
	*ret = w;
	return 0;
}

void netinfo_watch_close(struct netinfo_watch *w)
{
	if (!w)
		return;
	if (w->fd >= 0)
		close(w->fd);
	free(w);
}

int netinfo_watch_fd(const struct netinfo_watch *w)
{
	return w->fd;
}

/* The link that a message is about; 0 when it names none. */
static unsigned link_of(const struct nlmsghdr *h)
{
	const void *body = NLMSG_DATA(h);
	size_t n = NLMSG_PAYLOAD(h, 0);
	if ((h->nlmsg_type == RTM_NEWLINK || h->nlmsg_type == RTM_DELLINK) &&
	    n >= sizeof(struct ifinfomsg))
		return (unsigned)((const struct ifinfomsg *)body)->ifi_index;
	if ((h->nlmsg_type == RTM_NEWADDR || h->nlmsg_type == RTM_DELADDR) &&
	    n >= sizeof(struct ifaddrmsg))
		return ((const struct ifaddrmsg *)body)->ifa_index;
	if ((h->nlmsg_type != RTM_NEWROUTE && h->nlmsg_type != RTM_DELROUTE) ||
	    n < sizeof(struct rtmsg))
		return 0;
	size_t left = n - NLMSG_ALIGN(sizeof(struct rtmsg));
	for (const struct rtattr *a = RTM_RTA((const struct rtmsg *)body); RTA_OK(a, left);
	     a = RTA_NEXT(a, left)) {
		unsigned index;
		if (a->rta_type == RTA_OIF && RTA_PAYLOAD(a) >= sizeof(index)) {
			memcpy(&index, RTA_DATA(a), sizeof(index));
			return index;
		}
	}
	return 0;
}

bool netinfo_watch_drain(struct netinfo_watch *w, const char *except)
{
	_Alignas(struct nlmsghdr) char buf[WATCH_BUFFER_BYTES];
	unsigned skip = except ? if_nametoindex(except) : 0;
	bool changed = false;
	for (;;) {
		ssize_t n = recv(w->fd, buf, sizeof(buf), MSG_TRUNC);
		if (n < 0 && (errno == ENOBUFS || errno == EINTR)) {
			changed |= errno == ENOBUFS;
			continue;
		}
		if (n <= 0)
			return changed;
		if ((size_t)n > sizeof(buf)) {
			changed = true;
			continue;
		}
		unsigned left = (unsigned)n;
		for (const struct nlmsghdr *h = (const void *)buf; NLMSG_OK(h, left);
		     h = NLMSG_NEXT(h, left))
			changed |= skip == 0 || link_of(h) != skip;
	}
}
