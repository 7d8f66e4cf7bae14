/* routing/netlink.c - see routing/netlink.h. */
#include "routing/netlink.h"
#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <stdlib.h>
#include <string.h>
#include "routing/host.h"

#define DUMP_TRIES 5 /* of a dump that a change interrupted */

static int af_of(uint8_t family)
{
	return family == 6 ? AF_INET6 : AF_INET;
}

int netlink_open(struct nl_sock **ret)
{
	struct nl_sock *s = nl_socket_alloc();
	if (!s)
		return -ENOMEM;
	int rc = nl_connect(s, NETLINK_ROUTE);
	if (rc < 0) {
		nl_socket_free(s);
		return rc == -NLE_NOMEM ? -ENOMEM : -EIO;
	}
	*ret = s;
	return 0;
}

void netlink_close(struct nl_sock *s)
{
	nl_socket_free(s);
}

/* libnl folds the kernel's error numbers into fewer of its own: keep the real one. */
static int keep_errno(struct sockaddr_nl *who, struct nlmsgerr *e, void *arg)
{
	(void)who;
	*(int *)arg = e->error;
	return NL_STOP;
}

static int stop_at_ack(struct nl_msg *msg, void *arg)
{
	(void)msg;
	*(int *)arg = 0;
	return NL_STOP;
}

/* Send a request and wait for the kernel's answer to it. Takes msg. */
static int ask(struct nl_sock *s, struct nl_msg *msg)
{
	int result = -EIO;
	struct nl_cb *cb = nl_cb_alloc(NL_CB_DEFAULT);
	if (!cb || !msg) {
		nl_cb_put(cb);
		nlmsg_free(msg);
		return -ENOMEM;
	}
	nl_cb_err(cb, NL_CB_CUSTOM, keep_errno, &result);
	nl_cb_set(cb, NL_CB_ACK, NL_CB_CUSTOM, stop_at_ack, &result);
	nlmsg_hdr(msg)->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	nl_complete_msg(s, msg);
	if (nl_send(s, msg) >= 0)
		(void)nl_recvmsgs(s, cb); /* whatever it returns, result tells */
	nl_cb_put(cb);
	nlmsg_free(msg);
	return result;
}

/* A message of `type` that starts with the n bytes at head; NULL without memory. */
static struct nl_msg *begin(int type, int flags, const void *head, size_t n)
{
	struct nl_msg *msg = nlmsg_alloc_simple(type, flags);
	if (msg && nlmsg_append(msg, (void *)head, n, NLMSG_ALIGNTO) < 0) {
		nlmsg_free(msg);
		return NULL;
	}
	return msg;
}

/* Give up a message that could not be filled. */
static struct nl_msg *filled(struct nl_msg *msg, int rc)
{
	if (rc >= 0)
		return msg;
	nlmsg_free(msg);
	return NULL;
}

int netlink_link_set(struct nl_sock *s, unsigned index, unsigned mtu, bool up)
{
	struct ifinfomsg head = {.ifi_family = AF_UNSPEC,
				 .ifi_index = (int)index,
				 .ifi_flags = up ? IFF_UP : 0,
				 .ifi_change = IFF_UP};
	struct nl_msg *msg = begin(RTM_NEWLINK, 0, &head, sizeof(head));
	if (msg && mtu)
		msg = filled(msg, nla_put_u32(msg, IFLA_MTU, mtu));
	return ask(s, msg);
}

int netlink_link_quiet(struct nl_sock *s, unsigned index)
{
	struct ifinfomsg head = {.ifi_family = AF_UNSPEC, .ifi_index = (int)index};
	struct nl_msg *msg = begin(RTM_NEWLINK, 0, &head, sizeof(head));
	if (!msg)
		return -ENOMEM;
	struct nlattr *families = nla_nest_start(msg, IFLA_AF_SPEC);
	struct nlattr *inet6 = families ? nla_nest_start(msg, AF_INET6) : NULL;
	if (!inet6 || nla_put_u8(msg, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE) < 0) {
		nlmsg_free(msg);
		return -ENOMEM;
	}
	nla_nest_end(msg, inet6);
	nla_nest_end(msg, families);
	return ask(s, msg);
}

int netlink_addr(struct nl_sock *s, bool add, unsigned index, const struct addr *a, uint8_t len)
{
	struct ifaddrmsg head = {.ifa_family = (uint8_t)af_of(a->family),
				 .ifa_prefixlen = len,
				 .ifa_flags = a->family == 6 ? IFA_F_NODAD : 0,
				 .ifa_index = index};
	int n = (int)addr_ip_bytes(a);
	struct nl_msg *msg = begin(add ? RTM_NEWADDR : RTM_DELADDR,
				   add ? NLM_F_CREATE | NLM_F_EXCL : 0, &head, sizeof(head));
	if (msg)
		msg = filled(msg, nla_put(msg, IFA_LOCAL, n, a->ip));
	if (msg)
		msg = filled(msg, nla_put(msg, IFA_ADDRESS, n, a->ip));
	return ask(s, msg);
}

static int put_prefix(struct nl_msg *msg, int attr, const struct prefix *p)
{
	return nla_put(msg, attr, (int)addr_ip_bytes(&p->addr), p->addr.ip);
}

static uint8_t route_scope(bool add, const struct netlink_route *r)
{
	if (r->family == 6 || (add && r->is_unreachable))
		return RT_SCOPE_UNIVERSE;
	return add ? RT_SCOPE_LINK : RT_SCOPE_NOWHERE;
}

int netlink_route(struct nl_sock *s, bool add, const struct netlink_route *r)
{
	struct rtmsg head = {.rtm_family = (uint8_t)af_of(r->family),
			     .rtm_dst_len = r->to.len,
			     .rtm_protocol = HOST_PROTOCOL,
			     .rtm_scope = route_scope(add, r),
			     .rtm_type = r->is_unreachable ? RTN_UNREACHABLE : RTN_UNICAST};
	struct nl_msg *msg = begin(add ? RTM_NEWROUTE : RTM_DELROUTE,
				   add ? NLM_F_CREATE | NLM_F_EXCL : 0, &head, sizeof(head));
	if (msg)
		msg = filled(msg, nla_put_u32(msg, RTA_TABLE, r->table));
	if (msg && r->to.len)
		msg = filled(msg, put_prefix(msg, RTA_DST, &r->to));
	if (msg && r->metric)
		msg = filled(msg, nla_put_u32(msg, RTA_PRIORITY, r->metric));
	if (msg && !r->is_unreachable)
		msg = filled(msg, nla_put_u32(msg, RTA_OIF, r->oif));
	return ask(s, msg);
}

int netlink_rule(struct nl_sock *s, bool add, const struct netlink_rule *r)
{
	struct fib_rule_hdr head = {.family = (uint8_t)af_of(r->family),
				    .dst_len = r->to.len,
				    .action = FR_ACT_TO_TBL,
				    .flags = r->mark ? FIB_RULE_INVERT : 0};
	uint32_t table = r->table ? r->table : RT_TABLE_MAIN;
	struct nl_msg *msg = begin(add ? RTM_NEWRULE : RTM_DELRULE,
				   add ? NLM_F_CREATE | NLM_F_EXCL : 0, &head, sizeof(head));
	if (msg)
		msg = filled(msg, nla_put_u32(msg, FRA_PRIORITY, r->priority));
	if (msg)
		msg = filled(msg, nla_put_u32(msg, FRA_TABLE, table));
	if (msg)
		msg = filled(msg, nla_put_u8(msg, FRA_PROTOCOL, HOST_PROTOCOL));
	if (msg && r->mark)
		msg = filled(msg, nla_put_u32(msg, FRA_FWMARK, r->mark));
	if (msg && r->mark)
		msg = filled(msg, nla_put_u32(msg, FRA_FWMASK, UINT32_MAX));
	if (msg && r->to.len)
		msg = filled(msg, put_prefix(msg, FRA_DST, &r->to));
	if (msg && r->oifname)
		msg = filled(msg, nla_put_string(msg, FRA_OIFNAME, r->oifname));
	if (msg && r->suppress != NETLINK_SUPPRESS_NONE)
		msg = filled(msg, nla_put_u32(msg, FRA_SUPPRESS_PREFIXLEN, (uint32_t)r->suppress));
	return ask(s, msg);
}

struct dump {
	void (*each)(struct dump *d, struct nlmsghdr *h);
	bool (*fn_route)(void *arg, const struct netlink_seen_route *r);
	bool (*fn_rule)(void *arg, const struct netlink_seen_rule *r);
	bool (*fn_addr)(void *arg, const struct netlink_seen_addr *a);
	void *arg;
	bool enough;
};

static int on_dumped(struct nl_msg *msg, void *arg)
{
	struct dump *d = arg;
	if (!d->enough)
		d->each(d, nlmsg_hdr(msg));
	return NL_OK; /* read to the end all the same: the socket is used again */
}

static int dump(struct nl_sock *s, int type, struct dump *d)
{
	struct rtmsg head = {
		.rtm_family = AF_UNSPEC}; /* as long as, or longer than, each family's head */
	int result = 0, rc = -NLE_DUMP_INTR;
	struct nl_cb *cb = nl_cb_alloc(NL_CB_DEFAULT);
	if (!cb)
		return -ENOMEM;
	nl_cb_err(cb, NL_CB_CUSTOM, keep_errno, &result);
	nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, on_dumped, d);
	for (int i = 0; i < DUMP_TRIES && rc == -NLE_DUMP_INTR; i++) {
		struct nl_msg *msg = begin(type, NLM_F_REQUEST | NLM_F_DUMP, &head, sizeof(head));
		if (!msg) {
			rc = -NLE_NOMEM;
			break;
		}
		nl_complete_msg(s, msg);
		rc = nl_send(s, msg);
		nlmsg_free(msg);
		if (rc >= 0)
			rc = nl_recvmsgs(s, cb);
	}
	nl_cb_put(cb);
	if (result < 0)
		return result;
	return rc < 0 ? -EIO : 0;
}

static uint8_t family_of(int af)
{
	return af == AF_INET6 ? 6 : af == AF_INET ? 4 : 0;
}

static uint32_t u32_or(struct nlattr **attrs, int which, uint32_t otherwise)
{
	return attrs[which] && nla_len(attrs[which]) >= 4 ? nla_get_u32(attrs[which]) : otherwise;
}

static void each_route(struct dump *d, struct nlmsghdr *h)
{
	struct nlattr *attrs[RTA_MAX + 1];
	if (nlmsg_parse(h, sizeof(struct rtmsg), attrs, RTA_MAX, NULL) < 0)
		return;
	const struct rtmsg *head = nlmsg_data(h);
	struct netlink_seen_route r = {.family = family_of(head->rtm_family),
				       .dst_len = head->rtm_dst_len,
				       .type = head->rtm_type,
				       .protocol = head->rtm_protocol,
				       .table = u32_or(attrs, RTA_TABLE, head->rtm_table),
				       .metric = u32_or(attrs, RTA_PRIORITY, 0),
				       .oif = u32_or(attrs, RTA_OIF, 0)};
	size_t n = r.family == 6 ? 16 : 4;
	r.dst.family = r.family;
	if (attrs[RTA_DST] && (size_t)nla_len(attrs[RTA_DST]) == n)
		r.dst = addr_from_ip(nla_data(attrs[RTA_DST]), n, 0);
	if (r.family != 0 && !(head->rtm_flags & RTM_F_CLONED))
		d->enough = !d->fn_route(d->arg, &r);
}

static void each_rule(struct dump *d, struct nlmsghdr *h)
{
	struct nlattr *attrs[FRA_MAX + 1];
	if (nlmsg_parse(h, sizeof(struct fib_rule_hdr), attrs, FRA_MAX, NULL) < 0)
		return;
	const struct fib_rule_hdr *head = nlmsg_data(h);
	struct netlink_seen_rule r = {.family = family_of(head->family),
				      .priority = u32_or(attrs, FRA_PRIORITY, 0),
				      .table = u32_or(attrs, FRA_TABLE, head->table),
				      .mark = u32_or(attrs, FRA_FWMARK, 0),
				      .mask = u32_or(attrs, FRA_FWMASK, 0)};
	if (attrs[FRA_PROTOCOL] && nla_len(attrs[FRA_PROTOCOL]) >= 1)
		r.protocol = nla_get_u8(attrs[FRA_PROTOCOL]);
	if (r.family != 0)
		d->enough = !d->fn_rule(d->arg, &r);
}

static void each_addr(struct dump *d, struct nlmsghdr *h)
{
	struct nlattr *attrs[IFA_MAX + 1];
	if (nlmsg_parse(h, sizeof(struct ifaddrmsg), attrs, IFA_MAX, NULL) < 0)
		return;
	const struct ifaddrmsg *head = nlmsg_data(h);
	size_t n = head->ifa_family == AF_INET6 ? 16 : 4;
	/* On a point-to-point link ADDRESS is the far end, and the prefix is the far end's. */
	const struct nlattr *a = attrs[IFA_ADDRESS] ? attrs[IFA_ADDRESS] : attrs[IFA_LOCAL];
	for (int i = 0; i < 2 && a && (size_t)nla_len(a) == n && !d->enough; i++) {
		struct netlink_seen_addr seen = {.index = head->ifa_index,
						 .len = head->ifa_prefixlen};
		seen.addr = addr_from_ip(nla_data(a), n, 0);
		d->enough = !d->fn_addr(d->arg, &seen);
		if (!attrs[IFA_LOCAL] || a == attrs[IFA_LOCAL] ||
		    nla_memcmp(a, nla_data(attrs[IFA_LOCAL]), n) == 0)
			break;
		a = attrs[IFA_LOCAL]; /* and our own end, if it is another address */
	}
}

int netlink_each_route(struct nl_sock *s, bool (*fn)(void *arg, const struct netlink_seen_route *r),
		       void *arg)
{
	struct dump d = {.each = each_route, .fn_route = fn, .arg = arg};
	return dump(s, RTM_GETROUTE, &d);
}

int netlink_each_rule(struct nl_sock *s, bool (*fn)(void *arg, const struct netlink_seen_rule *r),
		      void *arg)
{
	struct dump d = {.each = each_rule, .fn_rule = fn, .arg = arg};
	return dump(s, RTM_GETRULE, &d);
}

int netlink_each_addr(struct nl_sock *s, bool (*fn)(void *arg, const struct netlink_seen_addr *a),
		      void *arg)
{
	struct dump d = {.each = each_addr, .fn_addr = fn, .arg = arg};
	return dump(s, RTM_GETADDR, &d);
}
