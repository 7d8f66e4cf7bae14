/* tests/unit/test_kdf.c - the edges of crypto/kdf.c; its values are checked by the vectors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "crypto/kdf.h"

/* BLAKE2b-256 of "abc", as `b2sum -l 256` prints it. */
static void kdf_hash_is_blake2b_256(void **state)
{
	(void)state;
	static const uint8_t expected[32] = {
		0xbd, 0xdd, 0x81, 0x3c, 0x63, 0x42, 0x39, 0x72, 0x31, 0x71, 0xef,
		0x3f, 0xee, 0x98, 0x57, 0x9b, 0x94, 0x96, 0x4e, 0x3b, 0xb1, 0xcb,
		0x3e, 0x42, 0x72, 0x62, 0xc8, 0xc0, 0x68, 0xd5, 0x23, 0x19,
	};
	uint8_t out[32];
	hash(out, "abc", 3);
	assert_memory_equal(out, expected, 32);
}

static void kdf_hash_parts_joins_without_separators(void **state)
{
	(void)state;
	uint8_t whole[32], parts[32];
	hash(whole, "sispop", 6);
	hash_parts(parts, (struct hash_part[]){{"s", 1}, {"", 0}, {NULL, 0}, {"ispop", 5}}, 4);
	assert_memory_equal(whole, parts, 32);
}

static void kdf_length_is_a_parameter_not_a_cut(void **state)
{
	(void)state;
	const uint8_t k[32] = {1};
	uint8_t n64[64], n32[32], n12[12], n8[8];
	kdf(n64, 64, k, "x", NULL, 0);
	kdf(n32, 32, k, "x", NULL, 0);
	kdf(n12, 12, k, "x", NULL, 0);
	kdf(n8, 8, k, "x", NULL, 0);
	assert_memory_not_equal(n64, n32, 32);
	assert_memory_not_equal(n32, n12, 12);
	assert_memory_not_equal(n12, n8, 8);
}

/* The zero byte after the label keeps ("ab", "c") and ("a", "bc") apart. */
static void kdf_label_does_not_run_into_message(void **state)
{
	(void)state;
	const uint8_t k[32] = {1};
	uint8_t a[32], b[32], c[32];
	kdf(a, 32, k, "ab", "c", 1);
	kdf(b, 32, k, "a", "bc", 2);
	kdf(c, 32, k, "ab", "c", 1);
	assert_memory_not_equal(a, b, 32);
	assert_memory_equal(a, c, 32);
}

static void kdf_mac_depends_on_key_and_every_part(void **state)
{
	(void)state;
	const uint8_t k1[32] = {1}, k2[32] = {2};
	const struct hash_part parts[] = {{"a", 1}, {"b", 1}};
	uint8_t m[16], other_key[16], other_part[16], short_key[16];
	mac_parts(m, 16, k1, 32, parts, 2);
	mac_parts(other_key, 16, k2, 32, parts, 2);
	mac_parts(other_part, 16, k1, 32, parts, 1);
	mac_parts(short_key, 16, k1, 16, parts, 2);
	assert_memory_not_equal(m, other_key, 16);
	assert_memory_not_equal(m, other_part, 16);
	assert_memory_not_equal(m, short_key, 16);
}

static void kdf_wipe_and_equal(void **state)
{
	(void)state;
	uint8_t a[40], b[40];
	memset(a, 7, sizeof(a));
	memcpy(b, a, sizeof(a));
	for (size_t i = 0; i < sizeof(a); i++) {
		assert_true(equal_ct(a, b, sizeof(a)));
		b[i] ^= 0x80;
		assert_false(equal_ct(a, b, sizeof(a)));
		b[i] ^= 0x80;
	}
	wipe(a, 39);
	for (size_t i = 0; i < 39; i++)
		assert_int_equal(a[i], 0);
	assert_int_equal(a[39], 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kdf_hash_is_blake2b_256),
		cmocka_unit_test(kdf_hash_parts_joins_without_separators),
		cmocka_unit_test(kdf_length_is_a_parameter_not_a_cut),
		cmocka_unit_test(kdf_label_does_not_run_into_message),
		cmocka_unit_test(kdf_mac_depends_on_key_and_every_part),
		cmocka_unit_test(kdf_wipe_and_equal),
	};
	if (crypto_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
