/* tests/unit/test_filler.c - crypto/filler.c against a slow one that makes the whole stream and
 * forgets nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <sodium.h>
#include "crypto/filler.h"
#include "crypto/kdf.h"
#include "seeded.h"

#define RUN (FILLER_BUFFER_BYTES - 32) /* bytes between two changes of the key */

/* The slow one: byte i of the stream that starts from `key`. */
static void slow_stream(const uint8_t key[32], uint8_t *out, size_t runs)
{
	const uint8_t nonce[12] = {0};
	uint8_t k[32], buf[FILLER_BUFFER_BYTES];
	memcpy(k, key, 32);
	for (size_t i = 0; i < runs; i++) {
		crypto_stream_chacha20_ietf(buf, sizeof(buf), nonce, k);
		memcpy(k, buf, 32);
		memcpy(out + i * RUN, buf + 32, RUN);
	}
}

static void filler_equals_the_slow_stream(void **state)
{
	(void)state;
	enum { RUNS = 20 };
	static uint8_t expected[RUNS * RUN], got[RUNS * RUN];
	struct seeded s;
	struct rng rng = seeded_rng(&s, 1);
	uint8_t key[32];
	rng_bytes(&rng, key, 32);
	slow_stream(key, expected, RUNS);
	rng = seeded_rng(&s, 1);
	struct filler f;
	filler_init(&f, &rng);
	for (size_t at = 0; at < sizeof(got);) {
		size_t n = rng_below(&rng, 4) ? rng_below(&rng, 64) : rng_below(&rng, RUN + 1);
		if (n > sizeof(got) - at)
			n = sizeof(got) - at;
		filler_bytes(&f, got + at, n);
		at += n;
	}
	assert_memory_equal(got, expected, sizeof(got));
}

/* What was given out, and the keys that made it, are not in memory any more. */
static void filler_forgets(void **state)
{
	(void)state;
	struct seeded s;
	struct rng rng = seeded_rng(&s, 2);
	uint8_t first_key[32], out[512];
	rng_bytes(&rng, first_key, 32);
	rng = seeded_rng(&s, 2);
	struct filler f;
	filler_init(&f, &rng);
	for (size_t given = 0; given < 3 * RUN; given += sizeof(out)) {
		filler_bytes(&f, out, sizeof(out));
		assert_null(memmem(&f, sizeof(f), out, 16));
		assert_null(memmem(&f, sizeof(f), out + sizeof(out) - 16, 16));
		assert_null(memmem(&f, sizeof(f), first_key, 16));
	}
	assert_non_null(memmem(&f, sizeof(f), f.key, 32)); /* and only once */
	assert_null(memmem(f.buf, sizeof(f.buf), f.key, 16));
	filler_done(&f);
	static const uint8_t zero[sizeof(f)];
	assert_memory_equal(&f, zero, sizeof(f));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(filler_equals_the_slow_stream),
		cmocka_unit_test(filler_forgets),
	};
	if (crypto_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
