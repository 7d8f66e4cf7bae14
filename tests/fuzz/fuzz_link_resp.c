/* tests/fuzz/fuzz_link_resp.c - any bytes as the RESP to a link that opens, whose link id and mac1
 * are then made right, and any bytes as what a RESP seals. First byte: which. */
#include "fuzz/link_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void try_raw(struct fuzz_party *client, const struct fuzz_party *relay, struct link *l,
		    const uint8_t *bytes, size_t n)
{
	uint8_t *d = malloc(n ? n : 1);
	expect(d != NULL);
	memcpy(d, bytes, n);
	if (n == LINK_RESP_BYTES) {
		store_be32(d, link_data_of(l)->slot.id);
		mac1_make(d + LINK_MAC1_OFFSET, relay->id, d, LINK_MAC1_OFFSET);
	}
	struct link_resp m;
	if (link_resp_parse(d, n, &m)) {
		uint8_t again[LINK_RESP_BYTES];
		link_resp_write(again, &m, relay->id);
		expect(memcmp(again, d, n) == 0);
	}
	fuzz_handshake(client, d, n);
	expect(!link_is_up(l)); /* nobody forges a RESP */
	free(d);
}

static void try_sealed(struct fuzz_party *client, struct fuzz_party *relay, struct link *l,
		       const uint8_t *bytes, size_t n)
{
	struct link_init init;
	struct link_resp m = {.version = 1, .sender_id = 5};
	expect(link_init_parse(client->sent, client->sent_bytes, &init));
	m.receiver_id = init.sender_id;
	uint8_t plain[LINK_REP_BYTES] = {0}, req[LINK_REQ_BYTES];
	memcpy(plain, bytes, n < sizeof(plain) ? n : sizeof(plain));
	store_be32(plain + 42, init.sender_id); /* what no fuzzer guesses */
	struct link_rep rep;
	bool good = link_rep_parse(plain, &rep) && rep.resp_id == m.sender_id;
	struct hs hs;
	expect(hs_accept(&hs, HS_LINK, relay->id, &relay->key, init.x, init.ct, LINK_REQ_BYTES,
			 req));
	expect(hs_reply_start(&hs, &relay->rng, m.y) == 0);
	hs_reply_seal(&hs, plain, sizeof(plain), m.rt);
	uint8_t d[LINK_RESP_BYTES];
	link_resp_write(d, &m, relay->id);
	hs_done(&hs);
	bool ends = good && rep.status != LINK_OK;
	fuzz_handshake(client, d, sizeof(d));
	if (!ends)
		expect(link_is_up(l) == good);
	else
		expect(slots_count(client->env.links) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	if (n < 1)
		return 0;
	struct fuzz_party client, relay;
	fuzz_party_init(&client, ROLE_CLIENT, 1);
	fuzz_party_init(&relay, ROLE_RELAY, 2);
	struct link *l = fuzz_open(&client, &relay);
	if (bytes[0] % 2 == 0)
		try_raw(&client, &relay, l, bytes + 1, n - 1);
	else
		try_sealed(&client, &relay, l, bytes + 1, n - 1);
	fuzz_party_done(&client);
	fuzz_party_done(&relay);
	return 0;
}
