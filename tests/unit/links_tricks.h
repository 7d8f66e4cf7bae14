/* tests/unit/links_tricks.h - what several tests of links do to the wire and to the parties of
 * links_world.h. */
#pragma once
#include "unit/links_world.h"

static inline struct addr address(const char *text)
{
	struct addr a;
	assert_int_equal(addr_parse(text, &a), 0);
	return a;
}

/* An INIT to party 1 by nobody in particular. */
struct crafted {
	struct hs hs;
	uint8_t d[LINK_INIT_BYTES];
};

static inline void craft(struct world *w, enum link_role role, struct crafted *c)
{
	struct rng rng = world_rng(w);
	struct party *to = &w->p[1];
	struct link_init m = {.version = 1, .keyid = KEYID, .sender_id = 99};
	assert_int_equal(hs_start(&c->hs, HS_LINK, to->id, to->key.public_key, &rng, m.x), 0);
	const struct link_req req = {NET_ID, (uint32_t)(party_unix(to) / 60), DATAGRAM_FULL_MOST,
				     role};
	uint8_t plain[LINK_REQ_BYTES];
	link_req_write(plain, &req);
	hs_seal_request(&c->hs, plain, sizeof(plain), m.ct);
	link_init_write(c->d, &m, to->id);
}

/* Give party 1 a handshake datagram. */
static inline void feed(struct world *w, const struct addr *from, const uint8_t *d, size_t n)
{
	links_on_handshake(w->p[1].links, from, 0, d, n, w->now);
}

static inline void source_number(unsigned i, struct addr *ret)
{
	uint8_t ip[4];
	store_be32(ip, 0x0a000000 + i);
	*ret = addr_from_ip(ip, 4, 1000);
}

/* INITs that were sent. */
static uint8_t tries[8][LINK_INIT_BYTES] __attribute__((unused));
static nsec_t tried_at[8] __attribute__((unused));
static unsigned tried __attribute__((unused));

/* A filter that remembers them. */
static inline bool record_inits(struct world *w, struct parcel *k)
{
	(void)w;
	if (k->n == LINK_INIT_BYTES && k->d[4] == LINK_TYPE_INIT && tried < 8)
		memcpy(tries[tried++], k->d, LINK_INIT_BYTES);
	return true;
}

/* Why a link of party 0 to party 1 does not come up; 0 when it does. */
static inline int fails_with(struct world *w)
{
	unsigned before = w->p[0].failures;
	open_link(&w->p[0], &w->p[1]);
	run_for(w, MS(50));
	return w->p[0].failures == before + 1 ? w->p[0].why : 0;
}

static struct parcel caught[64] __attribute__((unused));
static unsigned caught_n __attribute__((unused));
static bool catching_lost __attribute__((unused)); /* what is caught does not arrive */

static inline bool is_ctrl(const struct parcel *k)
{
	size_t n = k->n - HEADER_BYTES - AEAD_TAG;
	return k->n > HEADER_BYTES + AEAD_TAG && (n == CTRL_PLAIN_SMALL || n == CTRL_PLAIN_LARGE);
}

/* Catch the client's CTRL datagrams. */
static inline bool catch_ctrl(struct world *w, struct parcel *k)
{
	if (!is_ctrl(k) || !addr_equal(&k->to, &w->p[1].addr))
		return true;
	if (caught_n < 64)
		caught[caught_n++] = *k;
	return !catching_lost;
}

static inline void start_catching(struct world *w, bool lost)
{
	caught_n = 0;
	catching_lost = lost;
	w->filter = catch_ctrl;
}

static inline void send_build(struct link *l, nsec_t now)
{
	static const uint8_t build[FRAME_BUILD_BYTES] = {1};
	assert_int_equal(link_send(l, FRAME_BUILD, build, sizeof(build), now), 0);
}

static inline void send_close(struct link *l, nsec_t now)
{
	static const uint8_t frame[FRAME_CIRCUIT_CLOSE_BYTES] = {0, 0, 0, 1, CLOSE_DONE};
	assert_int_equal(link_send(l, FRAME_CIRCUIT_CLOSE, frame, sizeof(frame), now), 0);
}
