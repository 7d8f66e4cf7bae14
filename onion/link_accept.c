/* onion/link_accept.c - the side that answers INIT. PROTOCOL.md section 4; the order of checks is
 * the order of their price: length, mac1, load and rate (cookie), table, key, X, DH, what was
 * sealed, limits, state. */
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"
#include "onion/circuits.h"
#include "onion/link_priv.h"

/* An INIT on its way through the checks. */
struct init {
	const struct addr *from;
	unsigned worker;
	struct link_init m;
	struct link_req req;
	bool relay;	/* it says so, and its source stands in the consensus */
	uint8_t id[32]; /* of that relay */
};

#define LOAD_LEAD                                                                                  \
	NSEC_PER_SEC /* how far INITs may run ahead of an even pace, and how long load outlives    \
			them */

/* Count this INIT. True when more than inits_per_s_busy come each second. */
static bool is_busy(struct links *s, nsec_t now)
{
	uint32_t rate = s->c.inits_per_s_busy;
	if (rate == 0)
		return true;
	nsec_t gap = NSEC_PER_SEC / rate;
	if (s->next_init < now)
		s->next_init = now;
	bool busy = s->next_init > now + LOAD_LEAD - gap;
	s->next_init = nsec_min(s->next_init + gap, now + 2 * LOAD_LEAD);
	return busy;
}

static bool mac2_is_zero(const uint8_t *d)
{
	static const uint8_t zero[MAC_BYTES];
	return memcmp(d + LINK_MAC2_OFFSET, zero, MAC_BYTES) == 0;
}

static void send_cookie(struct links *s, const struct addr *from, const uint8_t *init,
			uint32_t receiver_id, nsec_t now)
{
	const struct onion_env *env = s->c.env;
	uint8_t cookie[COOKIE_BYTES];
	cookie_make(&s->cookie, from, now, env->rng, cookie);
	struct link_cookie m = {.receiver_id = receiver_id};
	cookie_seal(s->c.id, init + LINK_MAC1_OFFSET, cookie, env->rng, m.nonce, m.sealed);
	uint8_t d[LINK_COOKIE_BYTES];
	link_cookie_write(d, &m);
	env->send(env->arg, from, d, sizeof(d));
	links_drop(s, DROP_COOKIE_SENT);
}

/* Under load, and above its address's rate, only who proved that address by a cookie goes on: else
 * whoever forges an address could use up its rate, and so part two relays. */
static bool load_lets_pass(struct links *s, const struct addr *from, const uint8_t *d,
			   uint32_t sender_id, nsec_t now)
{
	const struct rng *rng = s->c.env->rng;
	bool busy = is_busy(s, now), has_mac2 = !mac2_is_zero(d);
	if (has_mac2 &&
	    cookie_verify(&s->cookie, from, now, rng, d + LINK_MAC2_OFFSET, d, LINK_MAC2_OFFSET)) {
		if (link_source_init(s->sources, from, true, now))
			return true;
		links_drop(s, DROP_INIT_RATE);
		return false;
	}
	if (!busy && link_source_init(s->sources, from, false, now))
		return true;
	if (has_mac2)
		links_drop(s, DROP_MAC2);
	send_cookie(s, from, d, sender_id, now);
	return false;
}

/* The oldest half-open link goes when the table is full: who answers does so long before. */
static bool half_open_gives_way(const struct links *s, nsec_t now)
{
	const struct link *oldest = TAILQ_FIRST(&s->half);
	return oldest && now >= oldest->since + HALF_OPEN_KEEP_NSEC;
}

/* All that costs no DH. Returns the onion key to open it with, or NULL. */
static const struct onion_keypair *check_cheaply(struct links *s, const struct link_init *m,
						 nsec_t now)
{
	if (s->half_open >= s->c.half_open_most && !half_open_gives_way(s, now)) {
		links_drop(s, DROP_HALF_OPEN_FULL);
		return NULL;
	}
	const struct onion_keypair *key = s->c.ops.onion_key(s->c.ops.arg, m->keyid);
	if (!key) {
		links_drop(s, DROP_INIT_KEYID);
		return NULL;
	}
	if (link_seen_has(s->seen, m->x, now)) {
		links_drop(s, DROP_INIT_REPLAY);
		return NULL;
	}
	return key;
}

static bool is_skewed(struct links *s, uint32_t time_min)
{
	int64_t ours = (int64_t)(s->c.ops.unix_seconds(s->c.ops.arg) / 60);
	int64_t ahead = (int64_t)time_min - ours;
	return ahead > CLOCK_SKEW_MINUTES || ahead < -CLOCK_SKEW_MINUTES;
}

static enum link_status refuse(struct links *s, enum drop why, enum link_status status)
{
	links_drop(s, why);
	return status;
}

/* What the RESP says. Limits are asked here so that the other side learns of them; link_confirm()
 * decides. */
static enum link_status judge(struct links *s, const struct init *in, nsec_t now)
{
	if (in->m.version != PROTOCOL_VERSION)
		return refuse(s, DROP_INIT_VERSION, LINK_VERSION);
	if (in->req.net_id != s->c.net_id)
		return refuse(s, DROP_INIT_NET, LINK_NET);
	if (is_skewed(s, in->req.time_min))
		return refuse(s, DROP_INIT_SKEW, LINK_SKEW);
	if (!in->relay && link_source_links(s->sources, in->from) >= LINKS_PER_SOURCE_MOST)
		return refuse(s, DROP_LINKS_PER_SOURCE, LINK_FULL);
	if (!links_make_room(s, in->relay, false, now))
		return refuse(s, DROP_LINKS_FULL, LINK_FULL);
	return LINK_OK;
}

/* A number for a RESP that opens nothing: nobody on the wire shall see which do. */
static uint32_t number_of_nothing(const struct rng *rng)
{
	uint32_t id = rng_u32(rng);
	return id ? id : 1;
}

static void send_resp(struct links *s, const struct addr *from, struct hs *hs,
		      const uint8_t y[X25519_LEN], const struct link_rep *rep)
{
	const struct onion_env *env = s->c.env;
	struct link_resp m = {
		.receiver_id = rep->init_id,
		.version = PROTOCOL_VERSION,
		.sender_id = rep->resp_id,
	};
	memcpy(m.y, y, sizeof(m.y));
	uint8_t plain[LINK_REP_BYTES];
	link_rep_write(plain, rep);
	hs_reply_seal(hs, plain, sizeof(plain), m.rt);
	uint8_t d[LINK_RESP_BYTES];
	link_resp_write(d, &m, s->c.id);
	env->send(env->arg, from, d, sizeof(d));
}

/* The half-open link behind a RESP of LINK_OK; NULL when there is no room. Published: its first
 * CTRL comes through the workers like any other. */
static struct link *open_half(struct links *s, const struct init *in, const struct hs *hs,
			      nsec_t now)
{
	struct link *l;
	if (s->half_open >= s->c.half_open_most) {
		links_drop(s, DROP_HALF_OPEN_FULL);
		link_end(TAILQ_FIRST(&s->half), 0, now);
	}
	if (link_new(s, LINK_HALF, in->from, &l) < 0)
		return NULL;
	l->relay = in->relay;
	memcpy(l->id, in->id, sizeof(l->id));
	l->since = now;
	l->data->remote_id = in->m.sender_id;
	l->data->owner = (uint16_t)in->worker;
	l->data->fixed = l->relay;
	if (in->req.max_dgram < l->data->max_dgram)
		l->data->max_dgram = in->req.max_dgram;
	link_take_keys(l, hs);
	slots_publish(s->c.env->links, l->data->slot.id, &l->data->slot);
	link_arm(l, now);
	return l;
}

/* It verified: answer. */
static void reply(struct links *s, struct init *in, struct hs *hs, nsec_t now)
{
	in->relay = in->req.role == ROLE_RELAY && s->c.ops.relay_at(s->c.ops.arg, in->from, in->id);
	uint8_t y[X25519_LEN];
	if (hs_reply_start(hs, s->c.env->rng, y) < 0) {
		links_drop(s, DROP_INIT_OPEN);
		return;
	}
	enum link_status status = judge(s, in, now);
	struct link *l = NULL;
	if (status == LINK_OK) {
		l = open_half(s, in, hs, now);
		if (!l)
			status = refuse(s, DROP_LINKS_FULL, LINK_FULL);
	}
	const struct link_rep rep = {
		.status = status,
		.version_most = PROTOCOL_VERSION,
		.max_dgram = s->c.max_dgram,
		.time_s = s->c.ops.unix_seconds(s->c.ops.arg),
		.observed = *in->from,
		.serial = s->c.ops.consensus_serial(s->c.ops.arg),
		.circuits_limit = in->relay ? CIRCUITS_MOST : CIRCUITS_PER_CLIENT_LINK,
		.init_id = in->m.sender_id,
		.resp_id = l ? l->data->slot.id : number_of_nothing(s->c.env->rng),
	};
	send_resp(s, in->from, hs, y, &rep);
}

/* Another version's req is not ours to read: it only hears LINK_VERSION. */
static bool read_req(struct init *in, const uint8_t plain[LINK_REQ_BYTES])
{
	return in->m.version != PROTOCOL_VERSION || link_req_parse(plain, &in->req);
}

void link_on_init(struct links *s, const struct addr *from, unsigned worker, const uint8_t *d,
		  size_t n, nsec_t now)
{
	struct init in = {.from = from, .worker = worker};
	if (!mac1_verify(d + LINK_MAC1_OFFSET, s->c.id, d, LINK_MAC1_OFFSET)) {
		links_drop(s, DROP_MAC1);
		return;
	}
	if (!link_init_parse(d, n, &in.m)) {
		links_drop(s, DROP_INIT_OPEN);
		return;
	}
	if (!load_lets_pass(s, from, d, in.m.sender_id, now))
		return;
	const struct onion_keypair *key = check_cheaply(s, &in.m, now);
	if (!key)
		return;
	struct hs hs;
	uint8_t plain[LINK_REQ_BYTES];
	if (!hs_accept(&hs, HS_LINK, s->c.id, key, in.m.x, in.m.ct, LINK_REQ_BYTES, plain))
		links_drop(s, DROP_INIT_OPEN);
	else if (!link_seen_add(s->seen, in.m.x, now))
		links_drop(s, DROP_INIT_REPLAY);
	else if (!read_req(&in, plain))
		links_drop(s, DROP_INIT_OPEN);
	else
		reply(s, &in, &hs, now);
	hs_done(&hs);
}

/* Tell the other side that there is no room after all. It verified, so the link can say so itself.
 */
static void turn_away(struct link *l, enum drop why, nsec_t now)
{
	const uint8_t reason = CLOSE_OVERLOAD;
	links_drop(l->set, why);
	link_put_frame(l, FRAME_LINK_CLOSE, &reason, sizeof(reason));
	link_end(l, 0, now);
}

bool link_confirm(struct link *l, nsec_t now)
{
	struct links *s = l->set;
	if (!links_make_room(s, l->relay, true, now)) {
		turn_away(l, DROP_LINKS_FULL, now);
		return false;
	}
	if (!l->relay) {
		if (!link_source_take(s->sources, &l->remote)) {
			turn_away(l, DROP_LINKS_PER_SOURCE, now);
			return false;
		}
		l->source_taken = true;
	}
	l->rtt = now - l->since;
	link_set_up(l, now);
	return true;
}
