/* routing/exit.c - see routing/host.h: an exit's forwarding and masquerading. */
#include "routing/host.h"
#include <dirent.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "routing/netinfo.h"
#include "routing/steps.h"
#include "routing/sysctl.h"

#define EXIT_TABLE_PREFIX "sispopnet_exit_"
#define EXIT_NAME_CHARS	  32
#define EXIT_RULES_MAX	  24
#define EXIT_MTU_LEAST	  1280
#define PRIORITY_RAW	  (-300)
#define PRIORITY_FILTER	  0
#define PRIORITY_SRCNAT	  100
#define PORT_UNPRIVILEGED 1024
#define ECHO_REPLY4	  0
#define ECHO_REQUEST4	  8
#define ECHO_REQUEST6	  128
#define ECHO_REPLY6	  129

static int check_range(const struct prefix *range, const struct addr *own, uint8_t family,
		       char *err)
{
	if (range->addr.family == 0)
		return 0;
	if (range->addr.family != family || own->family != family || !prefix_has(range, own))
		return routing_fail(
			err, -EINVAL,
			"The exit's own IPv%d address does not lie in its range of leases.",
			family);
	return 0;
}

static int check_values(const struct host_exit *e, char *err)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
	size_t n = strlen(e->name);
	if (n == 0 || n > EXIT_NAME_CHARS || strspn(e->name, allowed) != n)
		return routing_fail(
			err, -EINVAL,
			"\"%s\" cannot name an exit: 1 to %d letters, digits and underscores.",
			e->name, EXIT_NAME_CHARS);
	n = strlen(e->ifname);
	if (n == 0 || n >= IFNAMSIZ)
		return routing_fail(err, -EINVAL, "\"%s\" is no name for an interface.", e->ifname);
	if (e->mtu < EXIT_MTU_LEAST)
		return routing_fail(err, -EINVAL, "An MTU of %u is below the least, %u.", e->mtu,
				    EXIT_MTU_LEAST);
	if (e->range4.addr.family == 0 && e->range6.addr.family == 0)
		return routing_fail(err, -EINVAL, "An exit needs a range of leases.");
	int rc = check_range(&e->range4, &e->address4, 4, err);
	return rc < 0 ? rc : check_range(&e->range6, &e->address6, 6, err);
}

/* No network of this host may lie in a range: its packets would go to clients. */
static int check_overlap(const struct host_exit *e, char *err)
{
	struct prefix *local = calloc(NETINFO_PREFIXES_MAX, sizeof(*local));
	size_t n = 0;
	if (!local)
		return routing_fail(err, -ENOMEM,
				    "There is no memory to list this host's networks.");
	int rc = netinfo_local_prefixes(e->ifname, local, NETINFO_PREFIXES_MAX, &n, err);
	for (size_t i = 0; i < n && rc == 0; i++) {
		char text[ADDR_TEXT_BYTES];
		if ((e->range4.addr.family && prefix_overlaps(&local[i], &e->range4)) ||
		    (e->range6.addr.family && prefix_overlaps(&local[i], &e->range6)))
			rc = routing_fail(
				err, -EBUSY,
				"The range of leases overlaps %s, a network of this host: set "
				"another range in the configuration.",
				prefix_text(&local[i], text));
	}
	free(local);
	return rc;
}

static void table_name(const struct host_exit *e, char name[NFT_TABLE_NAME_BYTES])
{
	snprintf(name, NFT_TABLE_NAME_BYTES, EXIT_TABLE_PREFIX "%s", e->name);
}

static int check_all(const struct host_exit *e, char *err)
{
	char name[NFT_TABLE_NAME_BYTES];
	int rc = check_values(e, err);
	if (rc == 0)
		rc = check_overlap(e, err);
	if (rc < 0)
		return rc;
	table_name(e, name);
	rc = nft_table_exists(name);
	if (rc > 0)
		return routing_fail(
			err, -EBUSY,
			"The nftables table inet %s is there already: remove it (nft delete "
			"table inet %s), or give the exit another name.",
			name, name);
	if (rc < 0)
		return routing_fail(
			err, rc,
			"The nftables tables cannot be read: %s: CAP_NET_ADMIN and a kernel with "
			"nf_tables are needed.",
			strerror(-rc));
	return 0;
}

int host_exit_check(struct host *h, const struct host_exit *e, char *err)
{
	(void)h;
	if (if_nametoindex(e->ifname) != 0)
		return routing_fail(
			err, -EBUSY,
			"The interface name %s is in use: remove that interface (ip link del %s) "
			"or set another name in the configuration.",
			e->ifname, e->ifname);
	return check_all(e, err);
}

struct rules {
	struct nft_rule rule[EXIT_RULES_MAX];
	size_t n;
};

static void add_rule(struct rules *r, const char *chain, enum nft_verdict verdict,
		     struct nft_match a, struct nft_match b)
{
	r->rule[r->n++] = (struct nft_rule){.chain = chain, .match = {a, b}, .verdict = verdict};
}

/* Masquerade what comes from the leases, UDP to a source port other than the relay's (0: it has
 * none in this family): what comes back to that one is not tracked. Ports below it stay below it,
 * since a privileged one may mean something to who is asked. */
static void add_masquerade(struct rules *r, struct nft_match lease, struct nft_match elsewhere,
			   uint16_t port)
{
	struct nft_rule rule = {
		.chain = "nat",
		.match = {lease, elsewhere, {.kind = MATCH_UDP_SPORT_BELOW, .number = port}},
		.verdict = DO_MASQUERADE,
		.port_min = 1,
		.port_max = (uint16_t)(port - 1)};
	if (port > 1)
		r->rule[r->n++] = rule;
	rule.match[2].kind = MATCH_UDP;
	rule.port_min = port < UINT16_MAX ? (uint16_t)(port + 1) : PORT_UNPRIVILEGED;
	rule.port_max = port < UINT16_MAX ? UINT16_MAX : UINT16_MAX - 1;
	if (port > 0)
		r->rule[r->n++] = rule;
	add_rule(r, "nat", DO_MASQUERADE, lease, elsewhere);
}

static void add_untracked(struct rules *r, const struct prefix *relay)
{
	const struct nft_match from = {.kind = MATCH_SRC_IN, .prefix = relay};
	const struct nft_match to = {.kind = MATCH_DST_IN, .prefix = relay};
	const struct nft_match sport = {.kind = MATCH_UDP_SPORT, .number = relay->addr.port};
	const struct nft_match dport = {.kind = MATCH_UDP_DPORT, .number = relay->addr.port};
	add_rule(r, "arrive", DO_NOTRACK, to, dport);
	add_rule(r, "send", DO_NOTRACK, from, sport);
}

static int exit_table(struct host *h, const struct host_exit *e, char *err)
{
	static const struct nft_chain chains[] = {
		{"forward", "filter", NF_INET_FORWARD, PRIORITY_FILTER},
		{"input", "filter", NF_INET_LOCAL_IN, PRIORITY_FILTER},
		{"nat", "nat", NF_INET_POST_ROUTING, PRIORITY_SRCNAT},
		{"arrive", "filter", NF_INET_PRE_ROUTING, PRIORITY_RAW},
		{"send", "filter", NF_INET_LOCAL_OUT, PRIORITY_RAW},
	};
	static const struct nft_match echos[] = {
		{.kind = MATCH_ICMP_TYPE, .family = 4, .number = ECHO_REQUEST4},
		{.kind = MATCH_ICMP_TYPE, .family = 4, .number = ECHO_REPLY4},
		{.kind = MATCH_ICMP_TYPE, .family = 6, .number = ECHO_REQUEST6},
		{.kind = MATCH_ICMP_TYPE, .family = 6, .number = ECHO_REPLY6},
	};
	const struct nft_match none = {.kind = MATCH_END};
	const struct nft_match from = {.kind = MATCH_IIF_IS, .ifname = e->ifname};
	const struct nft_match to = {.kind = MATCH_OIF_IS, .ifname = e->ifname};
	const struct nft_match elsewhere = {.kind = MATCH_OIF_NOT, .ifname = e->ifname};
	const struct nft_match answer = {.kind = MATCH_CT_ANSWER};
	const struct prefix *ranges[] = {&e->range4, &e->range6};
	const struct prefix relays[] = {{e->relay4, 32}, {e->relay6, 128}};
	struct rules r = {.n = 0};
	add_rule(&r, "forward", DO_DROP, from, to);
	for (size_t i = 0; i < 2; i++) {
		const struct nft_match lease = {.kind = MATCH_SRC_IN, .prefix = ranges[i]};
		if (relays[i].addr.family)
			add_untracked(&r, &relays[i]);
		if (ranges[i]->addr.family == 0)
			continue;
		add_rule(&r, "forward", DO_ACCEPT, from, lease);
		add_masquerade(&r, lease, elsewhere, relays[i].addr.port);
	}
	add_rule(&r, "forward", DO_DROP, from, none);
	add_rule(&r, "forward", DO_ACCEPT, to, answer);
	add_rule(&r, "forward", DO_DROP, to, none);
	for (size_t i = 0; i < sizeof(echos) / sizeof(*echos); i++)
		add_rule(&r, "input", DO_ACCEPT, from, echos[i]);
	add_rule(&r, "input", DO_DROP, from, none);
	char name[NFT_TABLE_NAME_BYTES];
	table_name(e, name);
	struct nft_table t = {name, chains, sizeof(chains) / sizeof(*chains), r.rule, r.n};
	return step_nft(h, &t, err);
}

typedef int each_interface_fn(struct host *h, const char *dir, const char *ifname, char *err);

/* Call fn for every interface that stands in /proc/sys/<dir> (and "default"), "all" aside. */
static int each_interface(struct host *h, const char *dir, each_interface_fn *fn, char *err)
{
	char path[SYSCTL_PATH_BYTES];
	snprintf(path, sizeof(path), "/proc/sys/%s", dir);
	DIR *d = opendir(path);
	if (!d)
		return routing_fail(err, -errno, "%s cannot be read: %s.", path, strerror(errno));
	int rc = 0;
	for (struct dirent *entry; rc == 0 && (entry = readdir(d));) {
		if (entry->d_name[0] != '.' && strcmp(entry->d_name, "all") != 0)
			rc = fn(h, dir, entry->d_name, err);
	}
	closedir(d);
	return rc;
}

/* The kernel sets every interface's value along with the global one, so restoring that turns all to
 * 0: note those that are on by themselves. */
static int save_forwarding(struct host *h, const char *dir, const char *ifname, char *err)
{
	char name[SYSCTL_PATH_BYTES], value[SYSCTL_VALUE_BYTES];
	snprintf(name, sizeof(name), "%s/%s/forwarding", dir, ifname);
	if (sysctl_read(name, value) < 0 || strcmp(value, "0") == 0)
		return 0;
	return step_sysctl_side(h, name, value, "0", err);
}

/* A host that forwards IPv6 ignores routers' advertisements and forgets the default routes learnt
 * from them, unless accept_ra is 2. */
static int keep_accepting_ra(struct host *h, const char *dir, const char *ifname, char *err)
{
	char name[SYSCTL_PATH_BYTES], value[SYSCTL_VALUE_BYTES];
	snprintf(name, sizeof(name), "%s/%s/accept_ra", dir, ifname);
	if (strcmp(ifname, "default") == 0 || strcmp(ifname, "lo") == 0 ||
	    sysctl_read(name, value) < 0 || strcmp(value, "1") != 0)
		return 0;
	int rc = step_sysctl(h, name, "2", err);
	return rc == -ENOENT ? 0 : rc; /* the interface went away */
}

/* Turning ip_forward off again sets this to 1 (inet_forward_change() in net/ipv4/devinet.c). */
static int save_accept_redirects(struct host *h, char *err)
{
	static const char name[] = "net/ipv4/conf/all/accept_redirects";
	char value[SYSCTL_VALUE_BYTES];
	if (sysctl_read(name, value) < 0 || strcmp(value, "1") == 0)
		return 0;
	return step_sysctl_side(h, name, value, "1", err);
}

static int forward_ipv4(struct host *h, char *err)
{
	char value[SYSCTL_VALUE_BYTES];
	if (sysctl_read("net/ipv4/ip_forward", value) == 0 && strcmp(value, "1") == 0)
		return 0;
	int rc = each_interface(h, "net/ipv4/conf", save_forwarding, err);
	if (rc == 0)
		rc = save_accept_redirects(h, err);
	return rc < 0 ? rc : step_sysctl(h, "net/ipv4/ip_forward", "1", err);
}

static int forward_ipv6(struct host *h, char *err)
{
	char value[SYSCTL_VALUE_BYTES];
	int rc = sysctl_read("net/ipv6/conf/all/forwarding", value);
	if (rc < 0)
		return routing_fail(
			err, rc,
			"This kernel has no IPv6: leave the IPv6 range of leases out of "
			"the configuration.");
	if (strcmp(value, "1") == 0)
		return 0;
	rc = each_interface(h, "net/ipv6/conf", keep_accepting_ra, err);
	if (rc == 0)
		rc = each_interface(h, "net/ipv6/conf", save_forwarding, err);
	return rc < 0 ? rc : step_sysctl(h, "net/ipv6/conf/all/forwarding", "1", err);
}

/* The filter stands before the first packet can be forwarded. */
static int set_up(struct host *h, const struct host_exit *e, char *err)
{
	int rc = exit_table(h, e, err);
	if (rc == 0)
		rc = step_link(h, e->ifname, e->mtu, err);
	if (rc == 0 && e->range4.addr.family)
		rc = step_addr(h, e->ifname, &e->address4, e->range4.len, err);
	if (rc == 0 && e->range6.addr.family)
		rc = step_addr(h, e->ifname, &e->address6, e->range6.len, err);
	if (rc == 0 && e->range4.addr.family)
		rc = forward_ipv4(h, err);
	if (rc == 0 && e->range6.addr.family)
		rc = forward_ipv6(h, err);
	return rc;
}

int host_exit_up(struct host *h, const struct host_exit *e, char *err)
{
	uint64_t mark = journal_mark(h->journal);
	int rc = check_all(e, err);
	if (rc < 0)
		return rc;
	rc = set_up(h, e, err);
	if (rc < 0)
		steps_roll_back(h, mark);
	return rc;
}
