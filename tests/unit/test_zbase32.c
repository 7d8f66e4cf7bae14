/* tests/unit/test_zbase32.c - names: known answers, a bit-by-bit second way, and what must be
 * refused. */
#include "base/zbase32.h"
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "base/random.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static const char letters[] = "ybndrfg8ejkmcpqxot1uwisza345h769";

/* Slow and obvious: character i is made of the bits 5i..5i+4, zero beyond the end. */
static void slow_encode(const uint8_t key[32], char *out)
{
	for (unsigned i = 0; i < ZBASE32_KEY_CHARS; i++) {
		unsigned v = 0;
		for (unsigned bit = 5 * i; bit < 5 * i + 5; bit++)
			v = v * 2 + (bit < 256 ? key[bit / 8] >> (7 - bit % 8) & 1 : 0);
		out[i] = letters[v];
	}
	out[ZBASE32_KEY_CHARS] = '\0';
}

static void zbase32_known_answers(void **state)
{
	(void)state;
	uint8_t key[32] = {0};
	char out[ZBASE32_KEY_CHARS + 1];
	zbase32_encode_key(key, out);
	assert_string_equal(out, "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy");
	memset(key, 0xff, sizeof(key));
	zbase32_encode_key(key, out);
	assert_string_equal(out, "999999999999999999999999999999999999999999999999999o");
	/* from the paper: f0 bf c7 is 6n9hq, d4 7a 04 is 4t7ye */
	memset(key, 0, sizeof(key));
	memcpy(key, "\xf0\xbf\xc7", 3);
	zbase32_encode_key(key, out);
	assert_memory_equal(out, "6n9h", 4);
	memcpy(key, "\xd4\x7a\x04", 3);
	zbase32_encode_key(key, out);
	assert_memory_equal(out, "4t7ye", 5);
}

static void zbase32_agrees_with_the_slow_way(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2000; i++) {
		uint8_t key[32];
		uint8_t back[32];
		char fast[ZBASE32_KEY_CHARS + 1];
		char slow[ZBASE32_KEY_CHARS + 1];
		rng_bytes(&rng_system, key, sizeof(key));
		zbase32_encode_key(key, fast);
		slow_encode(key, slow);
		assert_string_equal(fast, slow);
		assert_int_equal(zbase32_decode_key(fast, back), 0);
		assert_memory_equal(key, back, 32);
	}
}

static void zbase32_refuses_all_but_one_spelling(void **state)
{
	(void)state;
	uint8_t key[32];
	memset(key, 0x5a, sizeof(key));
	char text[ZBASE32_KEY_CHARS + 1];
	zbase32_encode_key(key, text);
	for (unsigned at = 0; at < ZBASE32_KEY_CHARS; at++) {
		for (int c = 0; c < 256; c++) {
			char changed[ZBASE32_KEY_CHARS + 1];
			memcpy(changed, text, sizeof(text));
			changed[at] = (char)c;
			bool fine = c != 0 && strchr(letters, c);
			if (at == ZBASE32_KEY_CHARS - 1)
				fine = c == 'y' || c == 'o';
			uint8_t out[32] = {0xee};
			assert_int_equal(zbase32_decode_key(changed, out), fine ? 0 : -EINVAL);
			if (!fine)
				assert_int_equal(out[0], 0xee);
		}
	}
}

static void name_goes_both_ways_and_is_exact(void **state)
{
	(void)state;
	uint8_t id[32];
	uint8_t back[32];
	char name[NAME_BYTES];
	rng_bytes(&rng_system, id, sizeof(id));
	name_from_id(id, name);
	assert_int_equal(strlen(name), 52 + 7);
	assert_string_equal(name + 52, ".sispop");
	assert_int_equal(name_to_id(name, back), 0);
	assert_memory_equal(id, back, 32);

	char longer[NAME_BYTES + 1];
	snprintf(longer, sizeof(longer), "%s.", name);
	assert_int_equal(name_to_id(longer, back), -EINVAL);
	snprintf(longer, sizeof(longer), "x%s", name);
	assert_int_equal(name_to_id(longer, back), -EINVAL);
	assert_int_equal(name_to_id(name + 1, back), -EINVAL);
	assert_int_equal(name_to_id("", back), -EINVAL);
	for (size_t cut = 0; cut < strlen(name); cut++) {
		char shorter[NAME_BYTES];
		memcpy(shorter, name, cut);
		shorter[cut] = '\0';
		assert_int_equal(name_to_id(shorter, back), -EINVAL);
	}
	name[53] = 'S';
	assert_int_equal(name_to_id(name, back), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(zbase32_known_answers),
		cmocka_unit_test(zbase32_agrees_with_the_slow_way),
		cmocka_unit_test(zbase32_refuses_all_but_one_spelling),
		cmocka_unit_test(name_goes_both_ways_and_is_exact),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
