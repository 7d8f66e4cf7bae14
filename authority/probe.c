/* authority/probe.c - build LINK_INIT, answer COOKIE, check LINK_RESP. Layouts: onion/link_init.h.
 */
#include "authority/probe.h"
#include <string.h>
#include "crypto/kdf.h"
#include "onion/link_init.h"

int probe_start(struct probe *p, const uint8_t id[32], const struct onion_key *key, uint32_t net_id,
		uint64_t now_s, const struct rng *rng)
{
	*p = (struct probe){0};
	memcpy(p->id, id, sizeof(p->id));
	while (!p->link_id)
		p->link_id = rng_u32(rng);
	struct link_init m = {
		.version = PROTOCOL_VERSION, .keyid = key->keyid, .sender_id = p->link_id};
	int e = hs_start(&p->hs, HS_LINK, id, key->public_key, rng, m.x);
	if (e)
		return e;
	const struct link_req req = {.net_id = net_id,
				     .time_min = (uint32_t)(now_s / 60),
				     .max_dgram = DATAGRAM_FULL_MOST,
				     .role = ROLE_AUTHORITY};
	uint8_t plain[LINK_REQ_BYTES];
	link_req_write(plain, &req);
	hs_seal_request(&p->hs, plain, sizeof(plain), m.ct);
	link_init_write(p->datagram, &m, id);
	return 0;
}

static enum probe_answer on_cookie(struct probe *p, const struct link_cookie *m)
{
	uint8_t cookie[COOKIE_BYTES];
	if (p->has_cookie ||
	    !cookie_open(p->id, p->datagram + LINK_MAC1_OFFSET, m->nonce, m->sealed, cookie))
		return PROBE_NOTHING;
	mac2_make(p->datagram + LINK_MAC2_OFFSET, cookie, p->datagram, LINK_MAC2_OFFSET);
	p->has_cookie = true;
	return PROBE_RESEND;
}

static enum probe_answer on_response(struct probe *p, const struct link_resp *m, const uint8_t *d)
{
	uint8_t plain[LINK_REP_BYTES];
	struct link_rep rep;
	if (!mac1_verify(d + LINK_MAC1_OFFSET, p->id, d, LINK_MAC1_OFFSET) ||
	    !hs_finish(&p->hs, m->y, m->rt, LINK_REP_BYTES, plain) ||
	    !link_rep_parse(plain, &rep) || rep.init_id != p->link_id ||
	    rep.resp_id != m->sender_id)
		return PROBE_NOTHING;
	p->status = (uint8_t)rep.status;
	return rep.status == LINK_OK || rep.status == LINK_FULL ? PROBE_ALIVE : PROBE_REFUSED;
}

enum probe_answer probe_on_datagram(struct probe *p, const uint8_t *d, size_t n)
{
	struct link_resp resp;
	struct link_cookie cookie;
	if (link_resp_parse(d, n, &resp) && resp.receiver_id == p->link_id)
		return on_response(p, &resp, d);
	if (link_cookie_parse(d, n, &cookie) && cookie.receiver_id == p->link_id)
		return on_cookie(p, &cookie);
	return PROBE_NOTHING;
}

void probe_done(struct probe *p)
{
	hs_done(&p->hs);
}
