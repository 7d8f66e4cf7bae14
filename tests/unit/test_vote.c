/* tests/unit/test_vote.c - directory/vote.c and tally.c: votes verify, and the same votes make the
 * same bytes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "directory_sample.h"

#define SERIAL SAMPLE_NOW
#define PEOPLE 8 /* relays that are voted on */

static struct vote *new_vote(unsigned authority)
{
	struct vote *v = calloc(1, sizeof(*v));
	assert_non_null(v);
	v->serial = SERIAL;
	v->authority = (uint8_t)authority;
	v->param = calloc(8, sizeof(*v->param));
	v->relay = calloc(PEOPLE, sizeof(*v->relay));
	v->revoked = calloc(PEOPLE, sizeof(*v->revoked));
	return v;
}

/* Each votes on most relays, one of two hashes, a few flags and weights. */
static struct vote *random_vote(const struct rng *rng, unsigned authority)
{
	struct vote *v = new_vote(authority);
	for (unsigned i = 0; i < PEOPLE; i++) {
		if (rng_below(rng, 5) == 0)
			continue;
		struct consensus_relay *r = &v->relay[v->nrelays++];
		r->id[0] = (uint8_t)i;
		r->hash[0] = rng_below(rng, 4) == 0;
		r->flags = (uint32_t)rng_below(rng, 4) | (uint32_t)rng_below(rng, 2) << 31;
		r->weight = (uint32_t)rng_below(rng, 5);
	}
	for (unsigned i = 0; i < PEOPLE; i++)
		if (rng_below(rng, 3) == 0)
			v->revoked[v->nrevoked++][0] = (uint8_t)i;
	for (uint16_t i = 1; i < 6; i++)
		if (rng_below(rng, 2))
			v->param[v->nparams++] =
				(struct consensus_param){i, 100 + (uint32_t)rng_below(rng, 9)};
	return v;
}

static void vote_verifies_for_its_authority_alone(void **state)
{
	(void)state;
	struct sample s;
	sample_init(&s, 30, 3, 2, 0, 0);
	struct vote *v = random_vote(&s.rng, 1), *back;
	uint8_t *p;
	size_t n;
	assert_int_equal(vote_write(v, &s.net, &s.authority[1], &p, &n), 0);
	assert_int_equal(vote_parse(&s.net, p, n, &back), DIR_OK);
	assert_int_equal(back->serial, SERIAL);
	assert_int_equal(back->authority, 1);
	assert_memory_equal(back->hash, v->hash, 32);
	assert_int_equal(back->nrelays, v->nrelays);
	assert_memory_equal(back->relay, v->relay, v->nrelays * sizeof(*v->relay));
	assert_int_equal(back->nrevoked, v->nrevoked);
	assert_int_equal(back->nparams, v->nparams);
	vote_free(back);
	for (size_t cut = 0; cut < n; cut++)
		assert_int_not_equal(vote_parse(&s.net, p, cut, &back), DIR_OK);
	for (size_t i = 0; i < n; i++) {
		p[i] ^= 4;
		assert_int_not_equal(vote_parse(&s.net, p, n, &back), DIR_OK);
		p[i] ^= 4;
	}
	p[16] = 0; /* another's name on it */
	assert_int_equal(vote_parse(&s.net, p, n, &back), DIR_FORGED);
	p[16] = 3;
	assert_int_equal(vote_parse(&s.net, p, n, &back), DIR_UNKNOWN_KEY);
	p[16] = 1;
	s.net.net_id++;
	assert_int_equal(vote_parse(&s.net, p, n, &back), DIR_FOREIGN_NET);
	s.net.net_id--;
	free(p);
	if (v->nrelays > 1) {
		v->relay[0] = v->relay[1];
		assert_int_equal(vote_write(v, &s.net, &s.authority[1], &p, &n), -EINVAL);
	}
	vote_free(v);
}

static void vote_signature_verifies(void **state)
{
	(void)state;
	struct sample s;
	sample_init(&s, 31, 3, 2, 0, 0);
	struct vote_signature a = {.serial = SERIAL, .authority = 2}, b;
	uint8_t p[VOTE_SIGNATURE_BYTES + 1];
	rng_bytes(&s.rng, a.body_hash, 32);
	assert_int_equal(consensus_sign(a.body_hash, &s.authority[2], a.sig), 0);
	vote_signature_write(&a, &s.net, p);
	assert_int_equal(vote_signature_parse(&s.net, p, VOTE_SIGNATURE_BYTES, &b), DIR_OK);
	assert_int_equal(b.serial, SERIAL);
	assert_int_equal(b.authority, 2);
	assert_memory_equal(b.body_hash, a.body_hash, 32);
	assert_memory_equal(b.sig, a.sig, 64);
	p[VOTE_SIGNATURE_BYTES] = 0;
	assert_int_equal(vote_signature_parse(&s.net, p, VOTE_SIGNATURE_BYTES + 1, &b),
			 DIR_MALFORMED);
	for (size_t cut = 0; cut < VOTE_SIGNATURE_BYTES; cut++)
		assert_int_equal(vote_signature_parse(&s.net, p, cut, &b), DIR_CUT);
	p[20] ^= 1;
	assert_int_equal(vote_signature_parse(&s.net, p, VOTE_SIGNATURE_BYTES, &b), DIR_FORGED);
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

/* The slow one: relay by relay, hash by hash, by counting over all votes. */
static void assert_tally(struct vote *const *v, unsigned n, unsigned all, const struct consensus *c)
{
	unsigned listed = 0, revoked = 0;
	for (unsigned id = 0; id < PEOPLE; id++) {
		unsigned against = 0;
		for (unsigned i = 0; i < n; i++)
			for (unsigned j = 0; j < v[i]->nrevoked; j++)
				against += v[i]->revoked[j][0] == id;
		uint8_t key[32] = {(uint8_t)id};
		assert_int_equal(consensus_is_revoked(c, key), 2 * against > all);
		revoked += 2 * against > all;
		const struct consensus_relay *r = consensus_find(c, key);
		for (unsigned h = 0; h < 2; h++) {
			uint32_t weight[16], flag[32] = {0};
			unsigned m = 0;
			for (unsigned i = 0; i < n; i++)
				for (unsigned j = 0; j < v[i]->nrelays; j++) {
					const struct consensus_relay *said = &v[i]->relay[j];
					if (said->id[0] != id || said->hash[0] != h)
						continue;
					weight[m++] = said->weight;
					for (unsigned b = 0; b < 32; b++)
						flag[b] += said->flags >> b & 1;
				}
			if (2 * m <= all || 2 * against > all) {
				assert_false(r && r->hash[0] == h);
				continue;
			}
			listed++;
			assert_non_null(r);
			assert_int_equal(r->hash[0], h);
			qsort(weight, m, sizeof(*weight), by_number);
			assert_int_equal(r->weight, weight[(m - 1) / 2]);
			for (unsigned b = 0; b < 32; b++)
				assert_int_equal(r->flags >> b & 1, 2 * flag[b] > m);
		}
	}
	assert_int_equal(c->nrelays, listed);
	assert_int_equal(c->nrevoked, revoked);
}

static void vote_tally_agrees_with_a_slow_one(void **state)
{
	(void)state;
	struct sample s;
	unsigned listed = 0;
	sample_init(&s, 32, 5, 3, 0, 0);
	for (int round = 0; round < 1500; round++) {
		s.net.n = (uint8_t)(1 + rng_below(&s.rng, 5));
		struct vote *v[8] = {NULL};
		unsigned n = 1 + (unsigned)rng_below(&s.rng, s.net.n);
		for (unsigned i = 0; i < n; i++)
			v[i] = random_vote(&s.rng, i);
		struct consensus *c, *d;
		assert_int_equal(vote_tally(&s.net, v, n, SERIAL, &c), 0);
		assert_tally(v, n, s.net.n, c);
		listed += c->nrelays;
		struct vote *turned[8] = {NULL}; /* another order, with holes */
		for (unsigned i = 0; i < n; i++)
			turned[7 - i] = v[i];
		assert_int_equal(vote_tally(&s.net, turned, 8, SERIAL, &d), 0);
		assert_int_equal(c->nbody, d->nbody);
		assert_memory_equal(c->bytes, d->bytes, c->nbody);
		assert_memory_equal(c->body_hash, d->body_hash, 32);
		for (unsigned i = 0; i < n; i++)
			vote_free(v[i]);
		consensus_free(c);
		consensus_free(d);
	}
	assert_in_range(listed, 1000, 1500 * PEOPLE);
}

/* From three votes by way of the tally to a document that a client accepts. */
static void vote_ends_in_a_consensus_that_is_accepted(void **state)
{
	(void)state;
	struct sample s;
	sample_init(&s, 33, 3, 2, 0, 0);
	struct vote *v[3];
	for (unsigned i = 0; i < 3; i++) {
		v[i] = new_vote(i);
		v[i]->nparams = 2;
		v[i]->param[0] = (struct consensus_param){8, 100 + i};
		v[i]->param[1] = (struct consensus_param){9, 10000};
	}
	struct consensus *c, *d;
	assert_int_equal(vote_tally(&s.net, v, 3, SERIAL, &c), 0);
	assert_int_equal(c->nparams, 2);
	assert_int_equal(c->param[0].value, 101);
	assert_int_equal(c->fresh_until, SERIAL + 101);
	assert_int_equal(c->valid_until, SERIAL + 10000);
	size_t n;
	uint8_t *p = sample_encode(&s, c, 5, &n);
	assert_int_equal(consensus_accept(&s.net, NULL, SERIAL + 1, p, n, &d), DIR_OK);
	assert_memory_equal(c->body_hash, d->body_hash, 32);
	free(p);
	consensus_free(c);
	consensus_free(d);
	for (unsigned i = 0; i < 3; i++)
		vote_free(v[i]);
}

int main(void)
{
	if (crypto_init())
		return 1;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vote_verifies_for_its_authority_alone),
		cmocka_unit_test(vote_signature_verifies),
		cmocka_unit_test(vote_tally_agrees_with_a_slow_one),
		cmocka_unit_test(vote_ends_in_a_consensus_that_is_accepted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
