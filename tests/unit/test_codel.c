/* tests/unit/test_codel.c - controlled delay against what RFC 8289 says of it. */
#include "engine/codel.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define MS NSEC_PER_MSEC

static const struct codel_limits limits = {5 * MS, 100 * MS};

static void codel_lets_a_short_queue_be(void **state)
{
	struct codel c = {0};
	(void)state;
	for (nsec_t now = MS; now < 1000 * MS; now += MS)
		assert_false(codel_drops(&c, &limits, now, 5 * MS - 1, false));
}

static void codel_lets_a_burst_pass(void **state)
{
	struct codel c = {0};
	(void)state;
	for (nsec_t now = MS; now < 100 * MS; now += MS)
		assert_false(codel_drops(&c, &limits, now, 50 * MS, false));
	assert_false(codel_drops(&c, &limits, 100 * MS, 4 * MS, false));
	for (nsec_t now = 101 * MS; now < 200 * MS; now += MS) /* an interval begins anew */
		assert_false(codel_drops(&c, &limits, now, 50 * MS, false));
}

static void codel_never_drops_the_last_one(void **state)
{
	struct codel c = {0};
	(void)state;
	for (nsec_t now = MS; now < 1000 * MS; now += MS)
		assert_false(codel_drops(&c, &limits, now, 50 * MS, true));
}

/* The n-th drop comes interval / sqrt(n) after the one before it, n counting from 1. */
static void codel_drops_faster_by_the_square_root(void **state)
{
	struct codel c = {0};
	const nsec_t step = MS / 100;
	nsec_t last = 0;
	unsigned n = 0;
	(void)state;
	for (nsec_t now = step; n < 60; now += step) {
		if (!codel_drops(&c, &limits, now, 20 * MS, false))
			continue;
		if (n == 0)
			assert_in_range(now, 100 * MS, 100 * MS + 2 * step);
		else
			assert_true(fabs((double)(now - last) - 100.0 * MS / sqrt(n)) < 3 * step);
		last = now;
		n++;
	}
}

static void codel_stops_when_the_queue_is_short(void **state)
{
	struct codel c = {0};
	nsec_t now = 0;
	unsigned n = 0;
	(void)state;
	while (n < 10)
		n += codel_drops(&c, &limits, now += MS, 20 * MS, false);
	assert_false(codel_drops(&c, &limits, now += MS, MS, false));
	for (unsigned i = 0; i < 100; i++) /* it needs an interval again */
		assert_false(codel_drops(&c, &limits, now += MS, 20 * MS, false));
	/* and goes on about as fast as it ended, since that was a moment ago */
	nsec_t first = now;
	n = 0;
	while (n < 2)
		n += codel_drops(&c, &limits, now += MS, 20 * MS, false);
	assert_true(now - first < 50 * MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(codel_lets_a_short_queue_be),
		cmocka_unit_test(codel_lets_a_burst_pass),
		cmocka_unit_test(codel_never_drops_the_last_one),
		cmocka_unit_test(codel_drops_faster_by_the_square_root),
		cmocka_unit_test(codel_stops_when_the_queue_is_short),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
