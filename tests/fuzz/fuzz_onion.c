/* tests/fuzz/fuzz_onion.c - what a client, or the hops before, may put before a relay: an onion
 * field as it is, and one whose layer opens and holds any bytes. What is accepted keeps its bounds
 * and can be answered.
 *
 * Input: u8 how | u16 onion_len | bytes (the field, or what the layer holds).
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"
#include "onion/build.h"
#include "unit/seeded.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void expect(bool fact)
{
	if (!fact)
		abort();
}

static const uint8_t id[32] = {7};

/* A layer of onion_len bytes around what is at plain. */
static void seal_layer(const struct onion_keypair *key, const struct rng *rng, uint16_t onion_len,
		       const uint8_t *plain, uint8_t field[ONION_FIELD_BYTES])
{
	struct hs hs;
	expect(hs_start(&hs, HS_PATH, id, key->public_key, rng, field + 2) == 0);
	hs_seal_request(&hs, plain, onion_len - 34u - 16u, field + 34);
}

static void check_accepted(struct hs *hs, const struct build_request *r, uint16_t onion_len,
			   const struct rng *rng)
{
	unsigned left = onion_len / ONION_HOP_BYTES;
	expect(r->fill + left >= TAG_SLOTS_LEAST && r->fill + left <= HOPS_MAX);
	expect(r->last == (left == 1) && r->inner_len == onion_len - ONION_HOP_BYTES);
	uint8_t y[32], field[REPLY_FIELD_BYTES];
	expect(hs_reply_start(hs, rng, y) == 0);
	build_seal_reply(hs, y, BUILD_OK, 1440, 600, NULL, left, rng, field);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static struct onion_keypair key;
	static struct seeded seeded;
	static struct rng rng;
	if (!rng.fill) {
		expect(crypto_init() == 0);
		rng = seeded_rng(&seeded, 1);
		onion_keypair_new(&key, &rng);
	}
	struct reader in;
	reader_init(&in, bytes, n);
	uint8_t how = reader_u8(&in);
	uint16_t onion_len = reader_u16(&in), keyid;
	uint8_t field[ONION_FIELD_BYTES] = {0}, plain[ONION_FIELD_BYTES] = {0}, x[32];
	bool opens = how & 1;
	memcpy(opens ? plain : field, in.at, in.left < sizeof(field) ? in.left : sizeof(field));
	if (opens)
		onion_len = (uint16_t)(ONION_HOP_BYTES * (1 + onion_len % HOPS_MAX));
	if (opens)
		seal_layer(&key, &rng, onion_len, plain, field);
	bool possible = build_peek(field, onion_len, &keyid, x);
	struct hs hs;
	struct build_request r;
	switch (build_peel(&hs, id, &key, field, onion_len, &rng, &r)) {
	case PEEL_OK:
		expect(possible);
		check_accepted(&hs, &r, onion_len, &rng);
		break;
	case PEEL_FORMAT:
		expect(possible && opens);
		break;
	case PEEL_OPEN:
		expect(!opens);
		break;
	case PEEL_KEYID:
		abort();
	}
	return 0;
}
