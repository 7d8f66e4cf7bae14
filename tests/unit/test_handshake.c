/* tests/unit/test_handshake.c - crypto/handshake.c: both sides agree, and nothing that was changed
 * on the way does. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "crypto/handshake.h"
#include "seeded.h"

#define REQUEST_BYTES 146 /* a req of 48 and one onion of 98 behind it */
#define REPLY_BYTES   80
#define CT_BYTES      (REQUEST_BYTES + HS_TAG_BYTES)
#define RT_BYTES      (REPLY_BYTES + HS_TAG_BYTES)

struct fixture {
	struct seeded seeded;
	struct rng rng;
	uint8_t id[32];
	struct onion_keypair b;
	struct hs client, relay;
	uint8_t request[REQUEST_BYTES], reply[REPLY_BYTES];
	uint8_t x[32], y[32], ct[CT_BYTES], rt[RT_BYTES];
};

static void fixture_init(struct fixture *f, uint64_t seed)
{
	memset(f, 0, sizeof(*f));
	f->rng = seeded_rng(&f->seeded, seed);
	rng_bytes(&f->rng, f->id, 32);
	onion_keypair_new(&f->b, &f->rng);
	rng_bytes(&f->rng, f->request, sizeof(f->request));
	rng_bytes(&f->rng, f->reply, sizeof(f->reply));
}

static void send_request(struct fixture *f, enum hs_use use)
{
	assert_int_equal(hs_start(&f->client, use, f->id, f->b.public_key, &f->rng, f->x), 0);
	hs_seal_request(&f->client, f->request, REQUEST_BYTES, f->ct);
}

static bool take_request(struct fixture *f, enum hs_use use)
{
	uint8_t plain[REQUEST_BYTES];
	bool ok = hs_accept(&f->relay, use, f->id, &f->b, f->x, f->ct, REQUEST_BYTES, plain);
	if (ok)
		assert_memory_equal(plain, f->request, REQUEST_BYTES);
	return ok;
}

static void send_reply(struct fixture *f)
{
	assert_int_equal(hs_reply_start(&f->relay, &f->rng, f->y), 0);
	hs_reply_seal(&f->relay, f->reply, REPLY_BYTES, f->rt);
}

static bool take_reply(struct fixture *f)
{
	uint8_t plain[REPLY_BYTES];
	bool ok = hs_finish(&f->client, f->y, f->rt, REPLY_BYTES, plain);
	if (ok)
		assert_memory_equal(plain, f->reply, REPLY_BYTES);
	return ok;
}

static void assert_same_keys(const struct fixture *f)
{
	/* Compared as a whole: padding is zero on both sides. */
	struct path_keys pc, pr;
	struct link_keys lc, lr;
	memset(&pc, 0, sizeof(pc));
	memset(&pr, 0, sizeof(pr));
	hs_path_keys(&f->client, &pc);
	hs_path_keys(&f->relay, &pr);
	hs_link_keys(&f->client, &lc);
	hs_link_keys(&f->relay, &lr);
	assert_memory_equal(&pc, &pr, sizeof(pc));
	assert_memory_equal(&lc, &lr, sizeof(lc));
	assert_memory_equal(f->client.h, f->relay.h, 32);
	assert_true(pc.df < UINT64_C(1) << 47 && pc.db < UINT64_C(1) << 47);
	assert_memory_not_equal(pc.kf, pc.kb, 32);
	assert_memory_not_equal(lc.cf, lc.cb, 32);
	assert_memory_not_equal(lc.hkf, lc.hkb, 32);
	assert_memory_not_equal(lc.civf, lc.civb, 12);
	assert_memory_not_equal(pc.ivf, pc.ivb, 12);
	assert_int_not_equal(pc.df, pc.db);
}

static void handshake_both_sides_agree(void **state)
{
	(void)state;
	for (int use = HS_LINK; use <= HS_PATH; use++) {
		struct fixture f;
		fixture_init(&f, 1 + use);
		send_request(&f, use);
		assert_true(take_request(&f, use));
		send_reply(&f);
		assert_true(take_reply(&f));
		assert_same_keys(&f);
	}
}

/* A relay reads its data keys before the hops behind it answered, so before it seals its own reply.
 */
static void handshake_keys_exist_before_the_reply_is_sealed(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f, 3);
	send_request(&f, HS_PATH);
	assert_true(take_request(&f, HS_PATH));
	assert_int_equal(hs_reply_start(&f.relay, &f.rng, f.y), 0);
	struct path_keys early, late;
	hs_path_keys(&f.relay, &early);
	hs_reply_seal(&f.relay, f.reply, REPLY_BYTES, f.rt);
	hs_path_keys(&f.relay, &late);
	assert_memory_equal(early.kf, late.kf, 32);
	assert_true(take_reply(&f));
}

static void handshake_works_in_place(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f, 4);
	uint8_t buf[CT_BYTES];
	memcpy(buf, f.request, REQUEST_BYTES);
	assert_int_equal(hs_start(&f.client, HS_PATH, f.id, f.b.public_key, &f.rng, f.x), 0);
	hs_seal_request(&f.client, buf, REQUEST_BYTES, buf);
	assert_true(hs_accept(&f.relay, HS_PATH, f.id, &f.b, f.x, buf, REQUEST_BYTES, buf));
	assert_memory_equal(buf, f.request, REQUEST_BYTES);
	assert_int_equal(hs_reply_start(&f.relay, &f.rng, f.y), 0);
	memcpy(buf, f.reply, REPLY_BYTES);
	hs_reply_seal(&f.relay, buf, REPLY_BYTES, buf);
	assert_true(hs_finish(&f.client, f.y, buf, REPLY_BYTES, buf));
	assert_memory_equal(buf, f.reply, REPLY_BYTES);
	assert_same_keys(&f);
}

static void handshake_use_is_bound(void **state)
{
	(void)state;
	for (int use = HS_LINK; use <= HS_PATH; use++) {
		struct fixture f;
		fixture_init(&f, 5);
		send_request(&f, use);
		assert_false(take_request(&f, use == HS_LINK ? HS_PATH : HS_LINK));
	}
}

static bool is_zero(const void *p, size_t n)
{
	const uint8_t *b = p;
	for (size_t i = 0; i < n; i++)
		if (b[i] != 0)
			return false;
	return true;
}

/* One changed bit in ID, B, X or ct: refused, and nothing stays behind. */
static void handshake_changed_request_is_refused(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f, 6);
	send_request(&f, HS_PATH);
	uint8_t *fields[] = {f.id, f.b.public_key, f.x, f.ct};
	const size_t bytes[] = {32, 32, 32, CT_BYTES};
	for (size_t i = 0; i < 4; i++) {
		for (size_t at = 0; at < bytes[i]; at += 5) {
			/* The top bit of X's last byte is not part of X25519, but is part of TS0.
			 */
			uint8_t bit = 1u << (at % 8);
			fields[i][at] ^= bit;
			assert_false(take_request(&f, HS_PATH));
			assert_true(is_zero(&f.relay, sizeof(f.relay)));
			fields[i][at] ^= bit;
		}
	}
	f.x[31] ^= 0x80;
	assert_false(take_request(&f, HS_PATH));
	f.x[31] ^= 0x80;
	assert_true(take_request(&f, HS_PATH));
}

/* A forged reply is refused and spoils nothing: the true one still works after it. */
static void handshake_changed_reply_is_refused(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f, 7);
	send_request(&f, HS_LINK);
	assert_true(take_request(&f, HS_LINK));
	send_reply(&f);
	const struct hs before = f.client;
	for (size_t at = 0; at < 32; at += 3) {
		f.y[at] ^= 1;
		assert_false(take_reply(&f));
		f.y[at] ^= 1;
	}
	for (size_t at = 0; at < RT_BYTES; at += 3) {
		f.rt[at] ^= 0x10;
		assert_false(take_reply(&f));
		f.rt[at] ^= 0x10;
	}
	assert_memory_equal(&before, &f.client, sizeof(before));
	assert_true(take_reply(&f));
	assert_same_keys(&f);
}

/* The points of small order of Curve25519 (and one non-canonical form), which make every DH zero.
 */
static const uint8_t small_order[][32] = {
	{0},
	{1},
	{0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3,
	 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32,
	 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00},
	{0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1,
	 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c,
	 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57},
	{0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
	{0xed, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
};

static void handshake_small_order_keys_are_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(small_order) / 32; i++) {
		struct fixture f;
		fixture_init(&f, 8);
		uint8_t x[32];
		assert_int_equal(hs_start(&f.client, HS_PATH, f.id, small_order[i], &f.rng, x),
				 -EPROTO);
		assert_true(is_zero(&f.client, sizeof(f.client)));

		send_request(&f, HS_PATH);
		memcpy(x, f.x, 32);
		memcpy(f.x, small_order[i], 32);
		assert_false(take_request(&f, HS_PATH));
		memcpy(f.x, x, 32);
		assert_true(take_request(&f, HS_PATH));
		memcpy(f.relay.x_public, small_order[i], 32);
		uint8_t y[32];
		assert_int_equal(hs_reply_start(&f.relay, &f.rng, y), -EPROTO);

		memcpy(f.y, small_order[i], 32);
		assert_false(take_reply(&f));
	}
}

/* A request that the attacker sealed under the es of a zero DH (which anybody knows) is refused as
 * well. */
static void handshake_request_sealed_under_zero_dh_is_refused(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f, 9);
	const uint8_t es[32] = {0}, x[32] = {0}, nonce[12] = {0};
	uint8_t ts0[32], kreq[32];
	hash_parts(ts0,
		   (struct hash_part[]){
			   {"hs", 2}, {"path", 4}, {f.id, 32}, {f.b.public_key, 32}, {x, 32}},
		   5);
	kdf(kreq, 32, es, "req", ts0, 32);
	chapoly_seal(kreq, nonce, ts0, 32, f.request, REQUEST_BYTES, f.ct);
	assert_false(take_request(&f, HS_PATH));
}

static void handshake_secrets_are_wiped(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f, 10);
	send_request(&f, HS_PATH);
	assert_false(is_zero(f.client.secret, 32));
	assert_true(take_request(&f, HS_PATH));
	send_reply(&f);
	assert_true(is_zero(f.relay.secret, 32) && is_zero(f.relay.es, 32));
	assert_true(take_reply(&f));
	assert_true(is_zero(f.client.secret, 32) && is_zero(f.client.es, 32));
	hs_done(&f.client);
	hs_done(&f.relay);
	assert_true(is_zero(&f.client, sizeof(f.client)) && is_zero(&f.relay, sizeof(f.relay)));
}

static void handshake_nonce_spares_the_first_five_bytes(void **state)
{
	(void)state;
	uint8_t iv[12], out[12];
	memset(iv, 0xa5, sizeof(iv));
	nonce_from_counter(out, iv, UINT64_C(0xff01020304050607)); /* bits above 56 do not count */
	static const uint8_t expected[12] = {0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa4,
					     0xa7, 0xa6, 0xa1, 0xa0, 0xa3, 0xa2};
	assert_memory_equal(out, expected, 12);
}

static void handshake_chapoly_checks_everything(void **state)
{
	(void)state;
	const uint8_t key[32] = {1}, nonce[12] = {2};
	uint8_t sealed[16 + 5], plain[5];
	chapoly_seal(key, nonce, "ad", 2, (const uint8_t *)"hello", 5, sealed);
	assert_true(chapoly_open(key, nonce, "ad", 2, sealed, sizeof(sealed), plain));
	assert_memory_equal(plain, "hello", 5);
	assert_false(chapoly_open(key, nonce, "aD", 2, sealed, sizeof(sealed), plain));
	assert_false(chapoly_open(key, nonce, "ad", 2, sealed, sizeof(sealed) - 1, plain));
	assert_false(chapoly_open(key, nonce, "ad", 2, sealed, 15, plain)); /* shorter than a tag */
	assert_false(chapoly_open(key, nonce, "ad", 2, sealed, 0, plain));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(handshake_both_sides_agree),
		cmocka_unit_test(handshake_keys_exist_before_the_reply_is_sealed),
		cmocka_unit_test(handshake_works_in_place),
		cmocka_unit_test(handshake_use_is_bound),
		cmocka_unit_test(handshake_changed_request_is_refused),
		cmocka_unit_test(handshake_changed_reply_is_refused),
		cmocka_unit_test(handshake_small_order_keys_are_refused),
		cmocka_unit_test(handshake_request_sealed_under_zero_dh_is_refused),
		cmocka_unit_test(handshake_secrets_are_wiped),
		cmocka_unit_test(handshake_nonce_spares_the_first_five_bytes),
		cmocka_unit_test(handshake_chapoly_checks_everything),
	};
	if (crypto_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
