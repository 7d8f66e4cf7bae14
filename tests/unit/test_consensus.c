/* tests/unit/test_consensus.c - directory/consensus.c: each way to be refused has its name, and the
 * good one is taken. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "directory_sample.h"

#define AT (SAMPLE_NOW - 60)

static enum dir_result judged(const struct sample *s, const struct consensus *have, uint64_t now,
			      const uint8_t *p, size_t n)
{
	struct consensus *c = NULL;
	enum dir_result r = consensus_accept(&s->net, have, now, p, n, &c);
	assert_int_equal(r == DIR_OK, c != NULL);
	consensus_free(c);
	return r;
}

/* Three authorities, two must sign. `who` signs a consensus at `when`. */
static uint8_t *make(struct sample *s, uint64_t when, unsigned who, size_t *ret_n)
{
	struct consensus *c = sample_body(s, when);
	uint8_t *p = sample_encode(s, c, who, ret_n);
	consensus_free(c);
	return p;
}

static void consensus_comes_back_as_it_was_written(void **state)
{
	(void)state;
	struct sample s;
	sample_init(&s, 10, 3, 2, 5, 2);
	struct consensus *c = sample_body(&s, AT), *d;
	c->nparams = 2;
	c->param[0] = (struct consensus_param){1, 99};
	c->param[1] = (struct consensus_param){1000, 5};
	size_t n, n2;
	uint8_t *p = sample_encode(&s, c, 7, &n), *p2;
	assert_int_equal(consensus_accept(&s.net, NULL, SAMPLE_NOW, p, n, &d), DIR_OK);
	assert_int_equal(d->net_id, 77);
	assert_int_equal(d->serial, AT);
	assert_int_equal(d->fresh_until, AT + 3600);
	assert_int_equal(d->nrelays, 5);
	assert_int_equal(d->nsignatures, 3);
	assert_memory_equal(d->relay, c->relay, 5 * sizeof(*c->relay));
	assert_memory_equal(d->body_hash, c->body_hash, 32);
	assert_int_equal(d->nbytes, n);
	assert_memory_equal(d->bytes, p, n);
	assert_int_equal(consensus_write(d, true, &p2, &n2), 0);
	assert_int_equal(n, n2);
	assert_memory_equal(p, p2, n);
	struct params params;
	consensus_params(d, &s.net.params, &params);
	assert_int_equal(params.v[PARAM_PATH_LIFETIME], 99);
	for (unsigned i = 0; i < 5; i++)
		assert_ptr_equal(consensus_find(d, s.id[i].public_key), &d->relay[i]);
	uint8_t unknown[32] = {1};
	assert_null(consensus_find(d, unknown));
	free(p);
	free(p2);
	consensus_free(c);
	consensus_free(d);
}

/* Offsets from PROTOCOL.md by hand, with one relay and nothing else. */
static void consensus_has_the_layout_of_the_paper(void **state)
{
	(void)state;
	struct sample s;
	sample_init(&s, 11, 1, 1, 1, 0);
	size_t n;
	uint8_t *p = make(&s, AT, 1, &n), h[32];
	assert_memory_equal(p, "SPC1", 4);
	assert_int_equal(load_be32(p + 4), 77);
	assert_int_equal(load_be64(p + 8), AT);
	assert_int_equal(load_be64(p + 16), AT);
	assert_int_equal(load_be64(p + 24), AT + 3600);
	assert_int_equal(load_be64(p + 32), AT + 86400);
	assert_int_equal(load_be16(p + 40), 0);
	assert_int_equal(load_be16(p + 42), 1);
	assert_memory_equal(p + 44, s.id[0].public_key, 32);
	descriptor_hash(s.bytes[0], s.nbytes[0], h);
	assert_memory_equal(p + 76, h, 32);
	assert_int_equal(load_be32(p + 108), RELAY_FLAG_GUARD);
	assert_int_equal(load_be32(p + 112), 100);
	assert_int_equal(load_be16(p + 116), 0);
	assert_int_equal(load_be16(p + 118), 0);
	assert_int_equal(p[120], 1);
	assert_int_equal(p[121], 0);
	assert_int_equal(n, 122 + 64);
	hash(h, p, 120);
	assert_true(sign_verify(p + 122, s.authority[0].public_key, "sispop1 cons", h, 32));
	free(p);
}

static void consensus_needs_k_signatures_of_distinct_authorities(void **state)
{
	(void)state;
	struct sample s;
	sample_init(&s, 12, 3, 2, 3, 1);
	for (unsigned who = 0; who < 8; who++) {
		size_t n;
		uint8_t *p = make(&s, AT, who, &n);
		assert_int_equal(judged(&s, NULL, SAMPLE_NOW, p, n),
				 __builtin_popcount(who) >= 2 ? DIR_OK : DIR_SHORT_SIGNED);
		if (who == 1 || who == 2) { /* one signature that is no signature */
			p[n - 1] ^= 1;
			assert_int_equal(judged(&s, NULL, SAMPLE_NOW, p, n), DIR_FORGED);
		}
		if (who == 7) { /* one bad among three does no harm, two do */
			p[n - 1] ^= 1;
			assert_int_equal(judged(&s, NULL, SAMPLE_NOW, p, n), DIR_OK);
			p[n - 65 - 1] ^= 1;
			assert_int_equal(judged(&s, NULL, SAMPLE_NOW, p, n), DIR_FORGED);
		}
		if (who == 3) { /* the same authority twice, and out of order */
			memcpy(p + n - 65, p + n - 130, 65);
			assert_int_equal(judged(&s, NULL, SAMPLE_NOW, p, n), DIR_MALFORMED);
			p[n - 130] = 1;
			p[n - 65] = 0;
			assert_int_equal(judged(&s, NULL, SAMPLE_NOW, p, n), DIR_MALFORMED);
			p[n - 130] = 0;
			p[n - 65] = 200;
			assert_int_equal(judged(&s, NULL, SAMPLE_NOW, p, n), DIR_FORGED);
		}
		free(p);
	}
}

static void consensus_refusals_have_names(void **state)
{
	(void)state;
	struct sample s, other;
	sample_init(&s, 13, 3, 2, 3, 1);
	sample_init(&other, 14, 3, 2, 3, 1);
	size_t n;
	uint8_t *p = make(&s, AT, 7, &n);
	assert_int_equal(judged(&s, NULL, SAMPLE_NOW, p, n), DIR_OK);
	assert_int_equal(judged(&other, NULL, SAMPLE_NOW, p, n), DIR_FORGED);
	assert_int_equal(judged(&s, NULL, AT + 86400 - 1, p, n), DIR_OK);
	assert_int_equal(judged(&s, NULL, AT + 86400, p, n), DIR_STALE);
	assert_int_equal(judged(&s, NULL, AT - 600, p, n), DIR_OK);
	assert_int_equal(judged(&s, NULL, AT - 601, p, n), DIR_FUTURE);
	assert_int_equal(judged(&s, NULL, CONSENSUS_NO_CLOCK, p, n), DIR_OK);
	s.net.net_id++;
	assert_int_equal(judged(&s, NULL, SAMPLE_NOW, p, n), DIR_FOREIGN_NET);
	s.net.net_id--;
	for (size_t cut = 0; cut < n; cut++)
		assert_int_equal(judged(&s, NULL, SAMPLE_NOW, p, cut), DIR_CUT);
	uint8_t *longer = malloc(n + 1);
	memcpy(longer, p, n);
	longer[n] = 0;
	assert_int_equal(judged(&s, NULL, SAMPLE_NOW, longer, n + 1), DIR_MALFORMED);
	free(longer);
	for (size_t i = 0; i < n - 1 - 3 * 65; i++) {
		p[i] ^= (uint8_t)(1 << i % 8);
		assert_int_not_equal(judged(&s, NULL, CONSENSUS_NO_CLOCK, p, n), DIR_OK);
		p[i] ^= (uint8_t)(1 << i % 8);
	}
	free(p);
}

static void consensus_never_goes_back(void **state)
{
	(void)state;
	struct sample s;
	sample_init(&s, 15, 3, 2, 3, 1);
	size_t nold, nnew, nsame, nfewer, ntwin;
	uint8_t *old = make(&s, AT - 1, 7, &nold), *new = make(&s, AT, 7, &nnew);
	uint8_t *fewer = make(&s, AT, 3, &nfewer);
	s.weight[0]++;
	uint8_t *twin = make(&s, AT, 7, &ntwin), *same = make(&s, AT + 1, 7, &nsame);
	struct consensus *have;
	assert_int_equal(consensus_accept(&s.net, NULL, SAMPLE_NOW, new, nnew, &have), DIR_OK);
	assert_int_equal(judged(&s, have, SAMPLE_NOW, old, nold), DIR_ROLLED_BACK);
	assert_int_equal(judged(&s, have, SAMPLE_NOW, new, nnew), DIR_SAME);
	assert_int_equal(judged(&s, have, SAMPLE_NOW, fewer, nfewer), DIR_SAME);
	assert_int_equal(judged(&s, have, SAMPLE_NOW, twin, ntwin), DIR_CONFLICT);
	assert_int_equal(judged(&s, have, SAMPLE_NOW, same, nsame), DIR_OK);
	assert_int_equal(judged(&s, have, CONSENSUS_NO_CLOCK, old, nold), DIR_ROLLED_BACK);
	consensus_free(have);
	free(old);
	free(new);
	free(twin);
	free(same);
	free(fewer);
}

static void consensus_drops_the_revoked(void **state)
{
	(void)state;
	struct sample s;
	sample_init(&s, 16, 1, 1, 4, 1);
	struct consensus *c = sample_body(&s, AT), *d;
	memcpy(c->revoked[0], s.id[2].public_key, 32);
	c->nrevoked = 1;
	size_t n;
	uint8_t *p = sample_encode(&s, c, 1, &n);
	assert_int_equal(consensus_accept(&s.net, NULL, SAMPLE_NOW, p, n, &d), DIR_OK);
	assert_int_equal(d->nrelays, 3);
	assert_null(consensus_find(d, s.id[2].public_key));
	assert_non_null(consensus_find(d, s.id[3].public_key));
	assert_true(consensus_is_revoked(d, s.id[2].public_key));
	assert_false(consensus_is_revoked(d, s.id[1].public_key));
	free(p);
	consensus_free(c);
	consensus_free(d);
}

/* Signed by all, and yet nonsense: order, times, names, counts. */
static void consensus_refuses_signed_nonsense(void **state)
{
	(void)state;
	static const struct {
		size_t at;
		uint8_t n;
		uint8_t bytes[8];
		enum dir_result want;
	} patches[] = {
		{0, 4, "SPC2", DIR_MALFORMED},
		{15, 1, {0}, DIR_MALFORMED},	     /* serial is not valid_after */
		{24, 8, {0}, DIR_MALFORMED},	     /* fresh_until */
		{32, 8, {0}, DIR_MALFORMED},	     /* valid_until */
		{40, 2, {255, 255}, DIR_MALFORMED},  /* params */
		{42, 2, {255, 255}, DIR_CUT},	     /* relays */
		{44, 1, {0xff}, DIR_MALFORMED},	     /* order of relays */
		{188, 2, {0, 1}, DIR_MALFORMED},     /* names */
		{190, 2, {255, 255}, DIR_MALFORMED}, /* revoked */
		{192, 1, {17}, DIR_MALFORMED},	     /* signatures */
	};
	struct sample s;
	sample_init(&s, 17, 1, 1, 2, 0);
	size_t n;
	uint8_t *p = make(&s, AT, 1, &n), h[32];
	assert_int_equal(n, 193 + 65);
	for (size_t i = 0; i < sizeof(patches) / sizeof(patches[0]); i++) {
		uint8_t q[193 + 65];
		memcpy(q, p, n);
		memcpy(q + patches[i].at, patches[i].bytes, patches[i].n);
		hash(h, q, 192);
		assert_int_equal(consensus_sign(h, &s.authority[0], q + 194), 0);
		assert_int_equal(judged(&s, NULL, SAMPLE_NOW, q, n), patches[i].want);
	}
	free(p);
}

static void consensus_write_refuses_what_it_would_not_read(void **state)
{
	(void)state;
	struct sample s;
	sample_init(&s, 18, 1, 1, 3, 1);
	struct consensus *c = sample_body(&s, AT);
	uint8_t *p;
	size_t n;
	struct consensus_relay first = c->relay[0];
	c->relay[0] = c->relay[1];
	assert_int_equal(consensus_write(c, false, &p, &n), -EINVAL);
	c->relay[0] = first;
	c->nparams = 2;
	assert_int_equal(consensus_write(c, false, &p, &n), -EINVAL);
	c->nparams = 0;
	c->nrevoked = 2;
	assert_int_equal(consensus_write(c, false, &p, &n), -EINVAL);
	c->nrevoked = 0;
	c->nsignatures = 2;
	assert_int_equal(consensus_write(c, true, &p, &n), -EINVAL);
	consensus_free(c);
}

static void consensus_tells_the_time(void **state)
{
	(void)state;
	struct sample s;
	sample_init(&s, 19, 1, 1, 1, 0);
	struct consensus *c = sample_body(&s, 10000);
	assert_int_equal(consensus_clock(c, 20000, 5 * NSEC_PER_SEC), 20000);
	assert_int_equal(consensus_clock(c, 9400, 5 * NSEC_PER_SEC), 9400);
	assert_int_equal(consensus_clock(c, 9399, 5 * NSEC_PER_SEC), 10005);
	assert_int_equal(consensus_clock(c, 10000 + 86400, 0), 10000);
	assert_true(consensus_is_fresh(c, 13599));
	assert_false(consensus_is_fresh(c, 13600));
	for (int i = 0; i < 200; i++)
		assert_in_range(consensus_next_fetch(c, 10000, &s.rng), 13600, 17200);
	assert_int_equal(consensus_next_fetch(c, 50000, &s.rng), 50001);
	consensus_free(c);
	for (int i = 0; i < DIR_RESULT_COUNT; i++)
		assert_true(strlen(dir_result_text(i)) > 10 && strlen(dir_result_code(i)) > 1);
	assert_string_equal(dir_result_code(-1), "unknown");
}

int main(void)
{
	if (crypto_init())
		return 1;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(consensus_comes_back_as_it_was_written),
		cmocka_unit_test(consensus_has_the_layout_of_the_paper),
		cmocka_unit_test(consensus_needs_k_signatures_of_distinct_authorities),
		cmocka_unit_test(consensus_refusals_have_names),
		cmocka_unit_test(consensus_never_goes_back),
		cmocka_unit_test(consensus_drops_the_revoked),
		cmocka_unit_test(consensus_refuses_signed_nonsense),
		cmocka_unit_test(consensus_write_refuses_what_it_would_not_read),
		cmocka_unit_test(consensus_tells_the_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
