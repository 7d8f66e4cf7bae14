/* tests/unit/test_guards.c - directory/guards.c: sampling limit, life, demotion, and the file's
 * text. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "directory/guards.h"
#include "seeded.h"

#define DAY UINT64_C(86400)
#define NOW (20000 * DAY)

struct world {
	struct directory d;
	struct relay relay[20];
	struct seeded seed;
	struct rng rng;
};

static void world_init(struct world *w)
{
	memset(w, 0, sizeof(*w));
	w->rng = seeded_rng(&w->seed, 3);
	w->d.relay = w->relay;
	w->d.n = 20;
	for (unsigned i = 0; i < 20; i++) {
		w->relay[i].id[0] = (uint8_t)(i + 1);
		w->relay[i].flags = RELAY_FLAG_GUARD;
	}
}

static void guards_live_60_to_120_days(void **state)
{
	(void)state;
	struct world w;
	world_init(&w);
	uint64_t least = UINT64_MAX, most = 0;
	for (int i = 0; i < 300; i++) {
		struct guards g;
		guards_init(&g);
		assert_int_equal(guards_add(&g, w.relay[0].id, NOW, &w.rng), 0);
		uint64_t life = g.guard[0].until - NOW;
		least = life < least ? life : least;
		most = life > most ? life : most;
		guards_tick(&g, g.guard[0].until - 1);
		assert_int_equal(g.n, 1);
		guards_tick(&g, NOW + life);
		assert_int_equal(g.n, 0);
	}
	assert_in_range(least, 60 * DAY, 62 * DAY);
	assert_in_range(most, 118 * DAY, 120 * DAY);
}

static void guards_sample_six_in_sixty_days(void **state)
{
	(void)state;
	struct world w;
	struct guards g;
	world_init(&w);
	guards_init(&g);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(guards_add(&g, w.relay[i].id, NOW + i * DAY, &w.rng), 0);
	assert_int_equal(guards_add(&g, w.relay[3].id, NOW + 6 * DAY, &w.rng), -EEXIST);
	assert_int_equal(guards_add(&g, w.relay[7].id, NOW + 6 * DAY, &w.rng), -ENOSPC);
	assert_false(guards_may_sample(&g, NOW + 60 * DAY - 1));
	assert_true(guards_may_sample(&g, NOW + 60 * DAY));
	/* In a hundred years never more than six in any sixty days, and never without room. */
	uint64_t sampled[4000];
	unsigned n = 0;
	guards_init(&g);
	for (uint64_t day = 0; day < 36500; day += 7) {
		guards_tick(&g, NOW + day * DAY);
		while (n < 4000 && guards_may_sample(&g, NOW + day * DAY)) {
			uint8_t id[32];
			rng_bytes(&w.rng, id, 32);
			assert_int_equal(guards_add(&g, id, NOW + day * DAY, &w.rng), 0);
			sampled[n++] = day;
		}
	}
	assert_true(n > 3000);
	for (unsigned i = 6; i < n; i++)
		assert_true(sampled[i] - sampled[i - 6] >= 60);
}

static void guards_demote_below_seventy_percent(void **state)
{
	(void)state;
	struct world w;
	struct guards g;
	uint8_t order[GUARDS_MAX][32];
	size_t in_use;
	world_init(&w);
	guards_init(&g);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(guards_add(&g, w.relay[i].id, NOW, &w.rng), 0);
	for (unsigned i = 0; i < 19; i++) { /* 19 builds judge nobody */
		guards_on_build(&g, w.relay[0].id, i % 3 == 0);
		guards_on_build(&g, w.relay[1].id, true);
	}
	assert_false(g.guard[0].demoted);
	guards_on_build(&g, w.relay[0].id, true);
	assert_true(g.guard[0].demoted);
	assert_int_equal(guards_order(&g, &w.d, order, &in_use), 3);
	assert_int_equal(in_use, 2);
	assert_memory_equal(order[0], w.relay[1].id, 32);
	assert_memory_equal(order[1], w.relay[2].id, 32);
	assert_memory_equal(order[2], w.relay[0].id, 32);
	/* exactly 14 of 20 is enough */
	guards_init(&g);
	assert_int_equal(guards_add(&g, w.relay[0].id, NOW, &w.rng), 0);
	for (unsigned i = 0; i < 20; i++)
		guards_on_build(&g, w.relay[0].id, i % 10 >= 3);
	assert_false(g.guard[0].demoted);
	guards_on_build(&g, w.relay[0].id, true); /* the oldest, a failure, falls out: 15 */
	guards_on_build(&g, w.relay[0].id, false);
	guards_on_build(&g, w.relay[0].id, false); /* 15, as two failures fell out */
	assert_false(g.guard[0].demoted);
	guards_on_build(&g, w.relay[0].id, false);
	guards_on_build(&g, w.relay[0].id, false);
	assert_true(g.guard[0].demoted); /* 13 */
}

static void guards_are_not_blamed_for_an_outage(void **state)
{
	(void)state;
	struct world w;
	struct guards g;
	world_init(&w);
	guards_init(&g);
	assert_int_equal(guards_add(&g, w.relay[0].id, NOW, &w.rng), 0);
	assert_int_equal(guards_add(&g, w.relay[1].id, NOW, &w.rng), 0);
	for (unsigned i = 0; i < 40; i++)
		guards_on_build(&g, w.relay[i % 2].id, true);
	for (unsigned i = 0; i < 1000; i++)
		guards_on_build(&g, w.relay[i % 2].id, false);
	assert_false(g.guard[0].demoted || g.guard[1].demoted);
	assert_int_equal(__builtin_popcount(g.guard[0].builds) +
				 __builtin_popcount(g.guard[1].builds),
			 40 - GUARDS_OUTAGE_FAILURES);
	uint8_t unknown[32] = {99};
	guards_on_build(&g, unknown, true);
	assert_int_equal(g.failures_in_a_row, 1000);
}

static void guards_skip_who_is_not_listed(void **state)
{
	(void)state;
	struct world w;
	struct guards g;
	uint8_t order[GUARDS_MAX][32], stranger[32] = {200};
	size_t in_use;
	world_init(&w);
	guards_init(&g);
	assert_int_equal(guards_add(&g, stranger, NOW, &w.rng), 0);
	assert_int_equal(guards_add(&g, w.relay[4].id, NOW, &w.rng), 0);
	assert_int_equal(guards_add(&g, w.relay[5].id, NOW, &w.rng), 0);
	w.relay[4].flags = RELAY_FLAG_EXIT;
	assert_int_equal(guards_order(&g, &w.d, order, &in_use), 1);
	assert_int_equal(in_use, 1);
	assert_memory_equal(order[0], w.relay[5].id, 32);
	assert_int_equal(g.n, 3);
}

static void guards_come_back_as_they_were_written(void **state)
{
	(void)state;
	struct world w;
	world_init(&w);
	for (int round = 0; round < 200; round++) {
		struct guards g, back;
		guards_init(&g);
		unsigned n = (unsigned)rng_below(&w.rng, GUARDS_MAX + 1);
		for (unsigned i = 0; i < n; i++) {
			uint8_t id[32];
			rng_bytes(&w.rng, id, 32);
			assert_int_equal(guards_add(&g, id, NOW + i * 11 * DAY, &w.rng), 0);
			for (unsigned b = (unsigned)rng_below(&w.rng, 25); b; b--)
				guards_on_build(&g, id, rng_below(&w.rng, 2));
		}
		char text[GUARDS_TEXT_MAX_BYTES];
		size_t len = guards_write(&g, text, sizeof(text));
		assert_false(g.changed);
		assert_in_range(len, 10, sizeof(text) - 1);
		assert_int_equal(guards_read(text, len, &back), 0);
		assert_int_equal(back.n, g.n);
		for (unsigned i = 0; i < n; i++) {
			assert_memory_equal(back.guard[i].id, g.guard[i].id, 32);
			assert_int_equal(back.guard[i].sampled, g.guard[i].sampled);
			assert_int_equal(back.guard[i].until, g.guard[i].until);
			assert_int_equal(back.guard[i].builds, g.guard[i].builds);
			assert_int_equal(back.guard[i].nbuilds, g.guard[i].nbuilds);
			assert_int_equal(back.guard[i].demoted, g.guard[i].demoted);
		}
		size_t cut = rng_below(&w.rng, len);
		if (text[cut ? cut - 1 : 0] != '\n')
			assert_int_equal(guards_read(text, cut, &back), -EINVAL);
	}
}

static void guards_refuse_a_bad_file(void **state)
{
	(void)state;
#define ID   "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
#define HEAD "sispopnet-guards 1\n"
	static const struct {
		const char *text;
		int want;
	} rows[] = {
		{HEAD, 0},
		{HEAD ID " 100 5184100 3 5 0\n", 0},
		{"", -EINVAL},
		{"sispopnet-guards 2\n", -EINVAL},
		{"sispopnet-guards 1", -EINVAL},
		{HEAD "\n", -EINVAL},
		{HEAD ID " 100 5184100 3 5 0", -EINVAL},
		{HEAD ID " 100 5184100 3 8 0\n", -EINVAL}, /* more builds than counted */
		{HEAD ID " 100 5184100 21 8 0\n", -EINVAL},
		{HEAD ID " 100 5184100 3 5 2\n", -EINVAL},
		{HEAD ID " 100 100 3 5 0\n", -EINVAL},
		{HEAD ID " 100 99999999 3 5 0\n", -EINVAL}, /* lives too long */
		{HEAD ID " -100 5184100 3 5 0\n", -EINVAL},
		{HEAD ID " 99999999999999999999 5184100 3 5 0\n", -EINVAL},
		{HEAD ID "  100 5184100 3 5 0\n", -EINVAL},
		{HEAD "x" ID " 100 5184100 3 5 0\n", -EINVAL},
		{HEAD ID " 100 5184100 3 5 0\n" ID " 100 5184100 3 5 0\n", -EINVAL},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct guards g = {.n = 3}, untouched = g;
		assert_int_equal(guards_read(rows[i].text, strlen(rows[i].text), &g), rows[i].want);
		if (rows[i].want)
			assert_memory_equal(&g, &untouched, sizeof(g));
	}
	struct guards g;
	char big[GUARDS_TEXT_MAX_BYTES + 1] = HEAD;
	assert_int_equal(guards_read(big, sizeof(big), &g), -EINVAL);
	assert_int_equal(guards_read(big, strlen(HEAD) + 1, &g), -EINVAL); /* a NUL */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guards_live_60_to_120_days),
		cmocka_unit_test(guards_sample_six_in_sixty_days),
		cmocka_unit_test(guards_demote_below_seventy_percent),
		cmocka_unit_test(guards_are_not_blamed_for_an_outage),
		cmocka_unit_test(guards_skip_who_is_not_listed),
		cmocka_unit_test(guards_come_back_as_they_were_written),
		cmocka_unit_test(guards_refuse_a_bad_file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
