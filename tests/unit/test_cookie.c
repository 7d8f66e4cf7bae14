/* tests/unit/test_cookie.c - crypto/cookie.c: mac1, mac2, cookies and how long they live. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "crypto/cookie.h"
#include "crypto/kdf.h"
#include "seeded.h"

#define SECONDS(n) ((n)*NSEC_PER_SEC)

struct fixture {
	struct seeded seeded;
	struct rng rng;
	struct cookie_secret secret;
	uint8_t datagram[176]; /* an INIT up to mac2 */
	struct addr source;
};

static void fixture_init(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	f->rng = seeded_rng(&f->seeded, 1);
	rng_bytes(&f->rng, f->datagram, sizeof(f->datagram));
	f->source = addr_from_ip((const uint8_t[]){192, 0, 2, 1}, 4, 4000);
}

/* Does the cookie made at `made` still prove the source at `asked`, when nobody asked in between?
 */
static bool lives(nsec_t made, nsec_t asked)
{
	struct fixture f;
	fixture_init(&f);
	uint8_t cookie[COOKIE_BYTES], mac2[MAC_BYTES], other[COOKIE_BYTES];
	cookie_make(&f.secret, &f.source, SECONDS(1000), &f.rng, other); /* the secret starts */
	cookie_make(&f.secret, &f.source, made, &f.rng, cookie);
	mac2_make(mac2, cookie, f.datagram, sizeof(f.datagram));
	return cookie_verify(&f.secret, &f.source, asked, &f.rng, mac2, f.datagram,
			     sizeof(f.datagram));
}

static void cookie_lives_120_to_240_seconds(void **state)
{
	(void)state;
	assert_true(lives(SECONDS(1000), SECONDS(1000)));
	assert_true(lives(SECONDS(1000), SECONDS(1119)));
	assert_true(lives(SECONDS(1000), SECONDS(1239)));
	assert_false(lives(SECONDS(1000), SECONDS(1240)));
	assert_true(lives(SECONDS(1119), SECONDS(1239)));
	assert_false(lives(SECONDS(1119), SECONDS(1240)));
	assert_true(lives(SECONDS(1200), SECONDS(1359)));
	assert_false(lives(SECONDS(1000), SECONDS(100000)));
}

/* Whenever asked meanwhile: alive up to 120 s of age, dead from 240 s. */
static void cookie_age_bounds_hold_whenever_asked(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f);
	for (int round = 0; round < 2000; round++) {
		nsec_t now = SECONDS(1) + (nsec_t)rng_below(&f.rng, SECONDS(500)), made;
		struct cookie_secret s = {0};
		uint8_t cookie[COOKIE_BYTES], mac2[MAC_BYTES];
		for (int i = (int)rng_below(&f.rng, 4); i >= 0; i--) {
			now += (nsec_t)rng_below(&f.rng, SECONDS(200));
			cookie_make(&s, &f.source, now, &f.rng, cookie);
		}
		made = now;
		mac2_make(mac2, cookie, f.datagram, 100);
		for (int i = (int)rng_below(&f.rng, 4); i >= 0; i--) {
			now += (nsec_t)rng_below(&f.rng, SECONDS(150));
			bool ok = cookie_verify(&s, &f.source, now, &f.rng, mac2, f.datagram, 100);
			if (now - made < SECONDS(120))
				assert_true(ok);
			if (now - made >= SECONDS(240))
				assert_false(ok);
		}
	}
}

static void cookie_works_when_the_clock_starts_at_zero(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f);
	uint8_t cookie[COOKIE_BYTES], mac2[MAC_BYTES];
	cookie_make(&f.secret, &f.source, 0, &f.rng, cookie);
	mac2_make(mac2, cookie, f.datagram, 100);
	assert_true(cookie_verify(&f.secret, &f.source, 0, &f.rng, mac2, f.datagram, 100));
}

static void cookie_is_bound_to_address_and_port(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f);
	uint8_t cookie[COOKIE_BYTES], mac2[MAC_BYTES];
	const nsec_t now = SECONDS(5);
	cookie_make(&f.secret, &f.source, now, &f.rng, cookie);
	mac2_make(mac2, cookie, f.datagram, 176);
	assert_true(cookie_verify(&f.secret, &f.source, now, &f.rng, mac2, f.datagram, 176));
	struct addr other = f.source;
	other.port++;
	assert_false(cookie_verify(&f.secret, &other, now, &f.rng, mac2, f.datagram, 176));
	other = f.source;
	other.ip[3]++;
	assert_false(cookie_verify(&f.secret, &other, now, &f.rng, mac2, f.datagram, 176));
	uint8_t v6[16] = {192, 0, 2, 1};
	other = addr_from_ip(v6, 16, 4000);
	assert_false(cookie_verify(&f.secret, &other, now, &f.rng, mac2, f.datagram, 176));
	f.datagram[175] ^= 1;
	assert_false(cookie_verify(&f.secret, &f.source, now, &f.rng, mac2, f.datagram, 176));
	f.datagram[175] ^= 1;
	const uint8_t none[MAC_BYTES] = {0};
	assert_false(cookie_verify(&f.secret, &f.source, now, &f.rng, none, f.datagram, 176));
	struct cookie_secret another = {0};
	assert_false(cookie_verify(&another, &f.source, now, &f.rng, mac2, f.datagram, 176));
}

/* The empty place of a secret before is no secret: a cookie made under zeroes proves nothing. */
static void cookie_under_no_secret_is_refused(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f);
	const uint8_t zero[32] = {0}, source[] = {192, 0, 2, 1, 4000 >> 8, 4000 & 255};
	uint8_t cookie[COOKIE_BYTES], mac2[MAC_BYTES];
	mac_parts(cookie, COOKIE_BYTES, zero, 32, &(struct hash_part){source, 6}, 1);
	mac2_make(mac2, cookie, f.datagram, 176);
	for (int t = 1; t < 1000; t += 60)
		assert_false(cookie_verify(&f.secret, &f.source, SECONDS(t), &f.rng, mac2,
					   f.datagram, 176));
	assert_false(cookie_verify(&f.secret, &f.source, SECONDS(9000), &f.rng, mac2, f.datagram,
				   176)); /* started anew: the one before is wiped */
}

static void cookie_mac1_names_the_responder(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f);
	uint8_t id[32] = {1}, mac[MAC_BYTES];
	mac1_make(mac, id, f.datagram, 160);
	assert_true(mac1_verify(mac, id, f.datagram, 160));
	assert_false(mac1_verify(mac, id, f.datagram, 159));
	f.datagram[0] ^= 1;
	assert_false(mac1_verify(mac, id, f.datagram, 160));
	f.datagram[0] ^= 1;
	id[31] ^= 1;
	assert_false(mac1_verify(mac, id, f.datagram, 160));
	id[31] ^= 1;
	mac[15] ^= 1;
	assert_false(mac1_verify(mac, id, f.datagram, 160));
}

static void cookie_seal_is_for_one_init(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f);
	uint8_t id[32] = {1}, mac1[MAC_BYTES] = {2}, cookie[COOKIE_BYTES] = {3};
	uint8_t nonce[COOKIE_NONCE_BYTES], again[COOKIE_NONCE_BYTES], sealed[COOKIE_SEALED_BYTES];
	uint8_t back[COOKIE_BYTES] = {9}, untouched[COOKIE_BYTES] = {9};
	cookie_seal(id, mac1, cookie, &f.rng, again, sealed);
	cookie_seal(id, mac1, cookie, &f.rng, nonce, sealed);
	assert_memory_not_equal(nonce, again, sizeof(nonce));
	uint8_t *fields[] = {id, mac1, nonce, sealed};
	const size_t bytes[] = {32, MAC_BYTES, COOKIE_NONCE_BYTES, COOKIE_SEALED_BYTES};
	for (int i = 0; i < 4; i++) {
		for (size_t at = 0; at < bytes[i]; at++) {
			fields[i][at] ^= 0x40;
			assert_false(cookie_open(id, mac1, nonce, sealed, back));
			fields[i][at] ^= 0x40;
		}
	}
	assert_memory_equal(back, untouched, sizeof(back));
	assert_true(cookie_open(id, mac1, nonce, sealed, back));
	assert_memory_equal(back, cookie, sizeof(cookie));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cookie_lives_120_to_240_seconds),
		cmocka_unit_test(cookie_age_bounds_hold_whenever_asked),
		cmocka_unit_test(cookie_works_when_the_clock_starts_at_zero),
		cmocka_unit_test(cookie_is_bound_to_address_and_port),
		cmocka_unit_test(cookie_under_no_secret_is_refused),
		cmocka_unit_test(cookie_mac1_names_the_responder),
		cmocka_unit_test(cookie_seal_is_for_one_init),
	};
	if (crypto_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
