/* tests/fuzz/fuzz_ctrl.c - any plain as the CTRL frames of a neighbour who holds the keys. First
 * byte: bit 0 the larger size, bit 1 from a new source. */
#include "fuzz/link_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

/* Walks as far as the list is good; the slow way to ctrl_check(). */
static bool is_good(const uint8_t *p, size_t n)
{
	static const size_t lengths[7] = {0, 8, 8, 806, 520, 5, 1};
	for (size_t at = 0; at < n && p[at] != 0;) {
		if (at + 3 > n || p[at] > 6 || load_be16(p + at + 1) != lengths[p[at]])
			return false;
		at += 3 + lengths[p[at]];
		if (at > n)
			return false;
	}
	return true;
}

static void pass(struct fuzz_party *from, struct fuzz_party *to)
{
	uint8_t d[DATAGRAM_MAX];
	memcpy(d, from->sent, from->sent_bytes);
	fuzz_handshake(to, d, from->sent_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	if (n < 1)
		return 0;
	struct fuzz_party client, relay;
	fuzz_party_init(&client, ROLE_CLIENT, 1);
	fuzz_party_init(&relay, ROLE_RELAY, 2);
	struct link *l = fuzz_open(&client, &relay);
	pass(&client, &relay);
	pass(&relay, &client);
	expect(link_is_up(l));
	size_t size = bytes[0] & 1 ? CTRL_PLAIN_LARGE : CTRL_PLAIN_SMALL;
	uint8_t plain[CTRL_PLAIN_LARGE] = {0};
	memcpy(plain, bytes + 1, n - 1 < size ? n - 1 : size);
	uint8_t *exact = malloc(size), *body = malloc(size + AEAD_TAG);
	expect(exact && body);
	memcpy(exact, plain, size);
	bool good = ctrl_check(exact, size);
	expect(good == is_good(plain, size));
	uint8_t nonce[12];
	nonce_from_counter(nonce, l->tx.iv, 9);
	chapoly_seal(l->tx.key, nonce, NULL, 0, exact, size, body);
	struct addr from = relay.other;
	from.port ^= bytes[0] & 2; /* a half-open link takes nothing from there */
	links_on_ctrl(relay.links, link_data_of(l)->remote_id, &from, 0, 9, body, size + AEAD_TAG,
		      FUZZ_NOW);
	expect(relay.sent_count == 1 || relay.sent_bytes <= HEADER_BYTES + size + AEAD_TAG);
	expect(good || relay.sent_count == 1);
	free(exact);
	free(body);
	fuzz_party_done(&client);
	fuzz_party_done(&relay);
	return 0;
}
