/* tests/fuzz/fuzz_reply.c - any reply field at the client, and replies whose layers open but hold
 * any bytes.
 *
 * Input: u8 how (hops, how many layers are sealed truly) | bytes (the field, or the innermost
 * sealed plain).
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"
#include "onion/build.h"
#include "unit/seeded.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

#define HOPS 3

static void expect(bool fact)
{
	if (!fact)
		abort();
}

/* A path that is being built, up to the relays' seeds. Made once, copied for each input. */
struct world {
	struct build_client client;
	struct hs hs[HOPS];
	uint8_t y[HOPS][32];
};

static void begin(struct world *w, const struct rng *rng)
{
	struct build_hop hop[HOPS];
	struct onion_keypair key[HOPS];
	uint8_t field[ONION_FIELD_BYTES];
	uint16_t len;
	rng_bytes(rng, hop, sizeof(hop));
	for (unsigned i = 0; i < HOPS; i++) {
		onion_keypair_new(&key[i], rng);
		memcpy(hop[i].onion_key, key[i].public_key, 32);
	}
	expect(build_onion(&w->client, hop, HOPS, 600, 1, rng, field, &len) == 0);
	for (unsigned i = 0; i < HOPS; i++) {
		struct build_request r;
		expect(build_peel(&w->hs[i], hop[i].id, &key[i], field, len, rng, &r) == PEEL_OK);
		expect(hs_reply_start(&w->hs[i], rng, w->y[i]) == 0);
		memcpy(field, r.field, sizeof(field));
		len = r.inner_len;
	}
}

/* Hop `at` (0-based) seals plain as its whole answer; those before it are honest. */
static void seal_reply(struct world *w, unsigned at, const uint8_t *plain, const struct rng *rng,
		       uint8_t field[REPLY_FIELD_BYTES])
{
	size_t inner = (size_t)(HOPS - at - 1) * REPLY_HOP_BYTES;
	memcpy(field, w->y[at], 32);
	hs_reply_seal(&w->hs[at], plain, ONION_REP_BYTES + inner, field + 32);
	while (at-- > 0)
		build_seal_reply(&w->hs[at], w->y[at], BUILD_OK, 1440, 600, field, HOPS - at, rng,
				 field);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static struct world made;
	static struct seeded seeded;
	static struct rng rng;
	if (!rng.fill) {
		expect(crypto_init() == 0);
		rng = seeded_rng(&seeded, 1);
		begin(&made, &rng);
	}
	if (n < 1)
		return 0;
	struct world w = made;
	uint8_t plain[REPLY_FIELD_BYTES] = {0}, field[REPLY_FIELD_BYTES];
	memcpy(plain, bytes + 1, n - 1 < sizeof(plain) ? n - 1 : sizeof(plain));
	unsigned at = bytes[0] % (HOPS + 1);
	if (at < HOPS)
		seal_reply(&w, at, plain, &rng, field);
	else
		memcpy(field, plain, sizeof(field));
	struct build_answer a;
	const struct build_client before = w.client;
	if (!build_open_reply(&w.client, field, &a)) {
		expect(memcmp(&before, &w.client, sizeof(before)) == 0);
		return 0;
	}
	expect(at < HOPS && a.failed_hop >= at && a.failed_hop <= HOPS);
	expect((a.status == BUILD_OK) == (a.failed_hop == HOPS));
	expect(a.status <= BUILD_PROTOCOL);
	return 0;
}
