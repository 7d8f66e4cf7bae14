/* tests/unit/test_link_parts.c - what links are made of: the timer wheel, the memory of what was
 * seen, the table of sources. Each against a slow, obvious second way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/bytes.h"
#include "crypto/kdf.h"
#include "onion/link_seen.h"
#include "onion/link_source.h"
#include "onion/link_wheel.h"
#include "onion/links.h"
#include "unit/seeded.h"

#define TIMERS 200

static struct seeded seed;

/* ---- wheel ---- */

/* Far timers come up early and are set again, as links do it. */
static void link_wheel_agrees_with_a_list(void **state)
{
	(void)state;
	struct link_wheel w;
	struct link_timer t[TIMERS] = {0};
	nsec_t due[TIMERS];
	nsec_t now = 12345 * NSEC_PER_MSEC + 678;
	link_wheel_init(&w, now);
	for (unsigned i = 0; i < TIMERS; i++)
		due[i] = NSEC_NEVER;
	for (unsigned step = 0; step < 4000; step++) {
		unsigned i = seeded_u64(&seed) % TIMERS;
		uint64_t what = seeded_u64(&seed) % 8;
		if (what == 0) {
			due[i] = NSEC_NEVER;
			link_wheel_clear(&w, &t[i]);
		} else if (what < 5) {
			nsec_t far = what == 1 ? 300 * NSEC_PER_SEC : 3 * NSEC_PER_SEC;
			due[i] = now + (nsec_t)(seeded_u64(&seed) % (uint64_t)far) - NSEC_PER_MSEC;
			link_wheel_set(&w, &t[i], due[i], now);
		} else {
			now += (nsec_t)(seeded_u64(&seed) %
					(uint64_t)(what == 7 ? 30 * NSEC_PER_SEC : NSEC_PER_SEC));
		}
		assert_true(link_wheel_next(&w) <= now + 11 * NSEC_PER_SEC || w.count == 0);
		struct link_timer *up;
		while ((up = link_wheel_pop(&w, now))) {
			size_t k = (size_t)(up - t);
			assert_true(due[k] != NSEC_NEVER);
			if (due[k] <= now)
				due[k] = NSEC_NEVER;
			else
				link_wheel_set(&w, up, due[k], now);
		}
		size_t waiting = 0;
		for (unsigned k = 0; k < TIMERS; k++) {
			waiting += due[k] != NSEC_NEVER;
			/* never later than one tick */
			assert_true(due[k] > now - LINK_WHEEL_TICK_NSEC);
		}
		assert_int_equal(w.count, waiting);
	}
}

static void link_wheel_near_timers_are_never_early(void **state)
{
	(void)state;
	struct link_wheel w;
	struct link_timer t = {0};
	nsec_t now = 5 * NSEC_PER_SEC;
	link_wheel_init(&w, now);
	for (unsigned i = 0; i < 1000; i++) {
		nsec_t due = now + (nsec_t)(seeded_u64(&seed) % (uint64_t)(9 * NSEC_PER_SEC)) + 1;
		link_wheel_set(&w, &t, due, now);
		nsec_t next = link_wheel_next(&w);
		assert_true(next >= due && next < due + LINK_WHEEL_TICK_NSEC);
		assert_null(link_wheel_pop(&w, next - 1));
		assert_ptr_equal(link_wheel_pop(&w, next), &t);
		assert_int_equal(link_wheel_next(&w), NSEC_NEVER);
		now = next;
	}
	link_wheel_set(&w, &t, NSEC_NEVER, now);
	assert_int_equal(w.count, 0);
}

/* ---- seen ---- */

static void x_of(uint32_t n, uint8_t x[32])
{
	memset(x, 0, 32);
	store_be32(x, n); /* alike but for a few bits */
}

static void link_seen_agrees_with_a_list(void **state)
{
	(void)state;
	enum { MOST = 512, LIFE = 20, NAMES = 1500 };
	static nsec_t until[NAMES];
	struct rng rng = {seeded_fill, &seed};
	struct link_seen *s = link_seen_new(MOST, LIFE, &rng);
	nsec_t now = 7 * NSEC_PER_SEC;
	unsigned refused = 0;
	for (unsigned step = 0; step < 20000; step++) {
		/* from sparse to crowded and back */
		unsigned pace = step / 5000 % 2 ? 20 : 100;
		now += (nsec_t)(seeded_u64(&seed) % (uint64_t)(pace * NSEC_PER_MSEC));
		uint32_t n = seeded_u64(&seed) % NAMES;
		uint8_t x[32];
		x_of(n, x);
		unsigned live = 0;
		if (step % 16 == 0 || until[n] <= now) {
			for (unsigned i = 0; i < NAMES; i++)
				live += until[i] > now;
		}
		bool has = link_seen_has(s, x, now);
		assert_int_equal(has, until[n] > now);
		if (has)
			continue;
		assert_int_equal(link_seen_count(s), live);
		bool added = link_seen_add(s, x, now);
		assert_int_equal(added, live < MOST);
		refused += !added;
		if (added)
			until[n] = now + LIFE * NSEC_PER_SEC;
	}
	assert_true(refused > 100);
	link_seen_free(s);
	link_seen_free(NULL);
}

/* ---- sources ---- */

static struct addr v4(uint32_t n, uint16_t port)
{
	uint8_t ip[4];
	store_be32(ip, n);
	return addr_from_ip(ip, 4, port);
}

static struct addr v6(uint64_t high, uint64_t low)
{
	uint8_t ip[16];
	store_be64(ip, high);
	store_be64(ip + 8, low);
	return addr_from_ip(ip, 16, 1);
}

static unsigned inits_granted(struct link_sources *t, const struct addr *a, nsec_t now,
			      unsigned asked)
{
	unsigned granted = 0;
	for (unsigned i = 0; i < asked; i++)
		granted += link_source_init(t, a, false, now);
	return granted;
}

static void link_source_has_a_rate(void **state)
{
	(void)state;
	struct rng rng = {seeded_fill, &seed};
	struct link_sources *t = link_sources_new(&rng);
	nsec_t now = 100 * NSEC_PER_SEC;
	struct addr a = v4(0xc0000201, 1), port = v4(0xc0000201, 999), other = v4(0xc0000202, 1);
	assert_int_equal(inits_granted(t, &a, now, 100), INIT_PER_SOURCE_PER_S);
	assert_int_equal(inits_granted(t, &port, now, 100), 0); /* a port is no source */
	assert_true(link_source_init(t, &a, true, now));	/* a cookie's rate is its own */
	assert_int_equal(inits_granted(t, &other, now, 5), 5);
	assert_int_equal(inits_granted(t, &a, now + NSEC_PER_SEC / 2, 100),
			 INIT_PER_SOURCE_PER_S / 2);
	assert_int_equal(inits_granted(t, &a, now + 100 * NSEC_PER_SEC, 100),
			 INIT_PER_SOURCE_PER_S);
	/* 10 s of asking all the time: the pace, and one burst */
	unsigned granted = 0;
	for (nsec_t at = 0; at < 10 * NSEC_PER_SEC; at += NSEC_PER_MSEC)
		granted += link_source_init(t, &other, false, now + 200 * NSEC_PER_SEC + at);
	assert_in_range(granted, 10 * INIT_PER_SOURCE_PER_S, 11 * INIT_PER_SOURCE_PER_S);
	link_sources_free(t);
}

static void link_source_is_a_56_in_ipv6(void **state)
{
	(void)state;
	struct rng rng = {seeded_fill, &seed};
	struct link_sources *t = link_sources_new(&rng);
	struct addr a = v6(UINT64_C(0x20010db800010200), 1);
	struct addr same = v6(UINT64_C(0x20010db8000102ff), 77);
	struct addr next = v6(UINT64_C(0x20010db800010300), 1);
	assert_int_equal(inits_granted(t, &a, NSEC_PER_SEC, 100), INIT_PER_SOURCE_PER_S);
	assert_int_equal(inits_granted(t, &same, NSEC_PER_SEC, 100), 0);
	assert_int_equal(inits_granted(t, &next, NSEC_PER_SEC, 1), 1);
	for (unsigned i = 0; i < LINKS_PER_SOURCE_MOST; i++)
		assert_true(link_source_take(t, i % 2 ? &a : &same));
	assert_false(link_source_take(t, &a));
	assert_int_equal(link_source_links(t, &same), LINKS_PER_SOURCE_MOST);
	assert_true(link_source_take(t, &next));
	link_source_give(t, &same);
	assert_true(link_source_take(t, &a));
	link_sources_free(t);
}

static void link_sources_are_bounded(void **state)
{
	(void)state;
	struct rng rng = {seeded_fill, &seed};
	struct link_sources *t = link_sources_new(&rng);
	nsec_t now = NSEC_PER_SEC;
	struct addr holder = v4(1, 1);
	assert_true(link_source_take(t, &holder));
	for (uint32_t i = 0; i < LINK_SOURCES_IDLE_MOST; i++) {
		struct addr a = v4(1000 + i, 1);
		assert_true(link_source_init(t, &a, false, now));
	}
	struct addr late = v4(5, 1);
	assert_false(link_source_init(t, &late, false, now)); /* all of them still count */
	assert_int_equal(link_sources_count(t), LINK_SOURCES_IDLE_MOST + 1);
	assert_true(link_source_init(t, &holder, false, now)); /* who is known is served */
	now += NSEC_PER_SEC;
	for (uint32_t i = 0; i < 3 * LINK_SOURCES_IDLE_MOST; i++) {
		struct addr a = v4(1000000 + i, 1);
		(void)!link_source_init(t, &a, false, now);
		assert_true(link_sources_count(t) <= LINK_SOURCES_IDLE_MOST + 1);
	}
	assert_int_equal(link_source_links(t, &holder), 1); /* was never put out */
	link_source_give(t, &holder);
	link_source_give(t, &holder);
	assert_int_equal(link_source_links(t, &holder), 0);
	assert_true(link_sources_count(t) <= LINK_SOURCES_IDLE_MOST);
	link_sources_free(t);
	link_sources_free(NULL);
}

static int begin(void **state)
{
	(void)state;
	seed.state = 3;
	return crypto_init();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(link_wheel_agrees_with_a_list),
		cmocka_unit_test(link_wheel_near_timers_are_never_early),
		cmocka_unit_test(link_seen_agrees_with_a_list),
		cmocka_unit_test(link_source_has_a_rate),
		cmocka_unit_test(link_source_is_a_56_in_ipv6),
		cmocka_unit_test(link_sources_are_bounded),
	};
	return cmocka_run_group_tests(tests, begin, NULL);
}
