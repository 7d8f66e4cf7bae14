/* routing/netlink.h - private to routing/: the few rtnetlink requests we make, each acknowledged.
 *
 * Written on libnl's sockets and messages, not on its route objects: those of 3.7 know no rule that
 * suppresses a prefix length. Functions return 0 or the kernel's -errno.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/addr.h"

struct nl_sock;

struct netlink_route {
	uint8_t family;	     /* 4 or 6 */
	struct prefix to;    /* len 0: the default route */
	bool is_unreachable; /* else through the link `oif` */
	unsigned oif;	     /* index */
	uint32_t table;
	uint32_t metric;
};

#define NETLINK_SUPPRESS_NONE (-1)

/* "[not fwmark MARK] [to PREFIX] [oif LINK] lookup TABLE [suppress_prefixlength LEN]". A mark with
 * one of the other two would be another rule ("not" is about the whole): do not. */
struct netlink_rule {
	uint8_t family; /* 4 or 6 */
	uint32_t priority;
	uint32_t mark;	     /* 0: none */
	struct prefix to;    /* len 0: every destination */
	const char *oifname; /* NULL: every link */
	uint32_t table;	     /* 0: main */
	int suppress;	     /* routes of at most this length do not count */
};

/* What a dump tells of a route or rule. */
struct netlink_seen_route {
	uint8_t family, dst_len, type, protocol;
	uint32_t table, metric;
	unsigned oif;	 /* 0: none, or several next hops */
	struct addr dst; /* zero where dst_len is 0 */
};
struct netlink_seen_rule {
	uint8_t family, protocol;
	uint32_t priority, table, mark, mask; /* mark and mask 0: none */
};
struct netlink_seen_addr {
	unsigned index;
	struct addr addr;
	uint8_t len;
};

int netlink_open(struct nl_sock **ret) __attribute__((warn_unused_result));
void netlink_close(struct nl_sock *s);

/* Set the MTU (0: leave) and the link up or down. */
int netlink_link_set(struct nl_sock *s, unsigned index, unsigned mtu, bool up)
	__attribute__((warn_unused_result));
/* Make the link without an IPv6 link-local address, so that the kernel sends no router
 * solicitations there. */
int netlink_link_quiet(struct nl_sock *s, unsigned index) __attribute__((warn_unused_result));
int netlink_addr(struct nl_sock *s, bool add, unsigned index, const struct addr *a, uint8_t len)
	__attribute__((warn_unused_result));
/* add is exclusive: -EEXIST when such a thing is there. */
int netlink_route(struct nl_sock *s, bool add, const struct netlink_route *r)
	__attribute__((warn_unused_result));
int netlink_rule(struct nl_sock *s, bool add, const struct netlink_rule *r)
	__attribute__((warn_unused_result));

/* Dumps of both families, every table. fn returns false to hear no more. */
int netlink_each_route(struct nl_sock *s, bool (*fn)(void *arg, const struct netlink_seen_route *r),
		       void *arg) __attribute__((warn_unused_result));
int netlink_each_rule(struct nl_sock *s, bool (*fn)(void *arg, const struct netlink_seen_rule *r),
		      void *arg) __attribute__((warn_unused_result));
int netlink_each_addr(struct nl_sock *s, bool (*fn)(void *arg, const struct netlink_seen_addr *a),
		      void *arg) __attribute__((warn_unused_result));
