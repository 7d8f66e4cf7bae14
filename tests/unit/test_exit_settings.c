/* tests/unit/test_exit_settings.c - exit/settings.c and exit/rules.c: the [exit] keys, the
 * effective policy by table, and the fast rules against policy_allows() and addr_is_special() on
 * random packets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "exit/rules.h"
#include "exit/settings.h"
#include "seeded.h"

struct program {
	char before[7];
	struct exit_settings exit;
};

static int load(const char *text, struct program *p, char *err)
{
	struct config_row rows[EXIT_CONFIG_ROWS];
	size_t n = exit_config_rows(rows, offsetof(struct program, exit));

	memset(p, 0, sizeof(*p));
	exit_settings_init(&p->exit);
	return config_load_text("x.ini", text, rows, n, p, err);
}

static struct exit_settings settings(const char *text)
{
	char err[CONFIG_ERROR_BYTES], all[2048];
	struct program p;

	snprintf(all, sizeof(all), "[exit]\nlease4 = 10.9.0.0/16\nlease6 = fd09::/64\n%s", text);
	if (load(all, &p, err) || exit_settings_check(&p.exit, err))
		fail_msg("%s", err);
	return p.exit;
}

static struct policy effective(const char *text)
{
	struct exit_settings s = settings(text);
	struct policy p;

	assert_int_equal(exit_effective_policy(&s, &p), 0);
	return p;
}

static void exit_settings_reads_every_key(void **state)
{
	struct program p;
	char err[CONFIG_ERROR_BYTES];
	struct addr dns;

	(void)state;
	assert_int_equal(
		load("[exit]\ninterface = tun-x\nlease4 = 10.0.0.0/8\nlease6 = fd00::/48\ndns = 192.0.2.1\n"
		     "dns = 2001:db8::1\npolicy = accept tcp *:443\npolicy = reject *\nallow-private = yes\n"
		     "open = yes\nsessions = 7\nidle = 2m\nnotrack = no\n",
		     &p, err),
		0);
	assert_true(p.exit.present && p.exit.has_policy && p.exit.allow_private && p.exit.open &&
		    !p.exit.notrack);
	assert_string_equal(p.exit.interface, "tun-x");
	assert_int_equal(p.exit.lease4.len, 8);
	assert_int_equal(p.exit.lease6.len, 48);
	assert_int_equal(p.exit.ndns, 2);
	assert_int_equal(addr_parse_ip("2001:db8::1", &dns), 0);
	assert_true(addr_equal(&p.exit.dns[1], &dns));
	assert_int_equal(p.exit.policy.n, 4);
	assert_int_equal(p.exit.sessions_most, 7);
	assert_int_equal(p.exit.idle_s, 120);
	assert_int_equal(load("", &p, err), 0);
	assert_false(p.exit.present);
	assert_string_equal(p.exit.interface, "sxexit0");
	assert_int_equal(p.exit.sessions_most, 16384);
	assert_int_equal(p.exit.idle_s, 300);
	assert_true(p.exit.notrack);
	assert_int_equal(load("[exit]\nopen = no\n", &p, err), 0);
	assert_true(p.exit.present);
}

static void exit_settings_names_what_is_wrong(void **state)
{
	static const struct {
		const char *text, *words;
	} rows[] = {
		{"interface = 0123456789abcdef", "interface name"},
		{"interface = a/b", "interface name"},
		{"lease4 = 10.0.0.1/8", "IPv4 range"},
		{"lease4 = fd00::/64", "IPv4 range"},
		{"lease6 = 10.0.0.0/8", "IPv6 range"},
		{"dns = web.test", "address without a port"},
		{"dns = 192.0.2.1\ndns = 192.0.2.2\ndns = 192.0.2.3\ndns = 192.0.2.4", "at most 3"},
		{"policy = perhaps *", "accept or reject"},
		{"policy = accept *:0-99999", "port"},
		{"sessions = 0", "from 1 to 16384"},
		{"sessions = 16385", "from 1 to 16384"},
		{"idle = 1s", "10 to 86400"},
		{"open = maybe", "yes or no"},
		{"open = yes\nopen = yes", "twice"},
		{"colour = blue", "colour"},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[256], err[CONFIG_ERROR_BYTES] = "";
		struct program p;

		snprintf(text, sizeof(text), "[exit]\n%s\n", rows[i].text);
		assert_int_equal(load(text, &p, err), -EINVAL);
		if (!strstr(err, rows[i].words) || strncmp(err, "x.ini:", 6) != 0)
			fail_msg("%s: no \"%s\" in: %s", rows[i].text, rows[i].words, err);
	}
}

static void exit_settings_check_names_what_does_not_fit(void **state)
{
	static const struct {
		const char *text, *words; /* words NULL: fits */
	} rows[] = {
		{"open = yes", "neither lease4 nor lease6"},
		{"lease4 = 192.168.0.0/16", "lease4"},
		{"lease4 = 203.0.113.0/24", "lease4"},
		{"lease4 = 10.0.0.0/31", "lease4"},
		{"lease4 = 10.0.0.0/7", "lease4"},
		{"lease4 = 0.0.0.0/0", "lease4"},
		{"lease4 = 100.64.0.0/10", NULL},
		{"lease4 = 172.16.0.0/12", NULL},
		{"lease4 = 172.0.0.0/8", "lease4"},
		{"lease6 = fc00::/64", "lease6"},
		{"lease6 = 2001:db8::/64", "lease6"},
		{"lease6 = fd00::/127", "lease6"},
		{"lease6 = fd00::/126", NULL},
		{"lease4 = 10.0.0.0/8\ndns = 9.9.9.9", NULL},
		{"lease4 = 10.0.0.0/8\ndns = 2620:fe::fe", "lease6"},
		{"lease6 = fd00::/64\ndns = 9.9.9.9", "lease4"},
		{"lease4 = 10.0.0.0/8\ndns = 192.168.0.1", "192.168.0.1"},
		{"lease4 = 10.0.0.0/8\nallow-private = yes\ndns = 192.168.0.1", NULL},
		{"lease4 = 10.0.0.0/8\nallow-private = yes\ndns = 10.0.0.1", "10.0.0.1"},
		{"lease4 = 10.0.0.0/8\ndns = 203.0.113.10", "accept 203.0.113.10:53"},
		{"lease4 = 10.0.0.0/8\ndns = 203.0.113.10\npolicy = accept 203.0.113.10:53", NULL},
		{"lease4 = 10.0.0.0/8\ndns = 9.9.9.9\npolicy = accept tcp *", "9.9.9.9"},
		{"lease6 = fd00::/64\ndns = 2001:db8::1", "accept [2001:db8::1]:53"},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[256], err[CONFIG_ERROR_BYTES] = "";
		struct program p;
		int e;

		snprintf(text, sizeof(text), "[exit]\n%s\n", rows[i].text);
		if (load(text, &p, err))
			continue;
		e = exit_settings_check(&p.exit, err);
		if (e != (rows[i].words ? -EINVAL : 0) || (e && !strstr(err, rows[i].words)))
			fail_msg("%s: %d, %s", rows[i].text, e, err);
	}
}

static void exit_settings_check_refuses_a_policy_too_long_to_publish(void **state)
{
	char err[EXIT_ERROR_BYTES], line[POLICY_ERROR_BYTES], rule[64];
	struct exit_settings s = settings("");

	(void)state;
	s.has_policy = true;
	for (unsigned i = 0; i < 75; i++) {
		snprintf(rule, sizeof(rule), "accept [2a00:%x::1]:80", i);
		assert_int_equal(policy_add_text(&s.policy, rule, line), 0);
	}
	assert_int_equal(exit_settings_check(&s, err), -EINVAL);
	assert_non_null(strstr(err, "too long"));
	s.policy.n = 20;
	assert_int_equal(exit_settings_check(&s, err), 0);
	s.policy.n = 0;
	for (unsigned i = 0; i < POLICY_RULES_MAX;
	     i++) /* short on the wire, but too many with ours */
		assert_int_equal(policy_add_text(&s.policy, "reject *4:25", line), 0);
	assert_int_equal(exit_settings_check(&s, err), -EINVAL);
}

static void exit_effective_policy_opens_what_is_named_and_no_more(void **state)
{
	static const struct {
		const char *settings, *dst;
		uint8_t proto;
		bool passes;
	} rows[] = {
		{"", "9.9.9.9:443", 6, true},
		{"", "9.9.9.9:25", 6, false},
		{"", "9.9.9.9:25", 17, false},
		{"", "9.9.9.9:0", 1, true},
		{"", "[2620:fe::fe]:443", 6, true},
		{"", "[2620:fe::fe]:25", 6, false},
		{"", "10.0.0.1:80", 6, false},
		{"", "203.0.113.5:80", 6, false},
		{"", "[2001:db8::1]:80", 6, false},
		{"", "[fd00::1]:80", 6, false},
		{"", "[64:ff9b::909:909]:80", 6, false},
		/* an operator's own end rejects */
		{"policy = accept tcp *:443", "9.9.9.9:443", 6, true},
		{"policy = accept tcp *:443", "9.9.9.9:443", 17, false},
		/* special ones open by name only */
		{"policy = accept *", "203.0.113.5:80", 6, false},
		{"policy = accept 203.0.0.0/8", "203.0.113.5:80", 6, false},
		{"policy = accept 203.0.113.0/24", "203.0.113.5:80", 6, true},
		{"policy = accept 203.0.113.0/24", "203.0.112.5:80", 6, false},
		{"policy = accept 203.0.113.0/25", "203.0.113.200:80", 6, false},
		{"policy = accept 203.0.113.5:80\npolicy = accept *", "203.0.113.5:80", 6, true},
		{"policy = accept 203.0.113.5:80\npolicy = accept *", "203.0.113.5:81", 6, false},
		{"policy = accept 203.0.113.5:80\npolicy = accept *", "203.0.113.6:80", 6, false},
		{"policy = accept 203.0.113.5:80\npolicy = accept *", "203.0.112.6:81", 6, true},
		/* in the operator's order */
		{"policy = reject *:25\npolicy = accept 203.0.113.0/24", "203.0.113.5:25", 6,
		 false},
		{"policy = reject *:25\npolicy = accept 203.0.113.0/24", "203.0.113.5:26", 6, true},
		{"policy = accept 203.0.113.0/24\npolicy = reject *:25", "203.0.113.5:25", 6, true},
		{"policy = reject 203.0.113.9\npolicy = accept 203.0.113.0/24", "203.0.113.9:80", 6,
		 false},
		{"policy = accept *:80\npolicy = accept 203.0.113.0/24:443", "203.0.113.9:80", 6,
		 false},
		{"policy = accept [2001:db8::]/32", "[2001:db8:5::1]:80", 6, true},
		{"policy = accept [2001:db8::]/32", "[2001:db7:5::1]:80", 6, false},
		{"policy = accept [64:ff9b::]/96", "[64:ff9b::909:909]:80", 6, true},
		{"policy = accept 198.18.0.0/15", "198.19.0.1:80", 6, true},
		{"policy = accept 9.9.9.9:25\npolicy = reject *:25\npolicy = accept 203.0.113.0/24",
		 "9.9.9.9:25", 6, true},
		/* never */
		{"policy = accept 127.0.0.1", "127.0.0.1:80", 6, false},
		{"allow-private = yes\npolicy = accept 127.0.0.1", "127.0.0.1:80", 6, false},
		{"allow-private = yes\npolicy = accept 169.254.169.254", "169.254.169.254:80", 6,
		 false},
		{"allow-private = yes\npolicy = accept [fe80::]/10", "[fe80::1]:80", 6, false},
		{"allow-private = yes\npolicy = accept [ff02::1]", "[ff02::1]:80", 17, false},
		{"allow-private = yes\npolicy = accept 224.0.0.1", "224.0.0.1:80", 17, false},
		{"allow-private = yes\npolicy = accept [::1]", "[::1]:80", 6, false},
		/* private: by allow-private, and then by the rules */
		{"policy = accept 192.168.7.0/24", "192.168.7.1:80", 6, false},
		{"allow-private = yes", "192.168.7.1:80", 6, true},
		{"allow-private = yes", "192.168.7.1:25", 6, false},
		{"allow-private = yes", "[fd00:7::1]:80", 6, true},
		{"allow-private = yes", "100.64.0.1:80", 6, true},
		{"allow-private = yes", "203.0.113.5:80", 6, false},
		{"allow-private = yes\npolicy = accept 192.168.7.0/24", "192.168.8.1:80", 6, false},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct policy p = effective(rows[i].settings);
		struct addr a;
		/* v4-mapped text turns into IPv4: none here */
		assert_int_equal(addr_parse(rows[i].dst, &a), 0);
		if (policy_allows(&p, rows[i].proto, &a) != rows[i].passes)
			fail_msg("\"%s\": %s, protocol %u", rows[i].settings, rows[i].dst,
				 rows[i].proto);
	}
}

/* Random addresses, half of them near the borders of special ranges. */
static struct addr random_address(const struct rng *rng)
{
	static const char *const near[] = {"10.0.0.0",	     "172.16.0.0",	 "172.31.255.255",
					   "192.168.0.0",    "100.127.255.255",	 "127.0.0.1",
					   "169.254.0.0",    "203.0.113.0",	 "192.88.99.0",
					   "192.0.0.0",	     "192.0.2.0",	 "198.51.100.0",
					   "198.18.0.0",     "224.0.0.0",	 "::",
					   "fd00::",	     "fe80::",		 "2001:db8::",
					   "2001::",	     "2002:a00::",	 "2002:808::",
					   "64:ff9b::a00:1", "64:ff9b::808:808", "3fff::"};
	uint8_t ip[16];
	struct addr a;

	if (rng_below(rng, 2)) {
		rng_bytes(rng, ip, sizeof(ip));
		if (rng_below(rng, 2))
			ip[0] = (uint8_t)(0x20 | (ip[0] & 0x1f));
		return addr_from_ip(ip, rng_below(rng, 2) ? 4 : 16, 0);
	}
	assert_int_equal(addr_parse_ip(near[rng_below(rng, sizeof(near) / sizeof(near[0]))], &a),
			 0);
	a.ip[rng_below(rng, addr_ip_bytes(&a))] ^= (uint8_t)(1u << rng_below(rng, 8));
	return a;
}

static struct ip_view view_of(const struct addr *dst, uint8_t proto, uint16_t port)
{
	struct ip_view v = {.dst = *dst,
			    .version = dst->family,
			    .protocol = proto,
			    .dst_port = port,
			    .len = 100};

	v.has_ports = port != 0;
	return v;
}

static bool is_stricter_than_the_registry(const struct addr *a)
{
	struct prefix p;

	if (a->family != 6)
		return false;
	assert_int_equal(prefix_parse("2001::/23", &p), 0);
	if (prefix_has(&p, a))
		return true;
	assert_int_equal(prefix_parse("64:ff9b::/96", &p), 0);
	return prefix_has(&p, a);
}

static void rules_refuse_exactly_what_is_special(void **state)
{
	struct seeded seed;
	struct rng rng = seeded_rng(&seed, 11);
	struct policy p = effective("");
	const struct rules_config c = {.policy = &p};
	struct rules *r = rules_new(&c, &rng);

	(void)state;
	assert_non_null(r);
	for (unsigned i = 0; i < 100000; i++) {
		struct addr a = random_address(&rng);
		struct ip_view v = view_of(&a, 6, 443);
		enum rules_verdict want = addr_is_special(&a) ? RULES_CLOSED : RULES_PASS;
		char text[ADDR_TEXT_BYTES];

		if (want == RULES_PASS && is_stricter_than_the_registry(&a))
			want = RULES_POLICY;
		if (rules_judge(r, &v) != want)
			fail_msg("%s: %d instead of %d", addr_ip_text(&a, text), rules_judge(r, &v),
				 want);
	}
	rules_free(r);
}

static void random_policy(const struct rng *rng, struct policy *p)
{
	p->n = (uint16_t)rng_below(rng, 12);
	for (unsigned i = 0; i < p->n; i++) {
		static const uint8_t protos[] = {0, 0, 1, 6, 17, 58};
		struct policy_rule *r = &p->rule[i];
		unsigned bits;

		*r = (struct policy_rule){.accept = rng_below(rng, 2),
					  .proto = protos[rng_below(rng, 6)]};
		r->prefix.addr = random_address(rng);
		bits = (unsigned)addr_ip_bytes(&r->prefix.addr) * 8;
		r->prefix.len = (uint8_t)rng_below(rng, rng_below(rng, 3) ? 6 : bits + 1);
		for (unsigned b = r->prefix.len; b < bits; b++)
			r->prefix.addr.ip[b / 8] &= (uint8_t) ~(0x80u >> b % 8);
		r->hi = UINT16_MAX;
		if (rng_below(rng, 2)) {
			r->lo = (uint16_t)rng_below(rng, 4);
			r->hi = (uint16_t)(r->lo + rng_below(rng, 3));
		}
	}
}

/* Any, or one that a rule has, or would have with another bit. */
static struct addr near_a_rule(const struct policy *p, const struct rng *rng)
{
	struct addr a;

	if (!p->n || !rng_below(rng, 3))
		return random_address(rng);
	a = p->rule[rng_below(rng, p->n)].prefix.addr;
	a.ip[rng_below(rng, addr_ip_bytes(&a))] ^=
		(uint8_t)(rng_below(rng, 2) << rng_below(rng, 8));
	return a;
}

/* Some port at which it is allowed: tried one by one (rules speak of ports 0 to 6, or of all). */
static bool any_port_allowed(const struct policy *p, uint8_t proto, struct addr a)
{
	for (unsigned port = 0; port < 8; port++) {
		a.port = (uint16_t)port;
		if (policy_allows(p, proto, &a))
			return true;
	}
	return false;
}

/* Some rule accepts a port of it, and no rule before rejects all. */
static bool is_accepted_somewhere(const struct policy *p, uint8_t proto, const struct addr *a)
{
	for (unsigned i = 0; i < p->n; i++) {
		const struct policy_rule *r = &p->rule[i];
		bool fits = prefix_has(&r->prefix, a) && (!r->proto || r->proto == proto);

		if (fits && (r->accept || (r->lo == 0 && r->hi == UINT16_MAX)))
			return r->accept;
	}
	return false;
}

static void rules_agree_with_the_policy_as_written(void **state)
{
	struct seeded seed;
	struct rng rng = seeded_rng(&seed, 12);
	struct policy *p = calloc(1, sizeof(*p));

	(void)state;
	assert_non_null(p);
	for (unsigned i = 0; i < 400; i++) {
		const struct rules_config c = {.policy = p};
		struct rules *r;

		random_policy(&rng, p);
		r = rules_new(&c, &rng);
		assert_non_null(r);
		for (unsigned j = 0; j < 100; j++) {
			static const uint8_t protos[] = {1, 6, 17, 50, 58};
			struct addr a = near_a_rule(p, &rng);
			uint8_t proto = protos[rng_below(&rng, 5)];
			struct ip_view v;

			if (addr_is_special(&a))
				continue;
			a.port = (uint16_t)rng_below(&rng, 8);
			v = view_of(&a, proto, a.port);
			v.dst.port = 0;
			assert_int_equal(rules_judge(r, &v),
					 policy_allows(p, proto, &a) ? RULES_PASS : RULES_POLICY);
			v.dst_port = 0;
			v.fragment_offset = 64;
			if (any_port_allowed(p, proto, a))
				assert_int_equal(rules_judge(r, &v), RULES_PASS);
			if (!is_accepted_somewhere(p, proto, &a))
				assert_int_equal(rules_judge(r, &v), RULES_POLICY);
		}
		rules_free(r);
	}
	free(p);
}

static void rules_close_leases_hosts_and_relays(void **state)
{
	struct seeded seed;
	struct rng rng = seeded_rng(&seed, 13);
	struct policy p = effective("allow-private = yes");
	size_t n = 3000;
	struct addr *relays = calloc(n, sizeof(*relays)), other;
	struct rules_config c = {.policy = &p, .closed = relays, .nclosed = n};
	struct rules *r;
	struct ip_view v;

	(void)state;
	assert_non_null(relays);
	assert_int_equal(prefix_parse("10.9.0.0/16", &c.lease4), 0);
	assert_int_equal(prefix_parse("fd09::/64", &c.lease6), 0);
	assert_int_equal(addr_parse_ip("10.9.0.1", &c.own4), 0);
	assert_int_equal(addr_parse_ip("fd09::1", &c.own6), 0);
	for (size_t i = 0; i < n; i++) {
		uint8_t ip[16] = {11, 22, (uint8_t)(i >> 8), (uint8_t)i};
		uint8_t ip6[16] = {0x2a, 1, [14] = (uint8_t)(i >> 8), [15] = (uint8_t)i};
		relays[i] = i % 2 ? addr_from_ip(ip, 4, 4400) : addr_from_ip(ip6, 16, 4400);
	}
	r = rules_new(&c, &rng);
	assert_non_null(r);
	for (size_t i = 0; i < n; i++) {
		struct addr next = relays[i];
		v = view_of(&relays[i], 6, 80);
		assert_int_equal(rules_judge(r, &v), RULES_CLOSED);
		next.ip[0] ^= 0x01; /* 10.22/16 and 2b01::/16 */
		v = view_of(&next, 6, 80);
		assert_int_equal(rules_judge(r, &v), RULES_PASS);
		next = relays[i];
		next.ip[addr_ip_bytes(&next) - 1] ^= 1; /* the other family's number */
		v = view_of(&next, 6, 80);
		assert_int_equal(rules_judge(r, &v), RULES_PASS);
	}
	static const struct {
		const char *dst;
		enum rules_verdict want;
	} rows[] = {
		{"10.9.0.1", RULES_OWN},	{"10.9.0.2", RULES_CLOSED},
		{"10.9.255.255", RULES_CLOSED}, {"10.10.0.0", RULES_PASS},
		{"fd09::1", RULES_OWN},		{"fd09::2", RULES_CLOSED},
		{"fd09:0:0:1::2", RULES_PASS},	{"127.0.0.1", RULES_CLOSED},
		{"2002:a00::1", RULES_CLOSED},	{"2002:b0b:b0b::1", RULES_PASS},
		{"::", RULES_CLOSED},
	};
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(addr_parse_ip(rows[i].dst, &other), 0);
		v = view_of(&other, 6, 80);
		if (rules_judge(r, &v) != rows[i].want)
			fail_msg("%s: %d", rows[i].dst, rules_judge(r, &v));
	}
	rules_free(r);
	free(relays);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exit_settings_reads_every_key),
		cmocka_unit_test(exit_settings_names_what_is_wrong),
		cmocka_unit_test(exit_settings_check_names_what_does_not_fit),
		cmocka_unit_test(exit_settings_check_refuses_a_policy_too_long_to_publish),
		cmocka_unit_test(exit_effective_policy_opens_what_is_named_and_no_more),
		cmocka_unit_test(rules_refuse_exactly_what_is_special),
		cmocka_unit_test(rules_agree_with_the_policy_as_written),
		cmocka_unit_test(rules_close_leases_hosts_and_relays),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
