/* tests/unit/test_build.c - onion/build.c: 1..8 hops there and back, refusals at each hop, flipped
 * bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include "base/bytes.h"
#include "onion/build.h"
#include "seeded.h"

#define LIFETIME_S 630
#define TIME_MIN   28930000

/* One path and what each relay made of it. */
struct world {
	struct seeded seeded;
	struct rng rng;
	unsigned hops;
	struct build_hop hop[HOPS_MAX];
	struct onion_keypair key[HOPS_MAX];
	struct build_client client;
	uint8_t onion[HOPS_MAX][ONION_FIELD_BYTES]; /* as each hop gets it */
	uint16_t onion_len[HOPS_MAX];
	struct hs hs[HOPS_MAX];
	struct build_request req[HOPS_MAX];
	uint8_t y[HOPS_MAX][32];
	struct path_keys keys[HOPS_MAX];
	uint8_t reply[HOPS_MAX][REPLY_FIELD_BYTES]; /* as each hop sends it */
};

static void begin(struct world *w, unsigned hops)
{
	memset(w, 0, sizeof(*w));
	w->rng = seeded_rng(&w->seeded, hops);
	w->hops = hops;
	for (unsigned i = 0; i < hops; i++) {
		rng_bytes(&w->rng, w->hop[i].id, 32);
		w->hop[i].keyid = (uint16_t)rng_u32(&w->rng);
		onion_keypair_new(&w->key[i], &w->rng);
		memcpy(w->hop[i].onion_key, w->key[i].public_key, 32);
	}
	assert_int_equal(build_onion(&w->client, w->hop, hops, LIFETIME_S, TIME_MIN, &w->rng,
				     w->onion[0], &w->onion_len[0]),
			 0);
	assert_int_equal(w->onion_len[0], 98 * hops);
}

static enum peel peel(struct world *w, unsigned i)
{
	return build_peel(&w->hs[i], w->hop[i].id, &w->key[i], w->onion[i], w->onion_len[i],
			  &w->rng, &w->req[i]);
}

/* Hop i opens its layer and makes its keys; the next one gets the rest. */
static void peel_ok(struct world *w, unsigned i)
{
	uint16_t keyid;
	uint8_t x[32];
	assert_true(build_peek(w->onion[i], w->onion_len[i], &keyid, x));
	assert_int_equal(keyid, w->hop[i].keyid);
	assert_int_equal(peel(w, i), PEEL_OK);
	assert_memory_equal(x, w->req[i].x, 32);
	assert_int_equal(hs_reply_start(&w->hs[i], &w->rng, w->y[i]), 0);
	hs_path_keys(&w->hs[i], &w->keys[i]);
	if (i + 1 < w->hops) {
		memcpy(w->onion[i + 1], w->req[i].field, ONION_FIELD_BYTES);
		w->onion_len[i + 1] = w->req[i].inner_len;
	}
}

static void reply(struct world *w, unsigned i, enum build_status status, bool with_inner)
{
	build_seal_reply(&w->hs[i], w->y[i], status, (uint16_t)(1400 + i), 600 + i,
			 with_inner ? w->reply[i + 1] : NULL, w->hops - i, &w->rng, w->reply[i]);
}

/* All the way there, hop `failing` (hops: none) refuses with status, all the way back. */
static void there_and_back(struct world *w, unsigned hops, unsigned failing,
			   enum build_status status)
{
	begin(w, hops);
	unsigned last = failing < hops ? failing : hops - 1;
	for (unsigned i = 0; i <= last; i++)
		peel_ok(w, i);
	reply(w, last, failing < hops ? status : BUILD_OK, false);
	for (unsigned i = last; i-- > 0;)
		reply(w, i, BUILD_OK, true);
}

static void build_reaches_every_hop(void **state)
{
	(void)state;
	struct world w;
	for (unsigned hops = 1; hops <= HOPS_MAX; hops++) {
		there_and_back(&w, hops, hops, BUILD_OK);
		for (unsigned i = 0; i < hops; i++) {
			const struct build_request *r = &w.req[i];
			assert_int_equal(r->last, i + 1 == hops);
			assert_int_equal(r->fill, tag_slots(hops) - (hops - i));
			assert_int_equal(r->lifetime_s, LIFETIME_S);
			assert_int_equal(r->time_min, TIME_MIN);
			assert_int_equal(r->inner_len, 98 * (hops - i - 1));
			if (i + 1 < hops)
				assert_memory_equal(r->id_next, w.hop[i + 1].id, 32);
		}
		struct build_answer a;
		assert_true(build_open_reply(&w.client, w.reply[0], &a));
		assert_int_equal(a.status, BUILD_OK);
		assert_int_equal(a.failed_hop, hops);
		for (unsigned i = 0; i < hops; i++) {
			assert_memory_equal(&a.keys[i], &w.keys[i], sizeof(a.keys[i]));
			assert_int_equal(a.max_dgram[i], 1400 + i);
			assert_int_equal(a.lifetime_s[i], 600 + i);
		}
		assert_memory_equal(a.h_last, w.hs[hops - 1].h, 32);
		build_answer_done(&a);
		build_client_done(&w.client);
	}
}

static void build_reports_the_hop_that_fails(void **state)
{
	(void)state;
	struct world w;
	for (unsigned hops = 1; hops <= HOPS_MAX; hops++) {
		for (unsigned failing = 0; failing < hops; failing++) {
			enum build_status status = BUILD_OVERLOAD + (failing + hops) % 6;
			struct build_answer a;
			there_and_back(&w, hops, failing, status);
			assert_true(build_open_reply(&w.client, w.reply[0], &a));
			assert_int_equal(a.status, status);
			assert_int_equal(a.failed_hop, failing);
			for (unsigned i = 0; i < failing; i++)
				assert_memory_equal(&a.keys[i], &w.keys[i], sizeof(a.keys[i]));
		}
	}
}

/* What follows the onion differs at each relay; what follows the reply too. */
static void build_draws_fresh_bytes_at_each_relay(void **state)
{
	(void)state;
	struct world w;
	for (unsigned hops = 1; hops <= HOPS_MAX; hops++) {
		there_and_back(&w, hops, hops, BUILD_OK);
		for (unsigned i = 0; i < hops; i++) {
			for (unsigned j = i + 1; j < hops; j++) {
				const size_t at = 98 * HOPS_MAX, rest = ONION_FIELD_BYTES - at;
				assert_memory_not_equal(w.onion[i] + at, w.onion[j] + at, rest);
				assert_memory_not_equal(w.onion[i] + w.onion_len[j],
							w.onion[j] + w.onion_len[j], 16);
				assert_memory_not_equal(w.reply[i], w.reply[j], 32);
				if (hops < HOPS_MAX)
					assert_memory_not_equal(w.reply[i] + 64 * (hops - i),
								w.reply[j] + 64 * (hops - i), 16);
			}
		}
	}
}

/* A bit meant for any hop kills the onion at the next one; behind the onion it is nobody's. */
static void build_refuses_every_flipped_bit(void **state)
{
	(void)state;
	struct world w;
	begin(&w, 3);
	for (size_t bit = 16; bit < 8 * ONION_FIELD_BYTES; bit += 37) { /* keyid picks the key */
		w.onion[0][bit / 8] ^= (uint8_t)(1 << bit % 8);
		enum peel expected = bit / 8 < w.onion_len[0] ? PEEL_OPEN : PEEL_OK;
		/* The high bit of X is no part of the number, but of the transcript. */
		assert_int_equal(peel(&w, 0), expected);
		w.onion[0][bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_int_equal(peel(&w, 0), PEEL_OK);
}

static void build_refuses_a_flipped_reply_and_waits_on(void **state)
{
	(void)state;
	struct world w;
	struct build_answer a;
	there_and_back(&w, 3, 3, BUILD_OK);
	for (size_t bit = 0; bit < 8 * 3 * 64; bit += 13) {
		w.reply[0][bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_false(build_open_reply(&w.client, w.reply[0], &a));
		w.reply[0][bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	/* The first hop seals honestly around what the second broke. */
	struct hs before = w.hs[0];
	uint8_t good[REPLY_FIELD_BYTES];
	memcpy(good, w.reply[0], sizeof(good));
	w.reply[1][40] ^= 1;
	reply(&w, 0, BUILD_OK, true);
	assert_false(build_open_reply(&w.client, w.reply[0], &a));
	w.hs[0] = before;
	assert_true(build_open_reply(&w.client, good, &a)); /* the true one still opens */
	assert_int_equal(a.failed_hop, 3);
}

static void build_wants_a_reply_that_makes_sense(void **state)
{
	(void)state;
	static const struct {
		size_t at;
		uint8_t value;
	} rows[] = {{0, BUILD_PROTOCOL + 1}, {0, 255}, {1, 1}, {8, 1}, {15, 1}};
	for (size_t i = 0; i <= sizeof(rows) / sizeof(rows[0]); i++) {
		struct world w;
		struct build_answer a;
		uint8_t rep[ONION_REP_BYTES] = {0};
		begin(&w, 1);
		peel_ok(&w, 0);
		bool sound = i == sizeof(rows) / sizeof(rows[0]);
		if (!sound)
			rep[rows[i].at] = rows[i].value;
		memcpy(w.reply[0], w.y[0], 32);
		hs_reply_seal(&w.hs[0], rep, sizeof(rep), w.reply[0] + 32);
		assert_int_equal(build_open_reply(&w.client, w.reply[0], &a), sound);
	}
}

/* An onion of `len` bytes for hop 0 that carries exactly this req, before anything random. */
static enum peel peel_req(struct world *w, const uint8_t req[ONION_REQ_BYTES], uint16_t len)
{
	uint8_t plain[ONION_FIELD_BYTES] = {0};
	memcpy(plain, req, ONION_REQ_BYTES);
	store_be16(w->onion[0], w->hop[0].keyid);
	assert_int_equal(hs_start(&w->client.hs[0], HS_PATH, w->hop[0].id, w->hop[0].onion_key,
				  &w->rng, w->onion[0] + 2),
			 0);
	hs_seal_request(&w->client.hs[0], plain, len - 34u - 16u, w->onion[0] + 34);
	w->onion_len[0] = len;
	return peel(w, 0);
}

static void build_refuses_fields_that_contradict(void **state)
{
	(void)state;
	static const struct {
		uint8_t flags, fill;
		uint16_t inner_len, len;
		size_t reserved; /* this byte set */
		enum peel verdict;
	} rows[] = {
		{1, 2, 0, 98, 0, PEEL_OK},	  {0, 0, 196, 294, 0, PEEL_OK},
		{0, 0, 686, 784, 0, PEEL_OK},	  {1, 7, 0, 98, 0, PEEL_OK},
		{0, 1, 98, 196, 0, PEEL_OK},	  {0, 2, 0, 98, 0, PEEL_FORMAT},
		{1, 2, 98, 98, 0, PEEL_FORMAT},	  {1, 1, 98, 196, 0, PEEL_FORMAT},
		{0, 1, 97, 196, 0, PEEL_FORMAT},  {0, 1, 0, 196, 0, PEEL_FORMAT},
		{0, 1, 196, 196, 0, PEEL_FORMAT}, {1, 8, 0, 98, 0, PEEL_FORMAT},
		{1, 255, 0, 98, 0, PEEL_FORMAT},  {1, 1, 0, 98, 0, PEEL_FORMAT},
		{0, 1, 686, 784, 0, PEEL_FORMAT}, {3, 2, 0, 98, 0, PEEL_FORMAT},
		{2, 1, 98, 196, 0, PEEL_FORMAT},  {1, 2, 0, 98, 42, PEEL_FORMAT},
		{1, 2, 0, 98, 43, PEEL_FORMAT},	  {1, 2, 0, 98, 44, PEEL_FORMAT},
		{1, 2, 0, 98, 47, PEEL_FORMAT},	  {1, 2, 0xffff, 98, 0, PEEL_FORMAT},
	};
	struct world w;
	begin(&w, 1);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t req[ONION_REQ_BYTES] = {rows[i].flags, rows[i].fill};
		store_be16(req + 40, rows[i].inner_len);
		if (rows[i].reserved)
			req[rows[i].reserved] = 1;
		assert_int_equal(peel_req(&w, req, rows[i].len), rows[i].verdict);
		if (rows[i].verdict == PEEL_FORMAT) /* the hop can still say so */
			assert_int_equal(hs_reply_start(&w.hs[0], &w.rng, w.y[0]), 0);
	}
}

static void build_refuses_impossible_lengths_keys_and_counts(void **state)
{
	(void)state;
	struct world w;
	uint16_t keyid;
	uint8_t x[32];
	begin(&w, 8);
	for (unsigned len = 0; len <= 0xffff; len++) {
		bool possible = len >= 98 && len <= 784 && len % 98 == 0;
		assert_int_equal(build_peek(w.onion[0], (uint16_t)len, &keyid, x), possible);
		if (possible && len != 784) {
			w.onion_len[0] = (uint16_t)len;
			assert_int_equal(peel(&w, 0), PEEL_OPEN);
		}
	}
	w.onion_len[0] = 97;
	assert_int_equal(peel(&w, 0), PEEL_OPEN);
	assert_int_equal(
		build_peel(&w.hs[0], w.hop[0].id, NULL, w.onion[0], 784, &w.rng, &w.req[0]),
		PEEL_KEYID);
	assert_int_equal(build_onion(&w.client, w.hop, 0, 1, 1, &w.rng, w.onion[0], &keyid),
			 -EINVAL);
	assert_int_equal(build_onion(&w.client, w.hop, 9, 1, 1, &w.rng, w.onion[0], &keyid),
			 -EINVAL);
	memset(w.hop[5].onion_key, 0, 32); /* of small order */
	assert_int_equal(build_onion(&w.client, w.hop, 8, 1, 1, &w.rng, w.onion[0], &keyid),
			 -EPROTO);
	struct build_answer a;
	assert_false(build_open_reply(&w.client, w.reply[0], &a)); /* nothing was asked */
}

/* Another relay's identity or key, or the link's use of the handshake, opens nothing. */
static void build_is_for_one_relay(void **state)
{
	(void)state;
	struct world w;
	struct hs hs;
	uint8_t plain[ONION_FIELD_BYTES];
	begin(&w, 2);
	assert_int_equal(
		build_peel(&hs, w.hop[1].id, &w.key[0], w.onion[0], 196, &w.rng, &w.req[0]),
		PEEL_OPEN);
	assert_int_equal(
		build_peel(&hs, w.hop[0].id, &w.key[1], w.onion[0], 196, &w.rng, &w.req[0]),
		PEEL_OPEN);
	assert_false(hs_accept(&hs, HS_LINK, w.hop[0].id, &w.key[0], w.onion[0] + 2,
			       w.onion[0] + 34, 196 - 34 - 16, plain));
	peel_ok(&w, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(build_reaches_every_hop),
		cmocka_unit_test(build_reports_the_hop_that_fails),
		cmocka_unit_test(build_draws_fresh_bytes_at_each_relay),
		cmocka_unit_test(build_refuses_every_flipped_bit),
		cmocka_unit_test(build_refuses_a_flipped_reply_and_waits_on),
		cmocka_unit_test(build_wants_a_reply_that_makes_sense),
		cmocka_unit_test(build_refuses_fields_that_contradict),
		cmocka_unit_test(build_refuses_impossible_lengths_keys_and_counts),
		cmocka_unit_test(build_is_for_one_relay),
	};
	return crypto_init() == 0 ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
