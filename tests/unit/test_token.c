/* tests/unit/test_token.c - crypto/token.c. The value itself is checked by the vectors. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "crypto/kdf.h"
#include "crypto/token.h"
#include "seeded.h"

static void token_has_26_characters_of_all_32(void **state)
{
	(void)state;
	struct seeded s;
	struct rng rng = seeded_rng(&s, 1);
	char seen[256] = {0}, last[TOKEN_CHARS + 1] = "";
	int kinds = 0;
	for (int round = 0; round < 100; round++) {
		char token[TOKEN_CHARS + 1];
		token_new(token, &rng);
		assert_int_equal(strlen(token), TOKEN_CHARS);
		assert_int_equal(strspn(token, "ybndrfg8ejkmcpqxot1uwisza345h769"), TOKEN_CHARS);
		assert_string_not_equal(token, last);
		strcpy(last, token);
		for (int i = 0; i < TOKEN_CHARS; i++) {
			kinds += !seen[(uint8_t)token[i]];
			seen[(uint8_t)token[i]] = 1;
		}
	}
	assert_int_equal(kinds, 32);
}

static void token_seed_refuses_empty_and_too_long(void **state)
{
	(void)state;
	const uint8_t id[32] = {1};
	uint8_t seed[32] = {9}, untouched[32] = {9};
	char text[TOKEN_MAX_BYTES + 2];
	memset(text, 'a', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(token_seed("", id, seed), -EINVAL);
	assert_int_equal(token_seed(text, id, seed), -EINVAL);
	assert_memory_equal(seed, untouched, 32);
	text[TOKEN_MAX_BYTES] = '\0';
	assert_int_equal(token_seed(text, id, seed), 0);
}

static void token_seed_differs_by_exit(void **state)
{
	(void)state;
	const uint8_t id1[32] = {1}, id2[32] = {2};
	uint8_t a[32], b[32];
	assert_int_equal(token_seed("t", id1, a), 0);
	assert_int_equal(token_seed("t", id2, b), 0);
	assert_memory_not_equal(a, b, 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(token_has_26_characters_of_all_32),
		cmocka_unit_test(token_seed_refuses_empty_and_too_long),
		cmocka_unit_test(token_seed_differs_by_exit),
	};
	if (crypto_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
