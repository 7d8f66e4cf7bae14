/* tests/unit/test_relays.c - authority/relays.c: what is kept of relays, and what is voted for. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "authority/relays.h"
#include "directory_sample.h"

#define NOW SAMPLE_NOW

/* Relay i says that it was published at `when`. */
static enum take tell(struct sample *s, struct relays *t, unsigned i, uint64_t when)
{
	s->d[i].published = when;
	s->d[i].valid_until = when + 86400;
	sample_sign(s, i);
	return relays_take(t, s->bytes[i], s->nbytes[i], NOW, NULL);
}

static void answer(struct relays *t, const struct sample *s, unsigned i, enum reach v4,
		   enum reach v6)
{
	struct known_relay *r = relays_find(t, s->id[i].public_key);
	relay_on_probe(r, 4, v4, NOW);
	relay_on_probe(r, 6, v6, NOW);
}

static void relays_take_the_newer_descriptor(void **state)
{
	(void)state;
	struct sample s;
	struct relays t;
	sample_init(&s, 50, 1, 1, 3, 1);
	assert_int_equal(relays_init(&t, 10), 0);
	assert_int_equal(tell(&s, &t, 1, NOW - 10), TAKE_NEW);
	assert_int_equal(tell(&s, &t, 1, NOW - 10), TAKE_SAME);
	assert_int_equal(tell(&s, &t, 1, NOW - 11), TAKE_OLDER);
	assert_int_equal(tell(&s, &t, 1, NOW - 9), TAKE_NEW);
	assert_int_equal(tell(&s, &t, 1, NOW - 10), TAKE_SAME); /* a replay changes nothing */
	assert_int_equal(relays_find(&t, s.id[1].public_key)->d.published, NOW - 9);
	assert_int_equal(tell(&s, &t, 0, NOW + 601), TAKE_EXPIRED);
	assert_int_equal(tell(&s, &t, 0, NOW - 86400), TAKE_EXPIRED);
	assert_int_equal(tell(&s, &t, 0, NOW), TAKE_NEW);
	s.bytes[0][s.nbytes[0] - 1] ^= 1;
	assert_int_equal(relays_take(&t, s.bytes[0], s.nbytes[0], NOW, NULL), TAKE_FORGED);
	assert_int_equal(relays_take(&t, s.bytes[0], 50, NOW, NULL), TAKE_BAD);
	assert_int_equal(t.n, 2);
	for (uint64_t i = 1; i < 10; i++) {
		assert_int_equal(tell(&s, &t, 1, NOW + i), TAKE_NEW);
		assert_in_range(relays_find(&t, s.id[1].public_key)->n, 1, DESCRIPTORS_KEPT);
	}
	relays_done(&t);
}

static void relays_stay_bounded(void **state)
{
	(void)state;
	struct sample s;
	struct relays t;
	sample_init(&s, 51, 1, 1, 8, 1);
	assert_int_equal(relays_init(&t, 3), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(tell(&s, &t, i, NOW), TAKE_NEW);
		answer(&t, &s, i, REACH_ALIVE, REACH_NONE);
	}
	assert_int_equal(tell(&s, &t, 3, NOW), TAKE_FULL); /* all of them answered */
	relays_find(&t, s.id[1].public_key)->answered = 0;
	relays_find(&t, s.id[1].public_key)->probing = true;
	assert_int_equal(tell(&s, &t, 3, NOW), TAKE_FULL); /* one is under test */
	relays_find(&t, s.id[1].public_key)->probing = false;
	assert_int_equal(tell(&s, &t, 3, NOW), TAKE_NEW);
	assert_null(relays_find(&t, s.id[1].public_key));
	assert_int_equal(t.n, 3);
	for (size_t i = 1; i < t.n; i++)
		assert_true(memcmp(t.relay[i - 1]->id, t.relay[i]->id, 32) < 0);
	relays_tick(&t, NOW + RELAY_FORGOTTEN_S - 1);
	assert_int_equal(t.n, 3);
	relays_tick(&t, NOW + 86400);
	assert_int_equal(t.n, 0);
	relays_done(&t);
}

static void relays_run_when_all_that_can_be_reached_answers(void **state)
{
	(void)state;
	static const struct {
		enum reach v4, v6;
		bool runs;
	} rows[] = {
		{REACH_ALIVE, REACH_ALIVE, true}, {REACH_ALIVE, REACH_NONE, true},
		{REACH_NONE, REACH_ALIVE, true},  {REACH_NONE, REACH_NONE, false},
		{REACH_ALIVE, REACH_DEAD, false}, {REACH_DEAD, REACH_ALIVE, false},
		{REACH_DEAD, REACH_NONE, false},  {REACH_ALIVE, REACH_UNKNOWN, false},
	};
	struct sample s;
	struct relays t;
	sample_init(&s, 52, 1, 1, 1, 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(relays_init(&t, 3), 0);
		assert_int_equal(tell(&s, &t, 0, NOW), TAKE_NEW);
		struct known_relay *r = t.relay[0];
		assert_false(relay_is_running(r, NOW, 100));
		answer(&t, &s, 0, rows[i].v4, rows[i].v6);
		assert_int_equal(relay_is_running(r, NOW, 100), rows[i].runs);
		assert_false(relay_is_running(r, NOW + 101, 100));
		assert_int_equal(relay_is_running(r, NOW + 15, 3), rows[i].runs);
		s.d[0].v4.port++; /* it moves: what was tested says nothing any more */
		assert_int_equal(tell(&s, &t, 0, NOW + 1), TAKE_NEW);
		assert_false(relay_is_running(r, NOW + 1, 100));
		relays_done(&t);
	}
}

static void relays_vote_for_what_all_have_had_time_to_get(void **state)
{
	(void)state;
	struct sample s;
	struct relays t;
	uint8_t h[4][32];
	sample_init(&s, 53, 1, 1, 1, 1);
	assert_int_equal(relays_init(&t, 3), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(tell(&s, &t, 0, NOW - 90 + 30 * i), TAKE_NEW);
		descriptor_hash(s.bytes[0], s.nbytes[0], h[i]);
	}
	const struct known_relay *r = t.relay[0];
	assert_memory_equal(relay_descriptor_for(r, NOW, 0, NULL)->hash, h[2], 32);
	assert_memory_equal(relay_descriptor_for(r, NOW, 30, NULL)->hash, h[2], 32);
	assert_memory_equal(relay_descriptor_for(r, NOW, 31, NULL)->hash, h[1], 32);
	assert_memory_equal(relay_descriptor_for(r, NOW, 61, NULL)->hash, h[0], 32);
	assert_memory_equal(relay_descriptor_for(r, NOW, 500, NULL)->hash, h[0], 32);
	assert_memory_equal(relay_descriptor_for(r, NOW, 0, h[1])->hash, h[1], 32);
	assert_memory_equal(relay_descriptor_for(r, NOW, 0, h[3])->hash, h[2], 32);
	relays_done(&t);
}

static unsigned listed(const struct relays *t)
{
	struct vote *v = calloc(1, sizeof(*v));
	v->serial = NOW;
	assert_int_equal(relays_vote(t, v, NOW, 60, 0, NULL, false), 0);
	unsigned n = v->nrelays;
	vote_free(v);
	return n;
}

/* One machine with many IDs: a few are listed, and the others hold no place against newcomers. */
static void relays_of_one_address_are_few(void **state)
{
	(void)state;
	struct sample s;
	struct relays t;
	sample_init(&s, 57, 1, 1, 8, 1);
	assert_int_equal(relays_init(&t, 7), 0);
	t.per_address = 4;
	for (unsigned i = 0; i < 7; i++) {
		assert_int_equal(tell(&s, &t, i, NOW), TAKE_NEW);
		answer(&t, &s, i, REACH_ALIVE, REACH_ALIVE);
		struct known_relay *r = relays_find(&t, s.id[i].public_key);
		r->d.v4 = addr_from_ip((const uint8_t[4]){192, 0, 2, i == 0 ? 1 : 2}, 4,
				       (uint16_t)(1000 + i));
		r->d.v6 = (struct addr){0};
	}
	assert_int_equal(relays_mark_crowded(&t, NOW, 60), 0);
	assert_int_equal(listed(&t), 1 + 4);
	assert_false(relays_find(&t, s.id[0].public_key)->crowded);
	assert_int_equal(tell(&s, &t, 7, NOW), TAKE_NEW); /* a crowded one made room */
	assert_int_equal(t.n, 7);
	for (size_t i = 0; i < t.n; i++) /* an address in IPv6 counts as well, by its /56 */
		t.relay[i]->d.v6 = addr_from_ip(
			(const uint8_t[16]){0x20, 1, 0xd, 0xb8, 0, 0, 0, (uint8_t)i}, 16, 1);
	assert_int_equal(relays_mark_crowded(&t, NOW, 60), 0);
	assert_int_equal(listed(&t), 4);
	t.per_address = 0; /* subnet-rule = no */
	for (size_t i = 0; i < t.n; i++)
		t.relay[i]->crowded = false;
	assert_int_equal(relays_mark_crowded(&t, NOW, 60), 0);
	assert_int_equal(listed(&t), 6);
	relays_done(&t);
}

static void relays_vote_lists_who_runs(void **state)
{
	(void)state;
	struct sample s;
	struct relays t;
	sample_init(&s, 54, 1, 1, 5, 2);
	assert_int_equal(relays_init(&t, 8), 0);
	s.d[2].mbit = 4000000000u;
	s.d[4].policy.n = 0; /* says exit, and lets nothing out */
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(tell(&s, &t, i, NOW - 10), TAKE_NEW);
	for (unsigned i = 1; i < 5; i++)
		answer(&t, &s, i, REACH_ALIVE, REACH_ALIVE);
	struct vote *v = calloc(1, sizeof(*v));
	v->serial = NOW;
	v->revoked = calloc(1, 32);
	memcpy(v->revoked[0], s.id[1].public_key, 32);
	v->nrevoked = 1;
	assert_int_equal(relays_vote(&t, v, NOW, 60, 0, NULL, false), 0);
	assert_int_equal(v->nrelays, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_memory_equal(v->relay[i].id, s.id[i + 2].public_key, 32);
	assert_int_equal(v->relay[0].weight, RELAY_WEIGHT_MAX);
	assert_int_equal(v->relay[1].flags, RELAY_FLAG_GUARD | RELAY_FLAG_EXIT);
	assert_int_equal(v->relay[2].flags, RELAY_FLAG_GUARD);
	assert_true(relays_have_new(&t, NOW, 60, NULL, NULL, 0));
	struct consensus *c = sample_body(&s, NOW);
	assert_false(relays_have_new(&t, NOW, 60, c, NULL, 0));
	c->nrelays = 4;
	assert_true(relays_have_new(&t, NOW, 60, c, NULL, 0));
	uint8_t revoked[1][32];
	memcpy(revoked[0], s.id[4].public_key, 32);
	assert_false(relays_have_new(&t, NOW, 60, c, (const uint8_t(*)[32])revoked, 1));
	consensus_free(c);
	vote_free(v);
	/* what is saved can be taken again, in order */
	uint8_t *p;
	size_t n, taken = 0;
	assert_int_equal(tell(&s, &t, 3, NOW - 5), TAKE_NEW);
	assert_int_equal(relays_write(&t, &p, &n), 0);
	relays_done(&t);
	assert_int_equal(relays_init(&t, 8), 0);
	struct reader r;
	reader_init(&r, p, n);
	while (r.left) {
		size_t len = reader_u16(&r);
		taken += relays_take(&t, reader_take(&r, len), len, NOW, NULL) == TAKE_NEW;
	}
	assert_int_equal(taken, 6);
	assert_int_equal(relays_find(&t, s.id[3].public_key)->n, 2);
	free(p);
	relays_done(&t);
}

int main(void)
{
	if (crypto_init())
		return 1;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(relays_take_the_newer_descriptor),
		cmocka_unit_test(relays_stay_bounded),
		cmocka_unit_test(relays_run_when_all_that_can_be_reached_answers),
		cmocka_unit_test(relays_vote_for_what_all_have_had_time_to_get),
		cmocka_unit_test(relays_of_one_address_are_few),
		cmocka_unit_test(relays_vote_lists_who_runs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
