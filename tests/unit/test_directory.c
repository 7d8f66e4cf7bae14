/* tests/unit/test_directory.c - directory/directory.c: which descriptors join a consensus, and how
 * they are found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "directory_sample.h"

static struct consensus *verified(const struct sample *s)
{
	struct consensus *body = sample_body(s, SAMPLE_NOW), *c;
	size_t n;
	uint8_t *p = sample_encode(s, body, 1, &n);
	assert_int_equal(consensus_accept(&s->net, NULL, SAMPLE_NOW, p, n, &c), DIR_OK);
	consensus_free(body);
	free(p);
	return c;
}

static void directory_joins_all_that_is_named(void **state)
{
	(void)state;
	struct sample s;
	sample_init(&s, 20, 1, 1, 6, 2);
	struct directory *d = sample_directory(&s);
	size_t n;
	uint8_t *blob = sample_blob(&s, &n);
	assert_int_equal(d->n, 6);
	assert_int_equal(d->missing, 0);
	assert_int_equal(d->nblob, n);
	assert_memory_equal(d->blob, blob, n);
	for (unsigned i = 0; i < 6; i++) {
		const struct relay *r = directory_find(d, s.id[i].public_key);
		assert_ptr_equal(r, &d->relay[i]);
		assert_ptr_equal(directory_find_addr(d, &s.d[i].v4), r);
		assert_ptr_equal(directory_find_addr(d, &s.d[i].v6), r);
		struct addr other_port = s.d[i].v4;
		other_port.port++;
		assert_null(directory_find_addr(d, &other_port));
		struct policy p;
		assert_int_equal(relay_policy(r, &p), i >= 4);
		assert_int_equal(relay_onion_key(r, SAMPLE_NOW)->keyid, 7);
		assert_null(relay_onion_key(r, SAMPLE_NOW + 90000));
		assert_true(addr_equal(relay_addr(r, true, true), &s.d[i].v4));
		assert_true(addr_equal(relay_addr(r, false, true), &s.d[i].v6));
		assert_null(relay_addr(r, false, false));
	}
	free(blob);
	directory_free(d);
}

static void directory_takes_strangers_out_and_old_ones_in(void **state)
{
	(void)state;
	struct sample s;
	sample_init(&s, 21, 1, 1, 5, 1);
	struct directory *old = sample_directory(&s), *d;
	size_t nold;
	uint8_t *old_blob = sample_blob(&s, &nold);
	s.d[1].mbit = 7; /* a new word of relay 1: the old one does not count any more */
	sample_sign(&s, 1);
	size_t n;
	uint8_t *blob = sample_blob(&s, &n);
	assert_int_equal(directory_new(verified(&s), &s.net.params, old_blob, nold, NULL, &d),
			 DIR_OK);
	assert_int_equal(d->n, 4);
	assert_int_equal(d->missing, 1);
	assert_null(directory_find(d, s.id[1].public_key));
	directory_free(d);
	/* the new one alone, the rest from before */
	size_t at = 2 + s.nbytes[0];
	assert_int_equal(
		directory_new(verified(&s), &s.net.params, blob + at, 2 + s.nbytes[1], old, &d),
		DIR_OK);
	assert_int_equal(d->missing, 0);
	assert_int_equal(directory_find(d, s.id[1].public_key)->mbit, 7);
	assert_int_equal(d->nblob, n);
	assert_memory_equal(d->blob, blob, n);
	directory_free(d);
	directory_free(old);
	free(blob);
	free(old_blob);
}

static void directory_says_when_it_is_cut(void **state)
{
	(void)state;
	struct sample s;
	sample_init(&s, 22, 1, 1, 3, 1);
	size_t n;
	uint8_t *blob = sample_blob(&s, &n);
	struct consensus *c = verified(&s);
	for (size_t cut = 1; cut < n; cut++) {
		bool between = cut == 2 + s.nbytes[0] || cut == 4 + s.nbytes[0] + s.nbytes[1];
		struct directory *d = NULL;
		if (between)
			continue;
		assert_int_equal(directory_new(c, &s.net.params, blob, cut, NULL, &d), DIR_CUT);
		assert_null(d);
	}
	struct directory *d;
	assert_int_equal(directory_new(c, &s.net.params, blob, 0, NULL, &d), DIR_OK);
	assert_int_equal(d->missing, 3);
	assert_int_equal(d->n, 0);
	assert_null(directory_find(d, s.id[0].public_key));
	assert_null(directory_find_addr(d, &s.d[0].v4));
	directory_free(d);
	blob[10] ^= 1; /* another ID, or another hash: a stranger, passed over */
	assert_int_equal(directory_new(verified(&s), &s.net.params, blob, n, NULL, &d), DIR_OK);
	assert_int_equal(d->missing, 1);
	directory_free(d);
	free(blob);
}

int main(void)
{
	if (crypto_init())
		return 1;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(directory_joins_all_that_is_named),
		cmocka_unit_test(directory_takes_strangers_out_and_old_ones_in),
		cmocka_unit_test(directory_says_when_it_is_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
