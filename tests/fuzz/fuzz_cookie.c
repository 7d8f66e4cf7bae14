/* tests/fuzz/fuzz_cookie.c - any bytes as the COOKIE to a link that opens, whose link id is then
 * made right, and any cookie sealed as it should be. First byte: which. */
#include "fuzz/link_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void try_raw(struct fuzz_party *client, struct link *l, const uint8_t *bytes, size_t n)
{
	uint8_t *d = malloc(n ? n : 1);
	expect(d != NULL);
	memcpy(d, bytes, n);
	if (n == LINK_COOKIE_BYTES)
		store_be32(d, link_data_of(l)->slot.id);
	struct link_cookie m;
	if (link_cookie_parse(d, n, &m)) {
		uint8_t again[LINK_COOKIE_BYTES];
		link_cookie_write(again, &m);
		expect(memcmp(again, d, n) == 0);
	}
	fuzz_handshake(client, d, n);
	expect(client->sent_count == 1); /* the INIT */
	free(d);
}

static void try_sealed(struct fuzz_party *client, struct fuzz_party *relay, struct link *l,
		       const uint8_t *bytes, size_t n)
{
	uint8_t cookie[COOKIE_BYTES] = {0}, init[LINK_INIT_BYTES], mac2[MAC_BYTES];
	memcpy(cookie, bytes, n < sizeof(cookie) ? n : sizeof(cookie));
	memcpy(init, client->sent, sizeof(init));
	struct link_cookie m = {.receiver_id = link_data_of(l)->slot.id};
	cookie_seal(relay->id, init + LINK_MAC1_OFFSET, cookie, &relay->rng, m.nonce, m.sealed);
	uint8_t d[LINK_COOKIE_BYTES];
	link_cookie_write(d, &m);
	fuzz_handshake(client, d, sizeof(d));
	fuzz_handshake(client, d, sizeof(d));
	expect(client->sent_count == 2 && client->sent_bytes == LINK_INIT_BYTES);
	mac2_make(mac2, cookie, init, LINK_MAC2_OFFSET);
	expect(memcmp(client->sent, init, LINK_MAC2_OFFSET) == 0);
	expect(memcmp(client->sent + LINK_MAC2_OFFSET, mac2, MAC_BYTES) == 0);
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
		try_raw(&client, l, bytes + 1, n - 1);
	else
		try_sealed(&client, &relay, l, bytes + 1, n - 1);
	fuzz_party_done(&client);
	fuzz_party_done(&relay);
	return 0;
}
