/* exit/settings.c - the [exit] section: keys, checks, and the policy that comes of it
 * (exit/settings.h). */
#include "exit/settings.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "onion/session_exit.h"

#define DEFAULT_INTERFACE "sxexit0"
#define LEASE4_LEN_LEAST  8
#define LEASE4_LEN_MOST	  30 /* network, the exit itself, one lease, broadcast */
#define LEASE6_LEN_LEAST  32
#define LEASE6_LEN_MOST	  126
#define IDLE_LEAST	  10
#define IDLE_MOST	  86400
#define DNS_PORT	  53

void exit_settings_init(struct exit_settings *s)
{
	memset(s, 0, sizeof(*s));
	strcpy(s->interface, DEFAULT_INTERFACE);
	s->notrack = true;
	s->sessions_most = SESSIONS_MOST;
	s->idle_s = SESSION_IDLE_SECONDS;
}

/* --- reading: every row's `to` is the whole section, which any key of it makes present --- */

static const char *read_interface(const char *value, struct exit_settings *s)
{
	size_t n = strlen(value);

	if (!n || n >= sizeof(s->interface) || strpbrk(value, "/:% \t") || !strcmp(value, ".") ||
	    !strcmp(value, ".."))
		return "an interface name of 1 to 15 characters without / : % and blanks";
	memcpy(s->interface, value, n + 1);
	return NULL;
}

static const char *read_lease4(const char *value, struct exit_settings *s)
{
	return prefix_parse(value, &s->lease4) || s->lease4.addr.family != 4
		       ? "an IPv4 range with zero host bits, such as 10.73.0.0/16"
		       : NULL;
}

static const char *read_lease6(const char *value, struct exit_settings *s)
{
	return prefix_parse(value, &s->lease6) || s->lease6.addr.family != 6
		       ? "an IPv6 range with zero host bits, such as fd53:7370:1::/64"
		       : NULL;
}

static const char *read_dns(const char *value, struct exit_settings *s)
{
	struct addr a;

	if (s->ndns == EXIT_DNS_MOST)
		return "at most 3 of them";
	if (addr_parse_ip(value, &a))
		return "an address without a port, such as 192.0.2.53 or 2001:db8::53";
	s->dns[s->ndns++] = a;
	return NULL;
}

static const char *read_policy(const char *value, struct exit_settings *s)
{
	static _Thread_local char err[POLICY_ERROR_BYTES];

	if (policy_add_text(&s->policy, value, err))
		return strncmp(err, "expected ", 9) ? err : err + 9;
	s->has_policy = true;
	return NULL;
}

static const char *read_allow_private(const char *value, struct exit_settings *s)
{
	return config_bool(value, &s->allow_private, NULL);
}

static const char *read_open(const char *value, struct exit_settings *s)
{
	return config_bool(value, &s->open, NULL);
}

static const char *read_notrack(const char *value, struct exit_settings *s)
{
	return config_bool(value, &s->notrack, NULL);
}

static const char *read_sessions(const char *value, struct exit_settings *s)
{
	static const struct config_range range = {1, SESSIONS_MOST};
	return config_u32(value, &s->sessions_most, &range);
}

static const char *read_idle(const char *value, struct exit_settings *s)
{
	static const struct config_range range = {IDLE_LEAST, IDLE_MOST};
	return config_seconds(value, &s->idle_s, &range);
}

static const struct key {
	const char *name;
	const char *(*read)(const char *value, struct exit_settings *s);
	bool many;
} keys[] = {
	{"interface", read_interface, false}, {"lease4", read_lease4, false},
	{"lease6", read_lease6, false},	      {"dns", read_dns, true},
	{"policy", read_policy, true},	      {"allow-private", read_allow_private, false},
	{"open", read_open, false},	      {"sessions", read_sessions, false},
	{"idle", read_idle, false},	      {"notrack", read_notrack, false},
};
#define KEYS (sizeof(keys) / sizeof(keys[0]))
_Static_assert(KEYS <= EXIT_CONFIG_ROWS, "the caller's room");

static const char *read_key(const char *value, void *to, const void *arg)
{
	struct exit_settings *s = to;
	const struct key *k = arg;

	s->present = true;
	return k->read(value, s);
}

size_t exit_config_rows(struct config_row *rows, size_t base)
{
	for (size_t i = 0; i < KEYS; i++)
		rows[i] = (struct config_row){
			.section = "exit",
			.key = keys[i].name,
			.read = read_key,
			.offset = base,
			.arg = &keys[i],
			.many = keys[i].many,
		};
	return KEYS;
}

/* --- the effective policy --- */

struct block {
	uint8_t family, len;
	uint8_t ip[12];
};

/* Opened by rules that lie inside. AMT and AS112 (2001::/23) stay with their range: nobody reaches
 * them by an exit. */
static const struct block openable[] = {
	{4, 24, {192, 0, 0}},		   /* IETF protocol assignments */
	{4, 24, {192, 0, 2}},		   /* documentation */
	{4, 24, {192, 88, 99}},		   /* 6to4 relays, withdrawn */
	{4, 15, {198, 18}},		   /* benchmarking */
	{4, 24, {198, 51, 100}},	   /* documentation */
	{4, 24, {203, 0, 113}},		   /* documentation */
	{6, 96, {0, 0x64, 0xff, 0x9b}},	   /* NAT64, RFC 6052: inside 2.'s 0000::/3 */
	{6, 23, {0x20, 0x01}},		   /* IETF protocol assignments, Teredo */
	{6, 32, {0x20, 0x01, 0x0d, 0xb8}}, /* documentation */
	{6, 20, {0x3f, 0xff}},		   /* documentation, RFC 9637 */
};

static const struct block never[] = {
	{4, 8, {0}},	     /* this network */
	{4, 8, {127}},	     /* loopback */
	{4, 16, {169, 254}}, /* link-local */
	{4, 3, {224}},	     /* multicast, reserved, broadcast */
	{6, 3, {0}},	     /* unspecified, loopback, v4-mapped */
	{6, 2, {0x40}},	     /* from here on: all that is neither 2000::/3 nor fc00::/7 */
	{6, 2, {0x80}},	     {6, 3, {0xc0}}, {6, 4, {0xe0}},
	{6, 5, {0xf0}},	     {6, 6, {0xf8}}, {6, 7, {0xfe}}, /* link-local, site-local, multicast */
};

static const struct block private_ranges[] = {
	{4, 8, {10}}, {4, 12, {172, 16}}, {4, 16, {192, 168}}, {4, 10, {100, 64}}, {6, 7, {0xfc}},
};

static struct prefix prefix_of(const struct block *b)
{
	struct prefix p = {.addr.family = b->family, .len = b->len};

	memcpy(p.addr.ip, b->ip, b->family == 4 ? 4 : sizeof(b->ip));
	return p;
}

static int append(struct policy *p, const struct policy_rule *r)
{
	if (p->n == POLICY_RULES_MAX)
		return -ENOSPC;
	p->rule[p->n++] = *r;
	return 0;
}

static int reject_blocks(struct policy *p, const struct block *b, size_t n)
{
	int e = 0;

	for (size_t i = 0; i < n && !e; i++)
		e = append(p, &(struct policy_rule){.prefix = prefix_of(&b[i]), .hi = UINT16_MAX});
	return e;
}

static bool lies_inside(const struct prefix *inner, const struct prefix *outer)
{
	return inner->len >= outer->len && prefix_overlaps(inner, outer);
}

static bool is_opened(const struct policy *by, const struct prefix *range)
{
	for (unsigned i = 0; i < by->n; i++)
		if (by->rule[i].accept && lies_inside(&by->rule[i].prefix, range))
			return true;
	return false;
}

/* The operator's rules as they count inside one special range, see settings.h. */
static int open_range(struct policy *p, const struct policy *by, const struct prefix *range)
{
	int e = 0;

	for (unsigned i = 0; i < by->n && !e; i++) {
		struct policy_rule r = by->rule[i];

		if (!prefix_overlaps(&r.prefix, range))
			continue;
		if (lies_inside(&r.prefix, range)) {
			e = append(p, &r);
		} else if (!r.accept) {
			r.prefix = *range;
			e = append(p, &r);
		}
	}
	return e;
}

static int default_rules(struct policy *ret)
{
	char err[POLICY_ERROR_BYTES];
	int e;

	ret->n = 0;
	e = policy_add_text(ret, "reject *:25", err);
	return e ? e : policy_add_text(ret, "accept *", err);
}

int exit_effective_policy(const struct exit_settings *s, struct policy *ret)
{
	uint8_t bytes[POLICY_MAX_BYTES];
	struct policy by = s->policy, p = {0};
	struct writer w;
	int e = s->has_policy ? 0 : default_rules(&by);

	for (size_t i = 0; i < sizeof(openable) / sizeof(openable[0]) && !e; i++) {
		struct prefix range = prefix_of(&openable[i]);
		if (is_opened(&by, &range))
			e = open_range(&p, &by, &range);
		if (!e)
			e = reject_blocks(&p, &openable[i], 1);
	}
	if (!e)
		e = reject_blocks(&p, never, sizeof(never) / sizeof(never[0]));
	if (!e && !s->allow_private)
		e = reject_blocks(&p, private_ranges,
				  sizeof(private_ranges) / sizeof(private_ranges[0]));
	for (unsigned i = 0; i < by.n && !e; i++)
		e = append(&p, &by.rule[i]);
	writer_init(&w, bytes, sizeof(bytes));
	policy_write(&w, &p);
	if (e || w.bad || w.used > EXIT_POLICY_BYTES_MOST)
		return -ENOSPC;
	*ret = p;
	return 0;
}

/* --- checks --- */

static int bad(char *err, const char *sentence)
{
	snprintf(err, EXIT_ERROR_BYTES, "[exit]: %s", sentence);
	return -EINVAL;
}

/* A client takes no lease outside these (PROTOCOL.md section 7). */
static bool is_lease_range(const struct prefix *p)
{
	static const struct block ranges[] = {
		{4, 8, {10}}, {4, 12, {172, 16}}, {4, 10, {100, 64}}, {6, 8, {0xfd}}};

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		struct prefix range = prefix_of(&ranges[i]);
		if (lies_inside(p, &range))
			return true;
	}
	return false;
}

static int check_leases(const struct exit_settings *s, char *err)
{
	const struct prefix *p4 = &s->lease4, *p6 = &s->lease6;

	if (!p4->addr.family && !p6->addr.family)
		return bad(
			err,
			"neither lease4 nor lease6 is given: say which inner addresses are lent, for example "
			"lease4 = 10.73.0.0/16");
	if (p4->addr.family && (p4->addr.family != 4 || !is_lease_range(p4) ||
				p4->len < LEASE4_LEN_LEAST || p4->len > LEASE4_LEN_MOST))
		return bad(
			err,
			"lease4 must be a range of /8 to /30 in 10.0.0.0/8, 172.16.0.0/12 or 100.64.0.0/10: "
			"clients take no other");
	if (p6->addr.family && (p6->addr.family != 6 || !is_lease_range(p6) ||
				p6->len < LEASE6_LEN_LEAST || p6->len > LEASE6_LEN_MOST))
		return bad(
			err,
			"lease6 must be a range of /32 to /126 in fd00::/8: clients take no other");
	return 0;
}

/* What GRANT names must be reachable, else every client's names fail without a word. */
static int check_dns(const struct exit_settings *s, const struct policy *p, char *err)
{
	char text[ADDR_TEXT_BYTES];

	for (unsigned i = 0; i < s->ndns; i++) {
		struct addr a = s->dns[i];
		const struct prefix *lease = a.family == 4 ? &s->lease4 : &s->lease6;

		a.port = DNS_PORT;
		addr_ip_text(&a, text);
		if (!lease->addr.family) {
			snprintf(err, EXIT_ERROR_BYTES,
				 "[exit]: dns = %s cannot be reached without lease%u: give a "
				 "server of the other family",
				 text, a.family);
			return -EINVAL;
		}
		if (policy_allows(p, IPPROTO_UDP, &a) && !prefix_has(lease, &a))
			continue;
		snprintf(err, EXIT_ERROR_BYTES,
			 "[exit]: dns = %s is refused by the policy: add policy = accept %s%s%s:53 "
			 "before what rejects it (a private one needs allow-private = yes too)",
			 text, a.family == 6 ? "[" : "", text, a.family == 6 ? "]" : "");
		return -EINVAL;
	}
	return 0;
}

int exit_settings_check(const struct exit_settings *s, char err[EXIT_ERROR_BYTES])
{
	struct policy p;
	int e = check_leases(s, err);

	if (e)
		return e;
	if (exit_effective_policy(s, &p))
		return bad(
			err,
			"the policy is too long for a descriptor: use fewer or wider policy rules");
	return check_dns(s, &p, err);
}
