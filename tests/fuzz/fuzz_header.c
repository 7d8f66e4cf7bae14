/* tests/fuzz/fuzz_header.c - any datagram at a client, a relay and an exit; with a header that
 * opens, too.
 *
 * Input: u8 which party and how | u8 fill | u8 header type | u8 circuit | u64 ctr | datagram. Half
 * of the inputs go in as they are; the others get a true link id and header around them, as a
 * hostile neighbour would make them.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"
#include "unit/chain.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

#define HOPS 4

static void expect(bool fact)
{
	if (!fact)
		abort();
}

/* All circuits of a party, and one id that is none. */
static struct hop_dir *circuit_of(struct chain *c, unsigned party, unsigned which)
{
	if (party == 0)
		return &c->path.backward;
	return which % 2 && party < HOPS ? &c->circuit[party - 1].backward
					 : &c->circuit[party - 1].forward;
}

static void forge(struct chain *c, struct hop_dir *dir, const struct header *h, uint8_t *d)
{
	const struct link_data *peer = NULL;
	for (unsigned i = 0; i < HOPS; i++) {
		peer = dir->in == &c->near[i] ? &c->far[i] : peer;
		peer = dir->in == &c->far[i] ? &c->near[i] : peer;
	}
	datagram_header(c->aead, peer, h, d);
}

/* Whatever came: what is said about it lies within the datagram. */
static void check(const struct dp_result *r, const uint8_t *d, size_t n)
{
	switch (r->action) {
	case DP_PLAIN:
		expect(r->plain == d + HEADER_BYTES && r->plain_bytes >= PLAIN_LEAST);
		expect(r->plain_bytes + HEADER_BYTES + TAG_SLOTS_LEAST * AEAD_TAG <= n);
		break;
	case DP_SEND:
		expect(r->link != NULL && n >= HEADER_BYTES + PLAIN_LEAST + AEAD_TAG);
		expect(load_be32(d) == r->link->remote_id);
		break;
	case DP_CTRL:
		expect(r->header.circuit_id == 0 && n >= DATAGRAM_MIN);
		break;
	case DP_HANDSHAKE:
		expect(n == LINK_INIT_BYTES || n == LINK_COOKIE_BYTES);
		break;
	case DP_HANDOVER:
		abort(); /* one worker only */
	case DP_DROP:
		break;
	}
}

static bool passed(const struct dp_result *r)
{
	return r->action == DP_SEND || r->action == DP_PLAIN;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static struct chain *c;
	static struct addr from;
	if (!c)
		c = chain_new(HOPS, 1);
	struct reader in;
	reader_init(&in, bytes, n);
	uint8_t how = reader_u8(&in), fill = reader_u8(&in), type = reader_u8(&in);
	uint8_t id_plus = reader_u8(&in);
	uint64_t ctr = reader_u64(&in);
	if (in.bad)
		return 0;
	unsigned party = how % (HOPS + 1);
	struct hop_dir *dir = circuit_of(c, party, how / 16);
	uint8_t *d = malloc(in.left + 1), fill_before = dir->fill;
	expect(d != NULL);
	memcpy(d, in.at, in.left);
	size_t len = in.left;
	from = *atomic_load(&dir->in->remote);
	if (how & 8 && len >= HEADER_BYTES) {
		const struct header h = {dir->slot.id + id_plus, type, ctr & COUNTER_MASK};
		forge(c, dir, &h, d);
		replay_init(&dir->window);
		dir->fill = fill % (HOPS_MAX + 1);
	}
	/* Twice in one batch: of DATA, one passes at most. */
	uint8_t *again = malloc(len + 1);
	expect(again != NULL);
	memcpy(again, d, len);
	struct dp_item both[] = {{.d = d, .n = len}, {.d = again, .n = len}};
	dataplane_receive_batch(&c->party[party].t, both, 2, &from, 1);
	for (unsigned i = 0; i < 2; i++)
		if (dir->kind != HOP_END_FORWARD || dir->fill >= 2)
			check(&both[i].r, both[i].d, len);
	expect(!passed(&both[0].r) || !passed(&both[1].r));
	dir->fill = fill_before;
	free(again);
	free(d);
	return 0;
}
