/* routing/client.c - see routing/host.h: what a client changes and what it does not take from
 * others. Routes and rules stand in steer.c. */
#include "routing/host.h"
#include <dirent.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "routing/steps.h"
#include "routing/sysctl.h"

#define CLIENT_TABLE_PREFIX "sispopnet_"
#define RULE_PRIORITY_MAX   31000 /* ahead of "main" (32766), behind nothing but "local" */
#define PRIORITY_RAW	    (-300)
#define PRIORITY_MANGLE	    (-150)
#define PRIORITY_LAST	    300
#define CLIENT_RULES_MAX    12
#define IPV6_MTU_LEAST	    1280
#define IPV4_MTU_LEAST	    576
#define TABLE_COMPAT_FIRST  252 /* compat, default, main, local */
#define TABLE_COMPAT_LAST   255

static int check_values(const struct host_client *c, char *err)
{
	unsigned least = c->v6.family ? IPV6_MTU_LEAST : IPV4_MTU_LEAST;
	size_t n = strlen(c->ifname);
	if (n == 0 || n >= IFNAMSIZ)
		return routing_fail(err, -EINVAL, "\"%s\" is no name for an interface.", c->ifname);
	if (c->mark == 0)
		return routing_fail(err, -EINVAL, "The firewall mark must not be 0.");
	if (c->table == 0 || (c->table >= TABLE_COMPAT_FIRST && c->table <= TABLE_COMPAT_LAST))
		return routing_fail(err, -EINVAL,
				    "The routing table %u is one of the system's: set another.",
				    c->table);
	if ((c->v4.family != 0 && c->v4.family != 4) || (c->v6.family != 0 && c->v6.family != 6))
		return routing_fail(err, -EINVAL, "A lease is not of its family.");
	if (c->nranges > HOST_RANGES_MAX)
		return routing_fail(err, -EINVAL, "%zu ranges are more than %d.", c->nranges,
				    HOST_RANGES_MAX);
	if (c->mtu < least)
		return routing_fail(err, -EINVAL, "An MTU of %u is below the least, %u.", c->mtu,
				    least);
	return 0;
}

struct conflicts {
	const struct host_client *c;
	bool table_has_routes;
	uint8_t route_protocol;
	bool rule_has_mark, rule_has_table;
	uint32_t rule;	 /* priority of the one found */
	uint32_t lowest; /* priority above 0 */
};

static bool see_route(void *arg, const struct netlink_seen_route *r)
{
	struct conflicts *f = arg;
	if (r->table == f->c->table)
		f->table_has_routes = true;
	return !f->table_has_routes;
}

static bool see_rule(void *arg, const struct netlink_seen_rule *r)
{
	struct conflicts *f = arg;
	if (r->priority > 0 && r->priority < f->lowest)
		f->lowest = r->priority;
	bool mark = r->mark == f->c->mark;
	if (mark || r->table == f->c->table) {
		f->rule_has_mark = mark;
		f->rule_has_table = !mark;
		f->rule = r->priority;
	}
	return true;
}

/* Look for others' use of what we are about to take; `lowest` is where our rules may go before. */
static int find_conflicts(struct host *h, const struct host_client *c, struct conflicts *f,
			  char *err)
{
	*f = (struct conflicts){.c = c, .lowest = RULE_PRIORITY_MAX};
	int rc = netlink_each_route(h->nl, see_route, f);
	if (rc == 0)
		rc = netlink_each_rule(h->nl, see_rule, f);
	if (rc < 0)
		return routing_fail(err, rc, "The host's routes and rules cannot be read: %s.",
				    strerror(-rc));
	if (f->table_has_routes)
		return routing_fail(
			err, -EBUSY,
			"The routing table %u is in use by another program: set another table in "
			"the configuration.",
			c->table);
	if (f->rule_has_mark)
		return routing_fail(
			err, -EBUSY,
			"The firewall mark 0x%x is in use by another program (routing rule %u): "
			"set another mark in the configuration.",
			c->mark, f->rule);
	if (f->rule_has_table)
		return routing_fail(
			err, -EBUSY,
			"The routing table %u is in use by another program (routing rule %u): "
			"set another table in the configuration.",
			c->table, f->rule);
	if (f->lowest <= steer_priorities(c))
		return routing_fail(
			err, -EBUSY,
			"The routing rule %u leaves no room for ours before it: give it a higher "
			"priority.",
			f->lowest);
	return 0;
}

static void table_name(const struct host_client *c, char name[NFT_TABLE_NAME_BYTES])
{
	snprintf(name, NFT_TABLE_NAME_BYTES, CLIENT_TABLE_PREFIX "%s", c->ifname);
}

static int check_table(const struct host_client *c, char *err)
{
	char name[NFT_TABLE_NAME_BYTES];
	table_name(c, name);
	int rc = nft_table_exists(name);
	if (rc < 0)
		return routing_fail(
			err, rc,
			"The nftables tables cannot be read: %s: CAP_NET_ADMIN and a kernel with "
			"nf_tables are needed.",
			strerror(-rc));
	if (rc > 0)
		return routing_fail(
			err, -EBUSY,
			"The nftables table inet %s is there already: remove it (nft delete "
			"table inet %s), or set another interface name.",
			name, name);
	return 0;
}

int host_client_check(struct host *h, const struct host_client *c, char *err)
{
	struct conflicts f;
	int rc = check_values(c, err);
	if (rc < 0)
		return rc;
	if (if_nametoindex(c->ifname) != 0)
		return routing_fail(
			err, -EBUSY,
			"The interface name %s is in use: remove that interface (ip link del %s) "
			"or set another name in the configuration.",
			c->ifname, c->ifname);
	rc = find_conflicts(h, c, &f, err);
	return rc < 0 ? rc : check_table(c, err);
}

/* Strict where max(all, interface) is 1; "default" stands for interfaces to come. */
static bool has_strict_rp_filter(void)
{
	char value[SYSCTL_VALUE_BYTES], name[SYSCTL_PATH_BYTES];
	bool strict = false;
	if (sysctl_read("net/ipv4/conf/all/rp_filter", value) < 0)
		return false;
	int all = atoi(value);
	DIR *dir = opendir("/proc/sys/net/ipv4/conf");
	for (struct dirent *d; dir && !strict && (d = readdir(dir));) {
		if (d->d_name[0] == '.' || strcmp(d->d_name, "all") == 0 ||
		    strcmp(d->d_name, "lo") == 0)
			continue;
		int n = snprintf(name, sizeof(name), "net/ipv4/conf/%s/rp_filter", d->d_name);
		if (n < 0 || (size_t)n >= sizeof(name) || sysctl_read(name, value) < 0)
			continue;
		strict = (atoi(value) > all ? atoi(value) : all) == 1;
	}
	if (dir)
		closedir(dir);
	return strict;
}

/* The daemon's datagrams, unseen by the connection tracker. Their answers find no mark in it then,
 * which a strict rp_filter needs. Who is routed by this host may say the same port: it must not get
 * the mark, which leads around the tunnel, nor past a firewall or NAT that tracks. */
static size_t untracked_rules(const struct host_client *c, bool strict, struct nft_rule *rules)
{
	const uint16_t ports[] = {c->port4, c->port6};
	const uint8_t families[] = {4, 6};
	size_t n = 0;
	for (size_t i = 0; i < 2; i++) {
		if (ports[i] == 0)
			continue;
		struct nft_rule in = {.chain = "guard",
				      .match = {{.kind = MATCH_IIF_NOT, .ifname = c->ifname},
						{.kind = MATCH_UDP_DPORT,
						 .family = families[i],
						 .number = ports[i]},
						{.kind = MATCH_DST_HERE}},
				      .verdict = DO_NOTRACK};
		rules[n++] = in;
		in.verdict = DO_SET_META_MARK;
		in.mark = c->mark;
		if (strict)
			rules[n++] = in;
		rules[n++] =
			(struct nft_rule){.chain = "own",
					  .match = {{.kind = MATCH_META_MARK, .number = c->mark},
						    {.kind = MATCH_UDP_SPORT,
						     .family = families[i],
						     .number = ports[i]}},
					  .verdict = DO_NOTRACK};
	}
	return n;
}

/* The client's table: who asks for a lease from outside the TUN gets nothing, and what speaks with
 * a lease leaves by the TUN alone, since a hostile exit could have us answer a stranger beside the
 * tunnel; marked connections keep the mark. */
static int client_table(struct host *h, const struct host_client *c, bool replace, char *err)
{
	static const struct nft_chain chains[] = {
		{"guard", "filter", NF_INET_PRE_ROUTING, PRIORITY_RAW},
		{"leave", "filter", NF_INET_POST_ROUTING, PRIORITY_LAST},
		{"own", "filter", NF_INET_LOCAL_OUT, PRIORITY_RAW},
		{"restore", "filter", NF_INET_PRE_ROUTING, PRIORITY_MANGLE},
		{"save", "filter", NF_INET_POST_ROUTING, PRIORITY_MANGLE},
	};
	char name[NFT_TABLE_NAME_BYTES];
	struct prefix leases[2] = {{c->v4, 32}, {c->v6, 128}};
	struct nft_rule rules[CLIENT_RULES_MAX];
	size_t n = 0;
	for (size_t i = 0; i < 2; i++) {
		if (leases[i].addr.family == 0)
			continue;
		rules[n++] = (struct nft_rule){"guard",
					       {{.kind = MATCH_IIF_NOT, .ifname = c->ifname},
						{.kind = MATCH_IIF_NOT, .ifname = "lo"},
						{.kind = MATCH_DST_IN, .prefix = &leases[i]}},
					       .verdict = DO_DROP};
		rules[n++] = (struct nft_rule){"leave",
					       {{.kind = MATCH_OIF_NOT, .ifname = c->ifname},
						{.kind = MATCH_OIF_NOT, .ifname = "lo"},
						{.kind = MATCH_SRC_IN, .prefix = &leases[i]}},
					       .verdict = DO_DROP};
	}
	bool strict = has_strict_rp_filter();
	n += untracked_rules(c, strict, rules + n);
	if (strict) {
		rules[n++] = (struct nft_rule){"restore",
					       {{.kind = MATCH_CT_MARK, .number = c->mark}},
					       .verdict = DO_SET_META_MARK,
					       .mark = c->mark};
		rules[n++] = (struct nft_rule){"save",
					       {{.kind = MATCH_META_MARK, .number = c->mark}},
					       .verdict = DO_SET_CT_MARK,
					       .mark = c->mark};
	}
	table_name(c, name);
	struct nft_table t = {name, chains, strict ? 5 : 3, rules, n};
	if (!replace)
		return step_nft(h, &t, err);
	int rc = nft_table_make(&t, true); /* the entry in the journal stands */
	if (rc < 0)
		return routing_fail(err, rc, "The nftables table inet %s cannot be changed: %s.",
				    name, strerror(-rc));
	return 0;
}

static int set_src_valid_mark(struct host *h, char *err)
{
	if (!has_strict_rp_filter())
		return 0;
	int rc = step_sysctl(h, "net/ipv4/conf/all/src_valid_mark", "1", err);
	return rc == -ENOENT
		       ? routing_fail(err, rc,
				      "This kernel has no src_valid_mark, which rp_filter = 1 "
				      "makes necessary: set rp_filter to 2.")
		       : rc;
}

/* With ranges, answers come through the TUN from addresses whose route is the uplink's (a DNS
 * server that verifies): strict rp_filter would drop them. The value goes with the TUN, so it needs
 * no entry. */
static int loosen_rp_filter(const struct host_client *c, char *err)
{
	char name[SYSCTL_PATH_BYTES];
	if (c->nranges == 0 || !has_strict_rp_filter())
		return 0;
	snprintf(name, sizeof(name), "net/ipv4/conf/%s/rp_filter", c->ifname);
	int rc = sysctl_write(name, "2");
	return rc < 0 ? routing_fail(err, rc, "/proc/sys/%s cannot be set to 2: %s.", name,
				     strerror(-rc))
		      : 0;
}

static int set_up(struct host *h, const struct host_client *c, const struct steer *s, char *err)
{
	int rc = set_src_valid_mark(h, err);
	if (rc == 0)
		rc = client_table(h, c, false, err);
	if (rc == 0)
		rc = step_link(h, c->ifname, c->mtu, err);
	if (rc == 0)
		rc = loosen_rp_filter(c, err);
	return rc < 0 ? rc : steer_up(h, s, err);
}

static void keep_client(struct host *h, const struct host_client *c, const struct steer *s)
{
	if (c->ifname != h->client_ifname)
		snprintf(h->client_ifname, sizeof(h->client_ifname), "%s", c->ifname);
	h->client = *c;
	h->client.ifname = h->client_ifname;
	h->client.ranges = NULL; /* the caller's; what they mean is in steer */
	h->steer = *s;
	h->steer.client = &h->client;
	h->client_is_up = true;
}

int host_client_up(struct host *h, const struct host_client *c, char *err)
{
	struct conflicts f;
	struct steer s;
	uint64_t mark = journal_mark(h->journal);
	int rc = check_values(c, err);
	if (rc == 0)
		rc = find_conflicts(h, c, &f, err);
	if (rc == 0)
		rc = check_table(c, err);
	if (rc == 0)
		rc = steer_plan(c, f.lowest, &s, err);
	if (rc < 0)
		return rc;
	rc = set_up(h, c, &s, err);
	if (rc < 0) {
		steps_roll_back(h, mark);
		return rc;
	}
	keep_client(h, c, &s);
	return 0;
}

static int change_mtu(struct host *h, const struct host_client *c, char *err)
{
	int rc = netlink_link_set(h->nl, if_nametoindex(c->ifname), c->mtu, true);
	if (rc < 0)
		return routing_fail(err, rc, "The MTU of %s cannot be set to %u: %s.", c->ifname,
				    c->mtu, strerror(-rc));
	return 0;
}

int host_client_change(struct host *h, const struct host_client *c, char *err)
{
	const struct host_client old = h->client;
	struct steer s;
	int rc = check_values(c, err);
	if (rc < 0)
		return rc;
	if (!h->client_is_up || strcmp(c->ifname, old.ifname) != 0 || c->table != old.table ||
	    c->mark != old.mark)
		return routing_fail(err, -EINVAL, "The set-up of %s cannot be changed into that.",
				    c->ifname);
	if (h->steer.before <= steer_priorities(c))
		return routing_fail(err, -EBUSY,
				    "The routing rule %u leaves no room for those of ranges before "
				    "it: give it a higher priority.",
				    h->steer.before);
	rc = steer_plan(c, h->steer.before, &s, err);
	if (rc == 0)
		rc = loosen_rp_filter(c, err);
	/* A link below 1,280 bytes loses all its IPv6: grow before the new lease, shrink after the
	 * old. */
	if (rc == 0 && c->mtu > old.mtu)
		rc = change_mtu(h, c, err);
	if (rc == 0)
		rc = steer_change(h, &h->steer, &s, err);
	if (rc == 0)
		rc = client_table(h, c, true, err);
	if (rc == 0 && c->mtu < old.mtu)
		rc = change_mtu(h, c, err);
	if (rc == 0)
		keep_client(h, c, &s);
	return rc;
}

int host_client_track(struct host *h, char *err)
{
	struct host_client c = h->client;
	if (!h->client_is_up || (c.port4 == 0 && c.port6 == 0))
		return 0;
	c.port4 = c.port6 = 0;
	int rc = client_table(h, &c, true, err);
	if (rc == 0)
		h->client = c;
	return rc;
}
