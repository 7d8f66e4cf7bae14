/* tests/unit/test_sign.c - crypto/sign.c: a signature holds for one key, one label and one message.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "crypto/kdf.h"
#include "crypto/sign.h"
#include "seeded.h"

static void sign_verifies_what_was_signed_and_nothing_else(void **state)
{
	(void)state;
	struct seeded s;
	struct rng rng = seeded_rng(&s, 1);
	struct sign_keypair k, other;
	sign_keypair_new(&k, &rng);
	sign_keypair_new(&other, &rng);
	assert_memory_not_equal(k.public_key, other.public_key, 32);
	uint8_t m[100], sig[SIGN_BYTES];
	rng_bytes(&rng, m, sizeof(m));
	assert_int_equal(sign_message(sig, &k, "sispop1 desc", m, sizeof(m)), 0);
	assert_true(sign_verify(sig, k.public_key, "sispop1 desc", m, sizeof(m)));
	assert_false(sign_verify(sig, k.public_key, "sispop1 cons", m, sizeof(m)));
	assert_false(sign_verify(sig, other.public_key, "sispop1 desc", m, sizeof(m)));
	assert_false(sign_verify(sig, k.public_key, "sispop1 desc", m, sizeof(m) - 1));
	for (size_t i = 0; i < sizeof(m); i++) {
		m[i] ^= 4;
		assert_false(sign_verify(sig, k.public_key, "sispop1 desc", m, sizeof(m)));
		m[i] ^= 4;
	}
	for (size_t i = 0; i < sizeof(sig); i++) {
		sig[i] ^= 4;
		assert_false(sign_verify(sig, k.public_key, "sispop1 desc", m, sizeof(m)));
		sig[i] ^= 4;
	}
	assert_true(sign_verify(sig, k.public_key, "sispop1 desc", m, sizeof(m)));
}

static void sign_seed_makes_the_same_pair(void **state)
{
	(void)state;
	const uint8_t seed[32] = {7};
	struct sign_keypair a, b;
	sign_keypair_from_seed(&a, seed);
	sign_keypair_from_seed(&b, seed);
	assert_memory_equal(&a, &b, sizeof(a));
	assert_memory_equal(a.seed, seed, 32);
	sign_keypair_done(&a);
	uint8_t zero[sizeof(a)] = {0};
	assert_memory_equal(&a, zero, sizeof(a));
}

/* An all-zero key (small order) verifies forged signatures in careless code. */
static void sign_refuses_small_order_keys(void **state)
{
	(void)state;
	const uint8_t zero_key[32] = {0}, one_key[32] = {1}, sig[SIGN_BYTES] = {1};
	assert_false(sign_verify(sig, zero_key, "l", "m", 1));
	assert_false(sign_verify(sig, one_key, "l", "m", 1));
}

static void sign_has_a_longest_message(void **state)
{
	(void)state;
	const uint8_t seed[32] = {7};
	const size_t longest = 128 * 1024 - 1; /* with a label of one byte */
	struct sign_keypair k;
	sign_keypair_from_seed(&k, seed);
	uint8_t *m = calloc(1, longest + 1), sig[SIGN_BYTES];
	assert_non_null(m);
	assert_int_equal(sign_message(sig, &k, "l", m, longest + 1), -EMSGSIZE);
	assert_int_equal(sign_message(sig, &k, "l", m, SIZE_MAX), -EMSGSIZE);
	assert_int_equal(sign_message(sig, &k, "l", m, longest), 0);
	assert_true(sign_verify(sig, k.public_key, "l", m, longest));
	assert_false(sign_verify(sig, k.public_key, "l", m, longest + 1));
	assert_int_equal(sign_message(sig, &k, "", NULL, 0), 0);
	assert_true(sign_verify(sig, k.public_key, "", NULL, 0));
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sign_verifies_what_was_signed_and_nothing_else),
		cmocka_unit_test(sign_seed_makes_the_same_pair),
		cmocka_unit_test(sign_refuses_small_order_keys),
		cmocka_unit_test(sign_has_a_longest_message),
	};
	if (crypto_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
