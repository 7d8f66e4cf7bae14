/* tests/unit/test_probe.c - authority/probe.c against a responder made of onion/link_init.h and
 * crypto/. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "authority/probe.h"
#include "crypto/kdf.h"
#include "onion/link_init.h"
#include "seeded.h"

#define NOW UINT64_C(1700000000)

struct world {
	struct seeded seed;
	struct rng rng;
	uint8_t id[32];
	struct onion_keypair onion;
	struct onion_key key;
	struct probe probe;
};

static void world_init(struct world *w)
{
	memset(w, 0, sizeof(*w));
	w->rng = seeded_rng(&w->seed, 60);
	rng_bytes(&w->rng, w->id, 32);
	onion_keypair_new(&w->onion, &w->rng);
	w->key.keyid = 5;
	memcpy(w->key.public_key, w->onion.public_key, 32);
	assert_int_equal(probe_start(&w->probe, w->id, &w->key, 77, NOW, &w->rng), 0);
}

/* What a relay with this status and these ids answers. */
static void respond(struct world *w, const struct onion_keypair *onion, uint8_t status,
		    uint32_t echo, uint8_t out[LINK_RESP_BYTES])
{
	struct link_init m;
	struct link_req req;
	struct hs hs;
	uint8_t plain[LINK_REQ_BYTES], reply[LINK_REP_BYTES];
	const uint8_t *d = w->probe.datagram;
	assert_true(link_init_parse(d, LINK_INIT_BYTES, &m));
	assert_true(mac1_verify(d + LINK_MAC1_OFFSET, w->id, d, LINK_MAC1_OFFSET));
	assert_int_equal(m.keyid, 5);
	assert_true(hs_accept(&hs, HS_LINK, w->id, onion, m.x, m.ct, LINK_REQ_BYTES, plain));
	assert_true(link_req_parse(plain, &req));
	assert_int_equal(req.net_id, 77);
	assert_int_equal(req.time_min, NOW / 60);
	assert_int_equal(req.role, ROLE_AUTHORITY);
	struct link_resp r = {.receiver_id = m.sender_id, .version = 1, .sender_id = 1234};
	const struct link_rep rep = {.status = status,
				     .version_most = 1,
				     .max_dgram = 1440,
				     .observed = {.family = 4, .port = 1, .ip = {127, 0, 0, 1}},
				     .init_id = m.sender_id + echo,
				     .resp_id = 1234};
	link_rep_write(reply, &rep);
	assert_int_equal(hs_reply_start(&hs, &w->rng, r.y), 0);
	hs_reply_seal(&hs, reply, sizeof(reply), r.rt);
	link_resp_write(out, &r, w->id);
	hs_done(&hs);
}

static void probe_hears_the_right_relay(void **state)
{
	(void)state;
	struct world w;
	uint8_t d[LINK_RESP_BYTES + 1] = {0};
	world_init(&w);
	respond(&w, &w.onion, LINK_OK, 0, d);
	assert_int_equal(probe_on_datagram(&w.probe, d, LINK_RESP_BYTES - 1), PROBE_NOTHING);
	assert_int_equal(probe_on_datagram(&w.probe, d, LINK_RESP_BYTES + 1), PROBE_NOTHING);
	for (size_t i = 0; i < LINK_RESP_BYTES; i++) {
		d[i] ^= 1;
		assert_int_equal(probe_on_datagram(&w.probe, d, LINK_RESP_BYTES), PROBE_NOTHING);
		d[i] ^= 1;
	}
	assert_int_equal(probe_on_datagram(&w.probe, d, LINK_RESP_BYTES), PROBE_ALIVE);
	probe_done(&w.probe);
}

static void probe_judges_the_status(void **state)
{
	(void)state;
	static const struct {
		uint8_t status;
		uint32_t echo;
		enum probe_answer want;
	} rows[] = {{LINK_OK, 0, PROBE_ALIVE},	      {LINK_SKEW, 0, PROBE_REFUSED},
		    {LINK_FULL, 0, PROBE_ALIVE},      {LINK_NET, 0, PROBE_REFUSED},
		    {LINK_VERSION, 0, PROBE_REFUSED}, {LINK_OK, 1, PROBE_NOTHING}};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct world w;
		uint8_t d[LINK_RESP_BYTES];
		world_init(&w);
		respond(&w, &w.onion, rows[i].status, rows[i].echo, d);
		assert_int_equal(probe_on_datagram(&w.probe, d, sizeof(d)), rows[i].want);
		if (rows[i].want == PROBE_REFUSED)
			assert_int_equal(w.probe.status, rows[i].status);
		probe_done(&w.probe);
	}
}

static void probe_answers_one_cookie(void **state)
{
	(void)state;
	struct world w;
	uint8_t cookie[COOKIE_BYTES] = {7}, d[LINK_COOKIE_BYTES], before[LINK_INIT_BYTES],
		mac2[MAC_BYTES];
	struct link_cookie c = {0};
	world_init(&w);
	memcpy(before, w.probe.datagram, sizeof(before));
	c.receiver_id = w.probe.link_id;
	cookie_seal(w.id, w.probe.datagram + LINK_MAC1_OFFSET, cookie, &w.rng, c.nonce, c.sealed);
	link_cookie_write(d, &c);
	d[10] ^= 1;
	assert_int_equal(probe_on_datagram(&w.probe, d, sizeof(d)), PROBE_NOTHING);
	d[10] ^= 1;
	assert_int_equal(probe_on_datagram(&w.probe, d, sizeof(d)), PROBE_RESEND);
	assert_memory_equal(before, w.probe.datagram,
			    LINK_MAC2_OFFSET); /* the same bytes, plus mac2 */
	mac2_make(mac2, cookie, w.probe.datagram, LINK_MAC2_OFFSET);
	assert_memory_equal(mac2, w.probe.datagram + LINK_MAC2_OFFSET, MAC_BYTES);
	assert_int_equal(probe_on_datagram(&w.probe, d, sizeof(d)), PROBE_NOTHING); /* once */
	uint8_t resp[LINK_RESP_BYTES];
	respond(&w, &w.onion, LINK_OK, 0, resp);
	assert_int_equal(probe_on_datagram(&w.probe, resp, sizeof(resp)), PROBE_ALIVE);
	probe_done(&w.probe);
}

int main(void)
{
	if (crypto_init())
		return 1;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(probe_hears_the_right_relay),
		cmocka_unit_test(probe_judges_the_status),
		cmocka_unit_test(probe_answers_one_cookie),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
