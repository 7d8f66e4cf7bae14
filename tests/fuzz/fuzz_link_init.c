/* tests/fuzz/fuzz_link_init.c - any bytes as an INIT, whose mac1 is then made right, and any bytes
 * as what an INIT seals. First byte: which. */
#include "fuzz/link_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void try_layout(const uint8_t *d, size_t n, const uint8_t id[32])
{
	struct link_init m;
	if (!link_init_parse(d, n, &m))
		return;
	uint8_t again[LINK_INIT_BYTES];
	link_init_write(again, &m, id);
	expect(n == sizeof(again) && memcmp(again, d, LINK_MAC1_OFFSET) == 0);
}

static void try_raw(struct fuzz_party *p, const uint8_t *bytes, size_t n)
{
	uint8_t d[LINK_INIT_BYTES + 8] = {0};
	n = n < sizeof(d) ? n : sizeof(d);
	memcpy(d, bytes, n);
	if (n == LINK_INIT_BYTES)
		mac1_make(d + LINK_MAC1_OFFSET, p->id, d, LINK_MAC1_OFFSET);
	uint8_t *exact = malloc(n ? n : 1);
	expect(exact != NULL);
	memcpy(exact, d, n);
	try_layout(exact, n, p->id);
	fuzz_handshake(p, exact, n);
	expect(p->sent_count == 0 || p->sent_bytes <= n); /* a reply is never longer */
	free(exact);
}

static void try_sealed(struct fuzz_party *p, const uint8_t *bytes, size_t n)
{
	uint8_t plain[LINK_REQ_BYTES] = {0};
	memcpy(plain, bytes, n < sizeof(plain) ? n : sizeof(plain));
	struct link_req req;
	bool good = link_req_parse(plain, &req);
	struct link_init m = {.version = 1, .keyid = FUZZ_KEYID, .sender_id = 5};
	struct hs hs;
	expect(hs_start(&hs, HS_LINK, p->id, p->key.public_key, &p->rng, m.x) == 0);
	hs_seal_request(&hs, plain, sizeof(plain), m.ct);
	uint8_t d[LINK_INIT_BYTES];
	link_init_write(d, &m, p->id);
	fuzz_handshake(p, d, sizeof(d));
	expect(p->sent_count == good);
	struct link_resp r;
	struct link_rep rep;
	if (good) {
		expect(link_resp_parse(p->sent, p->sent_bytes, &r));
		expect(hs_finish(&hs, r.y, r.rt, LINK_REP_BYTES, plain) &&
		       link_rep_parse(plain, &rep));
		expect((rep.status == LINK_OK) == (links_half_open(p->links) == 1));
		expect(rep.status != LINK_OK || req.net_id == FUZZ_NET);
	}
	hs_done(&hs);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	if (n < 1)
		return 0;
	struct fuzz_party p;
	fuzz_party_init(&p, ROLE_RELAY, 1);
	if (bytes[0] % 2 == 0)
		try_raw(&p, bytes + 1, n - 1);
	else
		try_sealed(&p, bytes + 1, n - 1);
	fuzz_party_done(&p);
	return 0;
}
