/* routing/steer.c - see routing/steer.h. The rules are those of wg-quick (add_default in
 * linux.bash) and of Mullvad's talpid-routing, and what ranges need beyond. */
#include "routing/steer.h"
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include "routing/netinfo.h"
#include "routing/steps.h"

#define IPV6_METRIC 1024 /* that IPv6 takes anyway, so that undo names the very route */
#define RULES_MAX   (STEER_RANGES_MAX + 2)
#define ROUTES_MAX  (STEER_RANGES_MAX + 1)

/* Priorities, counted back from `before`. */
enum { ALL_REST = 1, ALL_LOCAL = 2, SOME_REST = 3, SOME_LOCAL = 4, SOME_BOUND = 5 };

struct routes {
	struct netlink_route route[ROUTES_MAX];
	size_t n;
};

struct rules {
	struct netlink_rule rule[RULES_MAX];
	size_t n;
};

uint32_t steer_priorities(const struct host_client *c)
{
	return c->nranges ? SOME_BOUND : ALL_LOCAL;
}

/* --- the plan --- */

static bool same_prefix(const struct prefix *a, const struct prefix *b)
{
	return a->len == b->len && (a->len == 0 || (a->addr.family == b->addr.family &&
						    addr_equal_ip(&a->addr, &b->addr)));
}

/* One below the length at which a route of main wins: the range's, or that of a network around it
 * that this host is on, since those stay local. */
static uint8_t suppressed(const struct prefix *to, const struct prefix *local, size_t n)
{
	uint8_t len = to->len;
	for (size_t i = 0; i < n; i++) {
		if (local[i].len > 0 && local[i].len < len && prefix_has(&local[i], &to->addr))
			len = local[i].len;
	}
	return (uint8_t)(len - 1);
}

static void add_range(struct steer *s, const struct prefix *to, const struct prefix *local,
		      size_t n)
{
	for (size_t i = 0; i < s->nranges; i++) {
		if (same_prefix(&s->range[i].to, to))
			return;
	}
	s->range[s->nranges++] = (struct steer_range){*to, suppressed(to, local, n)};
}

/* A range of length 0 would be the default route, which is there for bound sockets alone. */
static void add_halves(struct steer *s, const struct prefix *all, const struct prefix *local,
		       size_t n)
{
	struct prefix half = {.addr = all->addr, .len = 1};
	add_range(s, &half, local, n);
	half.addr.ip[0] = 0x80;
	add_range(s, &half, local, n);
}

int steer_plan(const struct host_client *c, uint32_t before, struct steer *ret, char *err)
{
	struct prefix *local = calloc(NETINFO_PREFIXES_MAX, sizeof(*local));
	size_t n = 0;
	if (!local)
		return routing_fail(err, -ENOMEM, "There is no memory for the ranges.");
	int rc = c->nranges
			 ? netinfo_local_prefixes(c->ifname, local, NETINFO_PREFIXES_MAX, &n, err)
			 : 0;
	*ret = (struct steer){.client = c, .before = before};
	for (size_t i = 0; i < c->nranges && rc == 0; i++) {
		if (c->ranges[i].len == 0)
			add_halves(ret, &c->ranges[i], local, n);
		else
			add_range(ret, &c->ranges[i], local, n);
	}
	free(local);
	return rc;
}

/* --- the lists --- */

static const struct addr *lease_of(const struct steer *s, uint8_t family)
{
	return family == 6 ? &s->client->v6 : &s->client->v4;
}

static struct netlink_route tunnel_route(const struct steer *s, uint8_t family)
{
	return (struct netlink_route){.family = family,
				      .oif = if_nametoindex(s->client->ifname),
				      .table = s->client->table,
				      .metric = family == 6 ? IPV6_METRIC : 0};
}

static struct netlink_route guard_route(const struct steer *s, uint8_t family)
{
	return (struct netlink_route){.family = family,
				      .is_unreachable = true,
				      .table = s->client->table,
				      .metric = HOST_GUARD_METRIC};
}

static void add_ranges(const struct steer *s, struct netlink_route like, struct routes *l)
{
	for (size_t i = 0; i < s->nranges; i++) {
		if (s->range[i].to.addr.family != like.family)
			continue;
		like.to = s->range[i].to;
		l->route[l->n++] = like;
	}
}

static struct routes tunnels(const struct steer *s, uint8_t family)
{
	struct routes l = {.n = 0};
	if (lease_of(s, family)->family == 0)
		return l;
	l.route[l.n++] = tunnel_route(s, family);
	add_ranges(s, tunnel_route(s, family), &l);
	return l;
}

static struct routes guards(const struct steer *s, uint8_t family)
{
	struct routes l = {.n = 0};
	if (s->nranges == 0)
		l.route[l.n++] = guard_route(s, family);
	add_ranges(s, guard_route(s, family), &l);
	return l;
}

/* A rule with a prefix of the range's, or none. */
static struct rules rules(const struct steer *s, uint8_t family)
{
	struct rules l = {.n = 0};
	struct netlink_rule local = {.family = family, .priority = s->before - ALL_LOCAL};
	struct netlink_rule rest = {.family = family,
				    .priority = s->before - ALL_REST,
				    .mark = s->client->mark,
				    .table = s->client->table,
				    .suppress = NETLINK_SUPPRESS_NONE};
	struct netlink_rule bound = {.family = family,
				     .priority = s->before - SOME_BOUND,
				     .oifname = s->client->ifname,
				     .table = s->client->table,
				     .suppress = NETLINK_SUPPRESS_NONE};
	if (s->nranges) {
		l.rule[l.n++] = bound;
		local.priority = s->before - SOME_LOCAL;
		rest.priority = s->before - SOME_REST;
		rest.suppress = 0;
	} else {
		l.rule[l.n++] = local;
	}
	for (size_t i = 0; i < s->nranges; i++) {
		if (s->range[i].to.addr.family != family)
			continue;
		local.to = s->range[i].to;
		local.suppress = s->range[i].suppress;
		l.rule[l.n++] = local;
	}
	l.rule[l.n++] = rest;
	return l;
}

/* --- the steps --- */

static bool has_route(const struct routes *l, const struct netlink_route *r)
{
	for (size_t i = 0; l && i < l->n; i++) {
		if (same_prefix(&l->route[i].to, &r->to))
			return true;
	}
	return false;
}

static bool has_rule(const struct rules *l, const struct netlink_rule *r)
{
	for (size_t i = 0; l && i < l->n; i++) {
		if (l->rule[i].priority == r->priority && l->rule[i].suppress == r->suppress &&
		    same_prefix(&l->rule[i].to, &r->to))
			return true;
	}
	return false;
}

static const char *link_of(const struct steer *s, const struct netlink_route *r)
{
	return r->is_unreachable ? "" : s->client->ifname;
}

/* What is in `list` and not in `have` (NULL: nothing). */
static int add_routes(struct host *h, const struct steer *s, const struct routes *list,
		      const struct routes *have, char *err)
{
	int rc = 0;
	for (size_t i = 0; i < list->n && rc == 0; i++) {
		if (!has_route(have, &list->route[i]))
			rc = step_route(h, link_of(s, &list->route[i]), &list->route[i], err);
	}
	return rc;
}

/* What is in `list` and not in `keep` (NULL: nothing), newest first. */
static int remove_routes(struct host *h, const struct steer *s, const struct routes *list,
			 const struct routes *keep, char *err)
{
	int rc = 0;
	for (size_t i = list->n; i-- > 0 && rc == 0;) {
		const struct netlink_route *r = &list->route[i];
		if (!has_route(keep, r))
			rc = unstep(h, "route", what_route(link_of(s, r), r), err);
	}
	return rc;
}

static int add_rules(struct host *h, const struct rules *list, const struct rules *have, char *err)
{
	int rc = 0;
	for (size_t i = 0; i < list->n && rc == 0; i++) {
		if (!has_rule(have, &list->rule[i]))
			rc = step_rule(h, &list->rule[i], err);
	}
	return rc;
}

static int remove_rules(struct host *h, const struct rules *list, const struct rules *keep,
			char *err)
{
	int rc = 0;
	for (size_t i = list->n; i-- > 0 && rc == 0;) {
		if (!has_rule(keep, &list->rule[i]))
			rc = unstep(h, "rule", what_rule(&list->rule[i]), err);
	}
	return rc;
}

static int add_lease(struct host *h, const struct steer *s, uint8_t family, char *err)
{
	const struct addr *a = lease_of(s, family);
	return a->family ? step_addr(h, s->client->ifname, a, family == 6 ? 128 : 32, err) : 0;
}

static int remove_lease(struct host *h, const struct steer *s, uint8_t family, char *err)
{
	const struct addr *a = lease_of(s, family);
	if (a->family == 0)
		return 0;
	return unstep(h, "addr", what_addr(s->client->ifname, a, family == 6 ? 128 : 32), err);
}

/* --- set-up and change --- */

static int family_up(struct host *h, const struct steer *s, uint8_t family, char *err)
{
	const struct routes guard = guards(s, family), tunnel = tunnels(s, family);
	const struct rules rule = rules(s, family);
	int rc = add_routes(h, s, &guard, NULL, err);
	if (rc == 0)
		rc = add_routes(h, s, &tunnel, NULL, err);
	return rc < 0 ? rc : add_rules(h, &rule, NULL, err);
}

int steer_up(struct host *h, const struct steer *s, char *err)
{
	int rc = add_lease(h, s, 4, err);
	if (rc == 0 && h->has_ipv6)
		rc = add_lease(h, s, 6, err);
	if (rc == 0 && h->has_ipv6) /* before IPv4: what could leak is closed first */
		rc = family_up(h, s, 6, err);
	return rc < 0 ? rc : family_up(h, s, 4, err);
}

/* The routes go before the address that they would speak with, and come after it; between the two
 * the guards refuse. */
static int move_lease(struct host *h, const struct steer *old, const struct steer *new,
		      uint8_t family, char *err)
{
	const struct routes was = tunnels(old, family), is = tunnels(new, family);
	int rc = remove_routes(h, old, &was, NULL, err);
	if (rc == 0)
		rc = remove_lease(h, old, family, err);
	if (rc == 0)
		rc = add_lease(h, new, family, err);
	return rc < 0 ? rc : add_routes(h, new, &is, NULL, err);
}

static int change_tunnels(struct host *h, const struct steer *old, const struct steer *new,
			  uint8_t family, char *err)
{
	const struct addr *a = lease_of(old, family), *b = lease_of(new, family);
	const struct routes was = tunnels(old, family), is = tunnels(new, family);
	if (a->family != b->family || !addr_equal_ip(a, b))
		return move_lease(h, old, new, family, err);
	return add_routes(h, new, &is, &was, err);
}

static int change_family(struct host *h, const struct steer *old, const struct steer *new,
			 uint8_t family, char *err)
{
	const struct routes guarded = guards(old, family), guard = guards(new, family);
	const struct routes was = tunnels(old, family), is = tunnels(new, family);
	const struct rules ruled = rules(old, family), rule = rules(new, family);
	int rc = add_routes(h, new, &guard, &guarded, err);
	if (rc == 0)
		rc = change_tunnels(h, old, new, family, err);
	if (rc == 0)
		rc = add_rules(h, &rule, &ruled, err);
	if (rc == 0)
		rc = remove_rules(h, &ruled, &rule, err);
	if (rc == 0) /* gone already when the lease moved: absent is as good as removed */
		rc = remove_routes(h, old, &was, &is, err);
	return rc < 0 ? rc : remove_routes(h, old, &guarded, &guard, err);
}

int steer_change(struct host *h, const struct steer *old, const struct steer *new, char *err)
{
	int rc = change_family(h, old, new, 4, err);
	return rc < 0 || !h->has_ipv6 ? rc : change_family(h, old, new, 6, err);
}
