/* tests/unit/test_policy.c - directory/policy.c and policy_text.c: first match wins, text and wire
 * both ways. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "directory/policy.h"
#include "seeded.h"

static struct policy of(const char *const *lines)
{
	char err[POLICY_ERROR_BYTES];
	struct policy p = {0};
	for (; *lines; lines++)
		assert_int_equal(policy_add_text(&p, *lines, err), 0);
	return p;
}

static bool allows(const struct policy *p, uint8_t proto, const char *dst)
{
	struct addr a;
	assert_int_equal(addr_parse(dst, &a), 0);
	return policy_allows(p, proto, &a);
}

static void policy_first_match_wins_and_the_end_rejects(void **state)
{
	(void)state;
	const char *lines[] = {"reject *:25",
			       "reject 203.0.113.0/24",
			       "accept tcp *4:80-443",
			       "accept icmp *",
			       "accept udp [2001:db8::]/32:53",
			       "reject 2001:db8:1::1",
			       "accept *6:22",
			       NULL};
	struct policy p = of(lines);
	assert_int_equal(p.n, 9);
	assert_true(allows(&p, 6, "198.51.100.1:80"));
	assert_true(allows(&p, 6, "198.51.100.1:443"));
	assert_false(allows(&p, 6, "198.51.100.1:444"));
	assert_false(allows(&p, 6, "198.51.100.1:79"));
	assert_false(allows(&p, 17, "198.51.100.1:80"));
	assert_false(allows(&p, 6, "198.51.100.1:25"));
	assert_false(allows(&p, 6, "203.0.113.9:80"));
	assert_true(allows(&p, 1, "198.51.100.1:0"));
	assert_false(allows(&p, 1, "203.0.113.1:0"));
	assert_true(allows(&p, 58, "[2001:db8:1::1]:0"));
	assert_false(allows(&p, 1, "[2001:db8:1::1]:0"));
	assert_true(allows(&p, 17, "[2001:db8:1::1]:53"));
	assert_false(allows(&p, 6, "[2001:db8:1::1]:22"));
	assert_true(allows(&p, 6, "[2001:db8:1::2]:22"));
	assert_false(allows(&p, 6, "[2001:db8:1::2]:25"));
	struct policy none = {0};
	assert_false(allows(&none, 6, "198.51.100.1:80"));
}

static void policy_refuses_bad_lines(void **state)
{
	(void)state;
	static const char *const bad[] = {"",
					  "accept",
					  "permit *:80",
					  "accept sctp *:80",
					  "accept tcp",
					  "accept *:80 *:81",
					  "accept *:65536",
					  "accept *:90-80",
					  "accept *:80-",
					  "accept *:-80",
					  "accept *:80x",
					  "accept *: 80",
					  "accept 10.0.0.1/8:80",
					  "accept 10.0.0.0/33",
					  "accept [2001:db8::/32:80",
					  "accept host.example:80",
					  "accept *5:80",
					  "ACCEPT *:80"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct policy p = {0};
		char err[POLICY_ERROR_BYTES] = "";
		assert_int_equal(policy_add_text(&p, bad[i], err), -EINVAL);
		assert_int_equal(strncmp(err, "expected ", 9), 0);
		assert_int_equal(p.n, 0);
	}
	struct policy full = {.n = POLICY_RULES_MAX - 1};
	char err[POLICY_ERROR_BYTES];
	assert_int_equal(policy_add_text(&full, "accept *:80", err), -ENOSPC);
	assert_int_equal(full.n, POLICY_RULES_MAX - 1);
	assert_int_equal(policy_add_text(&full, "accept *4:80", err), 0);
}

/* Any rule that can be. */
static struct policy_rule random_rule(const struct rng *rng)
{
	struct policy_rule r = {.accept = rng_below(rng, 2)};
	static const uint8_t protos[] = {0, 6, 17, 1};
	r.proto = protos[rng_below(rng, 4)];
	bool v4 = rng_below(rng, 2);
	r.prefix.addr.family = v4 ? 4 : 6;
	r.prefix.len = (uint8_t)rng_below(rng, v4 ? 33 : 129);
	for (unsigned b = 0; b < r.prefix.len; b++)
		if (rng_below(rng, 8) == 0)
			r.prefix.addr.ip[b / 8] |= 0x80 >> b % 8;
	r.lo = (uint16_t)rng_below(rng, 6);
	r.hi = (uint16_t)(r.lo + rng_below(rng, 6));
	if (rng_below(rng, 4) == 0) {
		r.lo = 0;
		r.hi = 65535;
	}
	if (r.proto == 1 && !v4)
		r.proto = 58;
	return r;
}

/* The slow one: bit by bit, from the last rule to the first. */
static bool slow_allows(const struct policy *p, uint8_t proto, const struct addr *a)
{
	bool verdict = false;
	for (int i = p->n - 1; i >= 0; i--) {
		const struct policy_rule *r = &p->rule[i];
		bool match = r->prefix.addr.family == a->family;
		for (unsigned b = 0; b < r->prefix.len && match; b++)
			match = !((r->prefix.addr.ip[b / 8] ^ a->ip[b / 8]) & 0x80 >> b % 8);
		match = match && (r->proto == 0 || r->proto == proto);
		match = match && r->lo <= a->port && a->port <= r->hi;
		if (match)
			verdict = r->accept;
	}
	return verdict;
}

static void policy_agrees_with_a_slow_one(void **state)
{
	(void)state;
	struct seeded seed;
	struct rng rng = seeded_rng(&seed, 5);
	unsigned accepted = 0;
	for (int round = 0; round < 20000; round++) {
		struct policy p = {.n = (uint16_t)rng_below(&rng, 6)};
		for (unsigned i = 0; i < p.n; i++)
			p.rule[i] = random_rule(&rng);
		struct policy_rule like = random_rule(&rng);
		if (p.n && rng_below(&rng, 2))
			like = p.rule[rng_below(&rng, p.n)];
		struct addr a = like.prefix.addr;
		a.port = (uint16_t)rng_below(&rng, 12);
		uint8_t proto = like.proto ? like.proto : 6;
		assert_int_equal(policy_allows(&p, proto, &a), slow_allows(&p, proto, &a));
		accepted += policy_allows(&p, proto, &a);
	}
	assert_in_range(accepted, 500, 19500);
}

static void assert_same(const struct policy_rule *a, const struct policy_rule *b)
{
	assert_true(addr_equal(&a->prefix.addr, &b->prefix.addr));
	assert_int_equal(a->prefix.len, b->prefix.len);
	assert_int_equal(a->accept, b->accept);
	assert_int_equal(a->proto, b->proto);
	assert_int_equal(a->lo, b->lo);
	assert_int_equal(a->hi, b->hi);
}

static void policy_goes_through_wire_and_text(void **state)
{
	(void)state;
	struct seeded seed;
	struct rng rng = seeded_rng(&seed, 6);
	for (int round = 0; round < 300; round++) {
		struct policy p = {.n = (uint16_t)rng_below(&rng, POLICY_RULES_MAX + 1)}, q,
			      t = {0};
		for (unsigned i = 0; i < p.n; i++)
			p.rule[i] = random_rule(&rng);
		uint8_t bytes[POLICY_MAX_BYTES];
		struct writer w;
		struct reader r;
		writer_init(&w, bytes, sizeof(bytes));
		policy_write(&w, &p);
		assert_false(w.bad);
		reader_init(&r, bytes, w.used);
		policy_read(&r, &q);
		assert_true(reader_done(&r));
		assert_int_equal(p.n, q.n);
		for (unsigned i = 0; i < p.n; i++) {
			char text[POLICY_TEXT_BYTES], err[POLICY_ERROR_BYTES];
			assert_same(&p.rule[i], &q.rule[i]);
			policy_rule_text(&p.rule[i], text);
			assert_int_equal(policy_add_text(&t, text, err), 0);
			assert_int_equal(t.n, i + 1);
			assert_same(&p.rule[i], &t.rule[i]);
		}
	}
}

static void policy_refuses_bad_bytes(void **state)
{
	(void)state;
	static const struct {
		uint8_t bytes[16];
		size_t n;
		bool good;
	} rows[] = {
		{{0, 1, 1, 4, 6, 8, 10, 0, 80, 0, 80}, 11, true},
		{{0, 1, 2, 4, 6, 8, 10, 0, 80, 0, 80}, 11, false}, /* accept 2 */
		{{0, 1, 1, 5, 6, 8, 10, 0, 80, 0, 80}, 11, false}, /* family 5 */
		{{0, 1, 1, 4, 6, 33, 10, 0, 0, 0, 1, 0, 80, 0, 80}, 15, false},
		{{0, 1, 1, 4, 6, 7, 11, 0, 80, 0, 80}, 11, false}, /* host bits */
		{{0, 1, 1, 4, 6, 8, 10, 0, 81, 0, 80}, 11, false}, /* lo > hi */
		{{0, 1, 1, 4, 6, 8, 10, 0, 80, 0}, 10, false},	   /* cut */
		{{0, 2, 1, 4, 6, 8, 10, 0, 80, 0, 80}, 11, false}, /* one is missing */
		{{0, 201}, 2, false},
		{{0, 0}, 2, true},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct reader r;
		struct policy p;
		reader_init(&r, rows[i].bytes, rows[i].n);
		policy_read(&r, &p);
		assert_int_equal(reader_done(&r), rows[i].good);
		if (!rows[i].good)
			assert_int_equal(p.n, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(policy_first_match_wins_and_the_end_rejects),
		cmocka_unit_test(policy_refuses_bad_lines),
		cmocka_unit_test(policy_agrees_with_a_slow_one),
		cmocka_unit_test(policy_goes_through_wire_and_text),
		cmocka_unit_test(policy_refuses_bad_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
