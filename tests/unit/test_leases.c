/* tests/unit/test_leases.c - exit/leases.c: arithmetic by table and by random ranges, and the whole
 * against a slow second implementation that keeps a list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "exit/leases.h"
#include "seeded.h"

#define BOTH (WANT_V4 | WANT_V6)

static struct prefix prefix(const char *text)
{
	struct prefix p = {0};

	if (text)
		assert_int_equal(prefix_parse(text, &p), 0);
	return p;
}

static struct addr address(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse_ip(text, &a), 0);
	return a;
}

static struct leases *make(const char *v4, const char *v6, const struct rng *rng)
{
	struct prefix p4 = prefix(v4), p6 = prefix(v6);
	struct leases *l = leases_new(&p4, &p6, rng);

	assert_non_null(l);
	return l;
}

static void same_text(const struct addr *a, const char *want)
{
	char text[ADDR_TEXT_BYTES];

	assert_string_equal(addr_ip_text(a, text), want);
}

static void leases_leaves_out_network_own_and_broadcast(void **state)
{
	static const struct {
		const char *v4, *v6;
		uint32_t capacity;
		const char *own4, *own6;
	} rows[] = {
		{"10.1.2.4/30", NULL, 1, "10.1.2.5", "none"},
		{"10.1.2.0/29", NULL, 5, "10.1.2.1", "none"},
		{"10.1.0.0/16", "fd00:1::/64", 65533, "10.1.0.1", "fd00:1::1"},
		{"10.0.0.0/8", NULL, LEASES_MOST, "10.0.0.1", "none"},
		{NULL, "fd00::7:0/126", 1, "none", "fd00::7:1"},
		{NULL, "fd00::/112", 65533, "none", "fd00::1"},
		{NULL, "fd00::/32", LEASES_MOST, "none", "fd00::1"},
		{"10.1.2.0/24", "fd00::/125", 5, "10.1.2.1", "fd00::1"},
	};
	struct seeded seed;
	struct rng rng = seeded_rng(&seed, 1);

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct leases *l = make(rows[i].v4, rows[i].v6, &rng);
		struct addr own4 = leases_own(l, 4), own6 = leases_own(l, 6);

		assert_int_equal(leases_capacity(l), rows[i].capacity);
		same_text(&own4, rows[i].own4);
		same_text(&own6, rows[i].own6);
		assert_null(leases_find(l, &own4));
		assert_null(leases_find(l, &own6));
		leases_free(l);
	}
}

static void leases_lends_the_last_one_and_no_more(void **state)
{
	struct seeded seed;
	struct rng rng = seeded_rng(&seed, 2);
	struct leases *l = make("10.9.9.8/29", "fd00::/64", &rng);
	struct session_data s[6] = {0};
	bool seen[16] = {false};

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(leases_take(l, &s[i], BOTH, NULL), 0);
		unsigned last = s[i].lease4.ip[3];
		assert_memory_equal(s[i].lease4.ip, "\x0a\x09\x09", 3);
		assert_in_range(last, 10, 14); /* neither 8, 9 nor 15 */
		assert_false(seen[last]);
		seen[last] = true;
		assert_int_equal(s[i].lease6.ip[15], last - 8);
		assert_ptr_equal(leases_find(l, &s[i].lease4), &s[i]);
		assert_ptr_equal(leases_find(l, &s[i].lease6), &s[i]);
	}
	assert_int_equal(leases_take(l, &s[5], BOTH, NULL), -ENOSPC);
	leases_put(l, &s[3]);
	assert_null(leases_find(l, &s[3].lease4));
	assert_int_equal(leases_take(l, &s[5], BOTH, NULL), 0);
	assert_true(addr_equal(&s[5].lease4, &s[3].lease4));
	assert_int_equal(leases_used(l), 5);
	leases_free(l);
}

static void leases_gives_the_families_that_are_wanted_and_there(void **state)
{
	struct seeded seed;
	struct rng rng = seeded_rng(&seed, 3);
	struct leases *l = make("10.1.0.0/16", "fd00::/64", &rng),
		      *four = make("10.1.0.0/16", NULL, &rng);
	struct session_data a = {0}, b = {0}, c = {0};
	struct addr twin;

	(void)state;
	assert_int_equal(leases_take(l, &a, WANT_V4 | WANT_DNS, NULL), 0);
	assert_int_equal(a.lease6.family, 0);
	twin = leases_own(l, 6);
	twin.ip[14] = (uint8_t)((a.lease_index + 2) >> 8);
	twin.ip[15] = (uint8_t)(a.lease_index + 2);
	assert_null(leases_find(l, &twin)); /* the index is lent, but not in this family */
	assert_int_equal(leases_take(l, &b, WANT_V6, NULL), 0);
	assert_int_equal(b.lease4.family, 0);
	assert_ptr_equal(leases_find(l, &b.lease6), &b);
	assert_int_equal(leases_take(l, &c, WANT_DNS, NULL), -EAFNOSUPPORT);
	assert_int_equal(leases_take(four, &c, WANT_V6, NULL), -EAFNOSUPPORT);
	assert_int_equal(leases_used(four), 0);
	assert_int_equal(leases_take(four, &c, BOTH, NULL), 0);
	assert_int_equal(c.lease6.family, 0);
	leases_free(l);
	leases_free(four);
}

static void leases_finds_nobody_outside_the_ranges(void **state)
{
	static const char *const far[] = {"10.2.0.2",	     "10.0.255.255", "0.0.0.0",
					  "255.255.255.255", "::",	     "fd00:1::2",
					  "fd00::1:0:2",     "fe00::2",	     "::ffff:0:2",
					  "fd00::ffff:ffff", "10.1.0.0",     "10.1.0.1",
					  "10.1.255.255"};
	struct seeded seed;
	struct rng rng = seeded_rng(&seed, 4);
	struct leases *l = make("10.1.0.0/16", "fd00::/64", &rng);
	struct session_data *s = calloc(leases_capacity(l), sizeof(*s));
	struct addr none = {0};

	(void)state;
	assert_non_null(s);
	for (uint32_t i = 0; i < leases_capacity(l);
	     i++) /* all: so nothing is hidden by a free one */
		assert_int_equal(leases_take(l, &s[i], BOTH, NULL), 0);
	for (unsigned i = 0; i < sizeof(far) / sizeof(far[0]); i++) {
		struct addr a = address(far[i]);
		assert_null(leases_find(l, &a));
	}
	assert_null(leases_find(l, &none));
	leases_free(l);
	free(s);
}

static void token_of(uint8_t token[32], unsigned number)
{
	memset(token, 0x40, 32);
	token[0] = (uint8_t)number;
	token[1] = (uint8_t)(number >> 8);
}

static void leases_gives_a_token_its_last_lease_again(void **state)
{
	struct seeded seed;
	struct rng rng = seeded_rng(&seed, 5);
	struct leases *l = make("10.1.0.0/16", NULL, &rng);
	struct session_data a = {0}, b = {0}, other = {0}, crowd = {0};
	struct addr first, second;
	uint8_t ann[32], bob[32], any[32];

	(void)state;
	token_of(ann, 1);
	token_of(bob, 2);
	assert_int_equal(leases_take(l, &a, BOTH, ann), 0);
	assert_int_equal(leases_take(l, &b, BOTH, ann), 0);
	first = a.lease4;
	second = b.lease4;
	leases_put(l, &a);
	leases_put(l, &b);
	assert_int_equal(leases_take(l, &other, BOTH, bob), 0);
	assert_false(addr_equal(&other.lease4, &second));
	assert_int_equal(leases_take(l, &b, BOTH, ann), 0); /* the newest, then the one before */
	assert_true(addr_equal(&b.lease4, &second));
	assert_int_equal(leases_take(l, &a, BOTH, ann), 0);
	assert_true(addr_equal(&a.lease4, &first));
	leases_put(l, &a);
	for (unsigned i = 0; i < LEASES_REMEMBERED;
	     i++) { /* so many others came since: it is forgotten */
		token_of(any, 100 + i);
		assert_int_equal(leases_take(l, &crowd, BOTH, any), 0);
		leases_put(l, &crowd);
	}
	assert_int_equal(leases_take(l, &a, BOTH, ann), 0);
	assert_false(addr_equal(&a.lease4, &first));
	leases_free(l);
}

/* Who had it last without a token leaves no claim of the token before. */
static void leases_forgets_a_token_when_another_had_its_lease(void **state)
{
	struct seeded seed;
	struct rng rng = seeded_rng(&seed, 8);
	struct leases *l = make("10.1.2.0/29", NULL, &rng);
	struct session_data ann = {0}, open[5] = {0};
	unsigned same = 0;
	uint8_t token[32];

	(void)state;
	token_of(token, 1);
	for (unsigned i = 0; i < 50; i++) {
		assert_int_equal(leases_take(l, &ann, BOTH, token), 0);
		uint32_t had = ann.lease_index;
		leases_put(l, &ann);
		for (unsigned j = 0; j < 5; j++)
			assert_int_equal(leases_take(l, &open[j], BOTH, NULL), 0);
		for (unsigned j = 0; j < 5; j++)
			leases_put(l, &open[j]);
		assert_int_equal(leases_take(l, &ann, BOTH, token), 0);
		same += ann.lease_index == had;
		leases_put(l, &ann);
	}
	assert_in_range(same, 1, 30);
	leases_free(l);
}

/* Of n free ones each comes up as often as another, and not in order. */
static void leases_draws_evenly(void **state)
{
	struct seeded seed;
	struct rng rng = seeded_rng(&seed, 6);
	struct leases *l = make("10.1.2.0/28", NULL, &rng);
	unsigned times[13] = {0}, rising = 0, last = 0;

	(void)state;
	for (unsigned i = 0; i < 13000; i++) {
		struct session_data s = {0};
		assert_int_equal(leases_take(l, &s, BOTH, NULL), 0);
		times[s.lease_index]++;
		rising += s.lease_index == last + 1;
		last = s.lease_index;
		leases_put(l, &s);
	}
	for (unsigned i = 0; i < 13; i++)
		assert_in_range(times[i], 850, 1150); /* 5 standard deviations */
	assert_in_range(rising, 750, 1100);
	leases_free(l);
}

/* --- the slow one: an array of who has what, searched from end to end --- */

#define SLOW_MOST 64

struct slow {
	struct session_data *holder[SLOW_MOST]; /* by index */
	struct {
		uint8_t token[32];
		uint32_t index;
	} back[4096];
	unsigned nback;
};

static int slow_expects(const struct slow *w, const uint8_t token[32])
{
	unsigned oldest = w->nback > LEASES_REMEMBERED ? w->nback - LEASES_REMEMBERED : 0;

	for (unsigned i = w->nback; i-- > oldest;) {
		bool later = false; /* another took that lease since */
		for (unsigned j = i + 1; j < w->nback; j++)
			later |= w->back[j].index == w->back[i].index &&
				 memcmp(w->back[j].token, token, 32) != 0;
		if (!later && !w->holder[w->back[i].index] && !memcmp(w->back[i].token, token, 32))
			return (int)w->back[i].index;
	}
	return -1;
}

static void check_all(const struct leases *l, const struct slow *w, uint32_t capacity)
{
	uint32_t cursor = 0, used = 0, walked = 0;

	for (uint32_t i = 0; i < capacity; i++) {
		struct addr a4 = address("10.7.7.64"), a6 = address("fd07::40");
		struct session_data *s = w->holder[i];

		a4.ip[3] = (uint8_t)(a4.ip[3] + 2 + i);
		a6.ip[15] = (uint8_t)(a6.ip[15] + 2 + i);
		assert_ptr_equal(leases_find(l, &a4), s && s->lease4.family ? s : NULL);
		assert_ptr_equal(leases_find(l, &a6), s && s->lease6.family ? s : NULL);
		if (s && s->lease4.family)
			assert_true(addr_equal(&s->lease4, &a4));
		used += s != NULL;
	}
	assert_int_equal(leases_used(l), used);
	for (struct session_data *s; (s = leases_next(l, &cursor)); walked++)
		assert_ptr_equal(w->holder[s->lease_index], s);
	assert_int_equal(walked, used);
}

static void leases_agree_with_a_slow_one(void **state)
{
	struct seeded seed;
	struct rng rng = seeded_rng(&seed, 7);
	struct leases *l = make("10.7.7.64/26", "fd07::40/122", &rng);
	struct slow *w = calloc(1, sizeof(*w));
	struct session_data *pool = calloc(SLOW_MOST, sizeof(*pool));
	uint8_t holder_token[SLOW_MOST][32];

	(void)state;
	assert_true(w && pool);
	assert_int_equal(leases_capacity(l), 61);
	for (unsigned step = 0; step < 4000; step++) {
		struct session_data *s = &pool[rng_below(&rng, SLOW_MOST)];
		bool has = w->holder[s->lease_index] == s;
		uint8_t token[32];
		int want;

		if (has) {
			memcpy(w->back[w->nback].token, holder_token[s->lease_index], 32);
			w->back[w->nback++].index = s->lease_index;
			w->holder[s->lease_index] = NULL;
			leases_put(l, s);
		} else {
			token_of(token, (unsigned)rng_below(&rng, 40));
			want = slow_expects(w, token);
			int e = leases_take(l, s, (uint8_t)(1 + rng_below(&rng, 3)), token);
			if (leases_used(l) == 61 && e) {
				assert_int_equal(e, -ENOSPC);
				s->lease_index = 0;
				continue;
			}
			assert_int_equal(e, 0);
			if (want >= 0)
				assert_int_equal(s->lease_index, want);
			assert_null(w->holder[s->lease_index]);
			w->holder[s->lease_index] = s;
			memcpy(holder_token[s->lease_index], token, 32);
		}
		if (step % 16 == 0)
			check_all(l, w, 61);
	}
	leases_free(l);
	free(w);
	free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(leases_leaves_out_network_own_and_broadcast),
		cmocka_unit_test(leases_lends_the_last_one_and_no_more),
		cmocka_unit_test(leases_gives_the_families_that_are_wanted_and_there),
		cmocka_unit_test(leases_finds_nobody_outside_the_ranges),
		cmocka_unit_test(leases_gives_a_token_its_last_lease_again),
		cmocka_unit_test(leases_forgets_a_token_when_another_had_its_lease),
		cmocka_unit_test(leases_draws_evenly),
		cmocka_unit_test(leases_agree_with_a_slow_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
