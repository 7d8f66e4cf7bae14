/* routing/steps.c - see routing/steps.h. */
#include "routing/steps.h"
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include "routing/dns_undo.h"
#include "routing/sysctl.h"

/* The reason and the mend for what the kernel says most often. */
static const char *reason(int code)
{
	switch (-code) {
	case EPERM:
	case EACCES:
		return "not permitted: the capability CAP_NET_ADMIN is missing, or /proc/sys is read-only";
	case EEXIST:
		return "another program has made the same: remove it, or set another value";
	case EOPNOTSUPP:
	case EAFNOSUPPORT:
	case EPROTONOSUPPORT:
		return "this kernel cannot do it";
	default:
		return strerror(-code);
	}
}

/* Settle an entry after the change was tried. */
static int settle(struct host *h, uint64_t id, int rc)
{
	if (rc == 0)
		journal_done(h->journal, id);
	else if (rc == -EEXIST) /* it is another's: never take it away */
		journal_forget(h->journal, id);
	return rc;
}

static const char *text_of(const json_t *what, const char *key)
{
	const char *text = json_string_value(json_object_get(what, key));
	return text ? text : "";
}

static uint32_t number_of(const json_t *what, const char *key)
{
	return (uint32_t)json_integer_value(json_object_get(what, key));
}

/* The index under which the link was changed, or 0 when the link of that name is gone or another.
 */
static unsigned same_link(const json_t *what)
{
	unsigned index = if_nametoindex(text_of(what, "link"));
	return index == number_of(what, "index") ? index : 0;
}

static int is_gone(int code)
{
	return code == -ENODEV || code == -ESRCH || code == -ENOENT || code == -EADDRNOTAVAIL ||
	       code == -ENXIO || code == -EAFNOSUPPORT;
}

/* Absent is as good as removed. */
static int removed(int code, const char *thing, const char *name, char *err)
{
	if (code == 0 || is_gone(code))
		return 0;
	return routing_fail(err, code, "%s %s cannot be taken back: %s.", thing, name,
			    reason(code));
}

int step_link(struct host *h, const char *ifname, unsigned mtu, char *err)
{
	unsigned index = if_nametoindex(ifname);
	uint64_t id;
	if (index == 0)
		return routing_fail(err, -ENODEV, "There is no interface %s.", ifname);
	int rc = journal_begin(h->journal, "link", false,
			       json_pack("{s:s, s:I}", "link", ifname, "index", (json_int_t)index),
			       &id, err);
	if (rc < 0)
		return rc;
	rc = h->has_ipv6 ? netlink_link_quiet(h->nl, index) : 0;
	if (rc == 0 || is_gone(rc)) /* no IPv6 on this link: quiet already */
		rc = netlink_link_set(h->nl, index, mtu, true);
	rc = settle(h, id, rc);
	if (rc < 0)
		return routing_fail(err, rc, "The interface %s cannot be set up with MTU %u: %s.",
				    ifname, mtu, reason(rc));
	return 0;
}

static int undo_link(struct host *h, const json_t *what, char *err)
{
	unsigned index = same_link(what);
	if (index == 0)
		return 0;
	return removed(netlink_link_set(h->nl, index, 0, false), "The interface",
		       text_of(what, "link"), err);
}

json_t *what_addr(const char *ifname, const struct addr *a, uint8_t len)
{
	char text[ADDR_TEXT_BYTES];
	return json_pack("{s:s, s:I, s:s, s:i}", "link", ifname, "index",
			 (json_int_t)if_nametoindex(ifname), "addr", addr_ip_text(a, text), "len",
			 (int)len);
}

/* Hosts that set net.ipv6.conf.default.disable_ipv6 want no IPv6 of their own; the tunnel has it.
 * The value goes with the TUN, so it needs no entry. */
static int enable_ipv6(const char *ifname)
{
	char name[SYSCTL_PATH_BYTES], value[SYSCTL_VALUE_BYTES];
	snprintf(name, sizeof(name), "net/ipv6/conf/%s/disable_ipv6", ifname);
	int rc = sysctl_read(name, value);
	return rc == 0 && strcmp(value, "0") != 0 ? sysctl_write(name, "0") : rc;
}

int step_addr(struct host *h, const char *ifname, const struct addr *a, uint8_t len, char *err)
{
	uint64_t id;
	unsigned index = if_nametoindex(ifname);
	int rc = journal_begin(h->journal, "addr", false, what_addr(ifname, a, len), &id, err);
	if (rc < 0)
		return rc;
	rc = a->family == 6 ? enable_ipv6(ifname) : 0;
	if (rc == 0)
		rc = netlink_addr(h->nl, true, index, a, len);
	rc = settle(h, id, rc);
	if (rc < 0)
		return routing_fail(err, rc, "The IPv%d address of %s cannot be set: %s.",
				    a->family, ifname, reason(rc));
	return 0;
}

static int undo_addr(struct host *h, const json_t *what, char *err)
{
	struct addr a;
	unsigned index = same_link(what);
	if (index == 0 || addr_parse_ip(text_of(what, "addr"), &a) < 0)
		return 0;
	return removed(netlink_addr(h->nl, false, index, &a, (uint8_t)number_of(what, "len")),
		       "An address of", text_of(what, "link"), err);
}

static const char *to_text(const struct prefix *to, char text[ADDR_TEXT_BYTES])
{
	return to->len ? prefix_text(to, text) : "default";
}

static struct prefix to_of(const json_t *what)
{
	struct prefix to = {.len = 0};
	return prefix_parse(text_of(what, "to"), &to) < 0 ? (struct prefix){.len = 0} : to;
}

json_t *what_route(const char *ifname, const struct netlink_route *r)
{
	char text[ADDR_TEXT_BYTES];
	return json_pack("{s:i, s:s, s:b, s:s, s:I, s:I, s:I}", "family", (int)r->family, "to",
			 to_text(&r->to, text), "unreachable", (int)r->is_unreachable, "link",
			 ifname, "index", (json_int_t)r->oif, "table", (json_int_t)r->table,
			 "metric", (json_int_t)r->metric);
}

int step_route(struct host *h, const char *ifname, const struct netlink_route *r, char *err)
{
	uint64_t id;
	int rc = journal_begin(h->journal, "route", false, what_route(ifname, r), &id, err);
	if (rc < 0)
		return rc;
	rc = settle(h, id, netlink_route(h->nl, true, r));
	char text[ADDR_TEXT_BYTES];
	if (rc < 0)
		return routing_fail(err, rc, "The IPv%d route %s in table %u cannot be set: %s.",
				    r->family, to_text(&r->to, text), r->table, reason(rc));
	return 0;
}

static int undo_route(struct host *h, const json_t *what, char *err)
{
	struct netlink_route r = {.family = (uint8_t)number_of(what, "family"),
				  .to = to_of(what),
				  .is_unreachable =
					  json_is_true(json_object_get(what, "unreachable")),
				  .oif = number_of(what, "index"),
				  .table = number_of(what, "table"),
				  .metric = number_of(what, "metric")};
	if (!r.is_unreachable && same_link(what) == 0) /* it went with its link */
		return 0;
	char name[ADDR_TEXT_BYTES + 32], text[ADDR_TEXT_BYTES];
	snprintf(name, sizeof(name), "%s of table %u", to_text(&r.to, text), r.table);
	return removed(netlink_route(h->nl, false, &r), "The route", name, err);
}

json_t *what_rule(const struct netlink_rule *r)
{
	char text[ADDR_TEXT_BYTES];
	return json_pack("{s:i, s:I, s:I, s:I, s:s, s:s, s:i}", "family", (int)r->family,
			 "priority", (json_int_t)r->priority, "mark", (json_int_t)r->mark, "table",
			 (json_int_t)r->table, "to", to_text(&r->to, text), "oif",
			 r->oifname ? r->oifname : "", "suppress", r->suppress);
}

int step_rule(struct host *h, const struct netlink_rule *r, char *err)
{
	uint64_t id;
	int rc = journal_begin(h->journal, "rule", false, what_rule(r), &id, err);
	if (rc < 0)
		return rc;
	rc = settle(h, id, netlink_rule(h->nl, true, r));
	if (rc < 0)
		return routing_fail(err, rc, "The IPv%d routing rule %u cannot be set: %s.",
				    r->family, r->priority, reason(rc));
	return 0;
}

static int undo_rule(struct host *h, const json_t *what, char *err)
{
	const char *oif = text_of(what, "oif");
	struct netlink_rule r = {
		.family = (uint8_t)number_of(what, "family"),
		.priority = number_of(what, "priority"),
		.mark = number_of(what, "mark"),
		.table = number_of(what, "table"),
		.to = to_of(what),
		.oifname = *oif ? oif : NULL,
		.suppress = (int)json_integer_value(json_object_get(what, "suppress"))};
	char name[32];
	snprintf(name, sizeof(name), "%u", r.priority);
	return removed(netlink_rule(h->nl, false, &r), "The routing rule", name, err);
}

int step_nft(struct host *h, const struct nft_table *t, char *err)
{
	uint64_t id;
	int rc = journal_begin(h->journal, "nft", false, json_pack("{s:s}", "table", t->name), &id,
			       err);
	if (rc < 0)
		return rc;
	rc = settle(h, id, nft_table_make(t, false));
	if (rc < 0)
		return routing_fail(
			err, rc,
			"The nftables table inet %s cannot be made: %s (the kernel needs "
			"nf_tables with inet, ct and nat).",
			t->name, reason(rc));
	return 0;
}

static int undo_nft(const json_t *what, char *err)
{
	const char *name = text_of(what, "table");
	return removed(nft_table_remove(name), "The nftables table inet", name, err);
}

/* Write the entry of a sysctl: undo turns `after` into `old`. */
static int record_sysctl(struct host *h, const char *name, const char *old, const char *after,
			 uint64_t *ret_id, char *err)
{
	return journal_begin(h->journal, "sysctl", false,
			     json_pack("{s:s, s:s, s:s}", "name", name, "old", old, "new", after),
			     ret_id, err);
}

int step_sysctl(struct host *h, const char *name, const char *value, char *err)
{
	char old[SYSCTL_VALUE_BYTES];
	uint64_t id;
	int rc = sysctl_read(name, old);
	if (rc == -ENOENT)
		return rc;
	if (rc < 0)
		return routing_fail(err, rc, "/proc/sys/%s cannot be read: %s.", name, reason(rc));
	if (strcmp(old, value) == 0)
		return 0;
	rc = record_sysctl(h, name, old, value, &id, err);
	if (rc < 0)
		return rc;
	rc = settle(h, id, sysctl_write(name, value));
	if (rc < 0)
		return routing_fail(err, rc, "/proc/sys/%s cannot be set to %s: %s.", name, value,
				    reason(rc));
	return 0;
}

int step_sysctl_side(struct host *h, const char *name, const char *old, const char *after,
		     char *err)
{
	uint64_t id;
	int rc = record_sysctl(h, name, old, after, &id, err);
	if (rc == 0)
		journal_done(h->journal, id);
	return rc;
}

static int undo_sysctl(const json_t *what, char *err)
{
	const char *name = text_of(what, "name");
	const char *old = text_of(what, "old"), *after = text_of(what, "new");
	char now[SYSCTL_VALUE_BYTES];
	int rc = sysctl_read(name, now);
	if (rc == -ENOENT)
		return 0; /* its interface is gone */
	if (rc == 0 && strcmp(now, old) == 0)
		return 0;
	if (rc == 0 && strcmp(now, after) != 0) {
		routing_fail(err, 0, "/proc/sys/%s is %s now, not %s as we set it: left as it is.",
			     name, now, after);
		return 1;
	}
	if (rc == 0)
		rc = sysctl_write(name, old);
	if (rc < 0)
		return routing_fail(err, rc, "/proc/sys/%s cannot be set back to %s: %s.", name,
				    old, reason(rc));
	return 0;
}

int steps_undo(void *arg, const struct journal_entry *e, char *err)
{
	struct host *h = arg;
	if (strcmp(e->kind, "link") == 0)
		return undo_link(h, e->what, err);
	if (strcmp(e->kind, "addr") == 0)
		return undo_addr(h, e->what, err);
	if (strcmp(e->kind, "route") == 0)
		return undo_route(h, e->what, err);
	if (strcmp(e->kind, "rule") == 0)
		return undo_rule(h, e->what, err);
	if (strcmp(e->kind, "nft") == 0)
		return undo_nft(e->what, err);
	if (strcmp(e->kind, "sysctl") == 0)
		return undo_sysctl(e->what, err);
	if (strcmp(e->kind, DNS_KIND) == 0)
		return dns_undo(e, err);
	routing_fail(err, 0,
		     "The undo journal names a change \"%s\" that this version does not know: "
		     "left as it is.",
		     e->kind);
	return 1;
}

void steps_roll_back(struct host *h, uint64_t mark)
{
	char err[ROUTING_ERROR_BYTES];
	if (journal_undo(h->journal, mark, steps_undo, h, NULL, NULL, err) < 0)
		return; /* what cannot be taken back now stays in the journal; the first failure is
			   what is said */
}

struct search {
	const char *kind;
	const json_t *what;
	uint64_t id;
};

static bool find_same(void *arg, const struct journal_entry *e)
{
	struct search *s = arg;
	if (strcmp(e->kind, s->kind) == 0 && json_equal((json_t *)e->what, (json_t *)s->what))
		s->id = e->id;
	return true;
}

int unstep(struct host *h, const char *kind, json_t *what, char *err)
{
	struct search s = {.kind = kind, .what = what};
	journal_each(h->journal, find_same, &s);
	int rc = 0;
	if (s.id != 0) {
		struct journal_entry e = {.id = s.id, .kind = kind, .what = what, .certain = true};
		rc = steps_undo(h, &e, err);
		if (rc >= 0)
			journal_forget(h->journal, s.id);
	}
	json_decref(what);
	return rc < 0 ? rc : 0;
}
