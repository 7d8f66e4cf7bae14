/* tests/unit/test_round.c - authority/round.c: three authorities that agree, with one dead, lying
 * or two-faced. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "authority/round.h"
#include "directory_sample.h"

#define SERIAL SAMPLE_NOW

/* The vote of authority i on all relays of the sample, with this weight. */
static uint8_t *vote_of(struct sample *s, unsigned i, uint64_t serial, uint32_t weight,
			size_t *ret_n)
{
	struct vote *v = calloc(1, sizeof(*v));
	struct consensus *c = sample_body(s, serial);
	uint8_t *p;
	v->serial = serial;
	v->authority = (uint8_t)i;
	v->relay = c->relay;
	v->nrelays = c->nrelays;
	for (unsigned r = 0; r < v->nrelays; r++)
		v->relay[r].weight = weight;
	assert_int_equal(vote_write(v, &s->net, &s->authority[i], &p, ret_n), 0);
	v->relay = NULL;
	vote_free(v);
	consensus_free(c);
	return p;
}

static enum dir_result give(struct sample *s, struct round *r, unsigned i, uint64_t serial,
			    uint32_t weight)
{
	size_t n;
	uint8_t *p = vote_of(s, i, serial, weight, &n);
	enum dir_result result = round_take_vote(r, p, n);
	free(p);
	return result;
}

static struct vote_signature signature_of(struct sample *s, unsigned i, const uint8_t hash[32])
{
	struct vote_signature g = {.serial = SERIAL, .authority = (uint8_t)i};
	memcpy(g.body_hash, hash, 32);
	assert_int_equal(consensus_sign(hash, &s->authority[i], g.sig), 0);
	return g;
}

static void round_of_three_ends_in_a_consensus(void **state)
{
	(void)state;
	struct sample s;
	struct round r[3];
	sample_init(&s, 40, 3, 2, 4, 1);
	for (unsigned i = 0; i < 3; i++) {
		round_init(&r[i], &s.net, (uint8_t)i, SERIAL, 1000);
		assert_int_equal(round_next_ms(&r[i]), SERIAL * 1000 + 250);
		for (unsigned j = 0; j < 3; j++) /* each hears them in another order */
			assert_int_equal(give(&s, &r[i], (i + j) % 3, SERIAL, 10 * ((i + j) % 3)),
					 DIR_OK);
		assert_int_equal(give(&s, &r[i], 1, SERIAL, 10), DIR_SAME);
		assert_int_equal(round_votes(&r[i]), 3);
		r[i].phase = ROUND_SHOW;
		assert_int_equal(round_next_ms(&r[i]), SERIAL * 1000 + 500);
		r[i].phase = ROUND_SIGN;
		assert_int_equal(round_next_ms(&r[i]), SERIAL * 1000 + 1000);
		assert_int_equal(round_tally(&r[i]), 0);
		assert_memory_equal(r[i].body->body_hash, r[0].body->body_hash, 32);
		assert_int_equal(r[i].body->relay[0].weight, 10);
	}
	for (unsigned i = 0; i < 3; i++) {
		struct vote_signature g = signature_of(&s, i, r[0].body->body_hash);
		assert_int_equal(round_agreeing(&r[0]), i);
		assert_int_equal(round_take_signature(&r[0], &g), DIR_OK);
		assert_int_equal(round_take_signature(&r[0], &g), DIR_SAME);
	}
	uint8_t *p;
	size_t n;
	struct consensus *c;
	assert_int_equal(round_assemble(&r[0], &p, &n), 0);
	assert_int_equal(consensus_accept(&s.net, NULL, SERIAL, p, n, &c), DIR_OK);
	assert_int_equal(c->nsignatures, 3);
	assert_int_equal(c->nrelays, 4);
	free(p);
	consensus_free(c);
	for (unsigned i = 0; i < 3; i++)
		round_done(&r[i]);
}

static void round_does_not_count_who_votes_twice(void **state)
{
	(void)state;
	struct sample s;
	struct round r;
	sample_init(&s, 41, 3, 2, 2, 0);
	round_init(&r, &s.net, 0, SERIAL, 1000);
	assert_int_equal(give(&s, &r, 0, SERIAL, 10), DIR_OK);
	assert_int_equal(give(&s, &r, 1, SERIAL, 20), DIR_OK);
	assert_int_equal(give(&s, &r, 2, SERIAL, 30), DIR_OK);
	assert_int_equal(give(&s, &r, 2, SERIAL, 31), DIR_CONFLICT);
	assert_int_equal(give(&s, &r, 2, SERIAL, 30), DIR_CONFLICT); /* and is not heard any more */
	assert_int_equal(round_votes(&r), 2);
	assert_int_equal(round_tally(&r), 0);
	assert_int_equal(r.body->relay[0].weight, 10);
	round_done(&r);
}

static void round_refuses_what_is_not_its_own(void **state)
{
	(void)state;
	struct sample s;
	struct round r;
	uint8_t other[32] = {1};
	sample_init(&s, 42, 3, 2, 2, 0);
	round_init(&r, &s.net, 0, SERIAL, 1000);
	assert_int_equal(give(&s, &r, 0, SERIAL + 1, 10), DIR_STALE);
	assert_int_equal(give(&s, &r, 0, SERIAL, 10), DIR_OK);
	assert_int_equal(round_tally(&r), -ENODATA); /* one of three is no majority */
	assert_int_equal(give(&s, &r, 1, SERIAL, 10), DIR_OK);
	assert_int_equal(round_tally(&r), 0);
	r.phase = ROUND_SIGN;
	assert_int_equal(give(&s, &r, 2, SERIAL, 10), DIR_STALE);
	struct vote_signature g = signature_of(&s, 1, other);
	assert_int_equal(round_take_signature(&r, &g), DIR_CONFLICT);
	assert_int_equal(round_agreeing(&r), 0);
	g = signature_of(&s, 1, r.body->body_hash); /* too late: it had its word */
	assert_int_equal(round_take_signature(&r, &g), DIR_CONFLICT);
	assert_int_equal(round_agreeing(&r), 0);
	g.serial++;
	assert_int_equal(round_take_signature(&r, &g), DIR_STALE);
	round_done(&r);
}

static void round_signs_no_empty_list(void **state)
{
	(void)state;
	struct sample s;
	struct round r;
	sample_init(&s, 43, 1, 1, 0, 0);
	round_init(&r, &s.net, 0, SERIAL, 1000);
	assert_int_equal(give(&s, &r, 0, SERIAL, 10), DIR_OK);
	assert_int_equal(round_tally(&r), -ENODATA);
	round_done(&r);
}

int main(void)
{
	if (crypto_init())
		return 1;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_of_three_ends_in_a_consensus),
		cmocka_unit_test(round_does_not_count_who_votes_twice),
		cmocka_unit_test(round_refuses_what_is_not_its_own),
		cmocka_unit_test(round_signs_no_empty_list),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
