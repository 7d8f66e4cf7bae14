/* tests/unit/test_links.c - the handshake of links and every limit on it: PROTOCOL.md sections 4
 * and 9. */
#include <stdio.h>
#include "unit/links_world.h"

static struct addr address(const char *text)
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

static void craft(struct world *w, enum link_role role, struct crafted *c)
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

static void feed(struct world *w, const struct addr *from, const uint8_t *d, size_t n)
{
	links_on_handshake(w->p[1].links, from, 0, d, n, w->now);
}

static void source_number(unsigned i, struct addr *ret)
{
	uint8_t ip[4];
	store_be32(ip, 0x0a000000 + i);
	*ret = addr_from_ip(ip, 4, 1000);
}

/* ---- the way up ---- */

static void links_come_up_in_one_round_trip(void **state)
{
	(void)state;
	struct world *w = world_new();
	w->p[1].config.max_dgram = 1380;
	party_start(&w->p[0]);
	party_start(&w->p[1]);
	struct link *l = open_link(&w->p[0], &w->p[1]);
	uint32_t id = link_data_of(l)->slot.id;
	assert_int_not_equal(id, 0);
	assert_int_equal(w->p[0].sent, 1);
	assert_false(link_is_up(l));
	assert_null(slots_find(w->p[0].slots, id)); /* reserved, not published */
	assert_int_equal(slots_count(w->p[0].slots), 1);
	assert_ptr_equal(links_find(w->p[0].links, w->p[1].id), l);
	assert_int_equal(link_send(l, FRAME_PING, "12345678", 8, w->now), -ENOTCONN);
	run_for(w, WIRE_DELAY);
	assert_int_equal(links_half_open(w->p[1].links), 1);
	assert_int_equal(links_count(w->p[1].links), 0); /* not before a CTRL verified */
	run_for(w, WIRE_DELAY);
	assert_true(link_is_up(l));
	assert_ptr_equal(slots_find(w->p[0].slots, id), link_data_of(l));
	assert_int_equal(w->p[0].sent, 2); /* INIT, and the PING at once */
	run_for(w, WIRE_DELAY);
	assert_int_equal(links_half_open(w->p[1].links), 0);
	assert_int_equal(links_count(w->p[1].links), 1);

	struct link *o = other_side(w, l);
	assert_non_null(o);
	assert_int_equal(link_data_of(o)->remote_id, id);
	assert_int_equal(link_data_of(l)->max_dgram, 1380);
	assert_int_equal(link_data_of(o)->max_dgram, 1380);
	struct addr observed = link_observed(l), remote = link_remote(o);
	assert_true(addr_equal(&observed, &w->p[0].addr) && addr_equal(&remote, &w->p[0].addr));
	assert_int_equal(link_peer_serial(l), w->p[1].serial);
	assert_int_equal(link_circuits_limit(l), 64);
	assert_int_equal(link_rtt(l), 2 * WIRE_DELAY);
	assert_true(link_data_of(l)->initiator && !link_data_of(o)->initiator);
	assert_false(link_data_of(o)->fixed);
	assert_false(link_is_relay(o));
	assert_null(link_id_of(o));
	assert_memory_equal(link_id_of(l), w->p[1].id, 32);
	world_free(w);
}

static void send_build(struct party *p, struct link *l)
{
	static const uint8_t build[FRAME_BUILD_BYTES] = {1};
	assert_int_equal(link_send(l, FRAME_BUILD, build, sizeof(build), p->world->now), 0);
}

/* What is sent from on_up travels with the PING and is taken with the confirmation. */
static void links_first_build_costs_no_round_trip(void **state)
{
	(void)state;
	struct world *w = world_started();
	w->p[0].on_up = send_build;
	open_link(&w->p[0], &w->p[1]);
	run_for(w, 3 * WIRE_DELAY);
	assert_int_equal(w->p[0].sent, 2);
	assert_int_equal(w->p[0].sent_last, HEADER_BYTES + CTRL_PLAIN_LARGE + AEAD_TAG);
	assert_int_equal(w->p[1].frames, 1);
	assert_int_equal(w->p[1].frame[0].type, FRAME_BUILD);
	world_free(w);
}

static uint8_t tries[8][LINK_INIT_BYTES];
static nsec_t tried_at[8];
static unsigned tried;

static bool record_and_lose(struct world *w, struct parcel *k)
{
	if (tried < 8) {
		memcpy(tries[tried], k->d, LINK_INIT_BYTES);
		tried_at[tried] = w->now;
	}
	tried++;
	return false;
}

static void links_retry_at_1_2_4_with_a_fresh_x(void **state)
{
	(void)state;
	struct world *w = world_started();
	w->filter = record_and_lose;
	tried = 0;
	nsec_t start = w->now;
	open_link(&w->p[0], &w->p[1]);
	run_for(w, SEC(20));
	assert_int_equal(tried, 4);
	const nsec_t due[4] = {0, SEC(1), SEC(2), SEC(4)};
	for (unsigned i = 0; i < 4; i++) {
		assert_in_range(tried_at[i] - start, due[i], due[i] + MS(10));
		assert_memory_equal(tries[i] + 8, tries[0] + 8, 4); /* the same link id */
		for (unsigned j = 0; j < i; j++)
			assert_memory_not_equal(tries[i] + 12, tries[j] + 12, 32);
	}
	assert_int_equal(w->p[0].failures, 1);
	assert_int_equal(w->p[0].why, -ETIMEDOUT);
	assert_int_equal(slots_count(w->p[0].slots), 0);
	assert_null(links_find(w->p[0].links, w->p[1].id));
	world_free(w);
}

static bool slow_way(struct world *w, struct parcel *k)
{
	(void)w;
	k->at += MS(800); /* a round trip of 1.62 s */
	return true;
}

static void links_take_the_answer_to_an_earlier_try(void **state)
{
	(void)state;
	struct world *w = world_started();
	w->filter = slow_way;
	struct link *l = open_link(&w->p[0], &w->p[1]);
	run_for(w, MS(1700));
	assert_true(link_is_up(l));
	assert_int_equal(link_rtt(l), MS(1620));
	run_for(w, SEC(12));
	assert_int_equal(w->p[0].deads, 0);
	assert_int_equal(links_count(w->p[1].links), 1);
	assert_int_equal(links_half_open(w->p[1].links), 0); /* the others ran out */
	assert_int_equal(slots_count(w->p[1].slots), 1);
	world_free(w);
}

static void links_come_up_over_a_bad_wire(void **state)
{
	(void)state;
	unsigned up = 0, deads = 0;
	for (unsigned round = 0; round < 30; round++) {
		struct world *w = world_started();
		w->seed.state = round;
		w->loss = 20;
		w->twice = 20;
		w->late = 50;
		open_link(&w->p[0], &w->p[1]);
		run_for(w, SEC(6));
		up += w->p[0].ups;
		deads += w->p[0].deads;
		assert_int_equal(w->p[0].ups + w->p[0].failures, 1);
		assert_true(links_count(w->p[1].links) <= 1);
		world_free(w);
	}
	assert_true(up >= 24);
	assert_true(deads <= 3);
}

/* The first PING is lost and nothing else is sent: the link must not stay half-open over there. */
static bool lose_first_ctrl(struct world *w, struct parcel *k)
{
	if (k->n == HEADER_BYTES + CTRL_PLAIN_SMALL + AEAD_TAG && tried == 0) {
		tried = 1;
		return false;
	}
	(void)w;
	return true;
}

static void links_confirm_though_the_first_ping_is_lost(void **state)
{
	(void)state;
	struct world *w = world_started();
	tried = 0;
	w->filter = lose_first_ctrl;
	struct link *l = link_up(w);
	assert_int_equal(links_count(w->p[1].links), 0);
	run_for(w, SEC(3));
	assert_true(link_is_up(l));
	assert_int_equal(links_count(w->p[1].links), 1);
	world_free(w);
}

static void links_open_says_why_not(void **state)
{
	(void)state;
	struct world *w = world_new();
	w->p[0].config.links_most = 2;
	party_start(&w->p[0]);
	party_start(&w->p[1]);
	struct link_target t = target_of(&w->p[1]);
	memset(t.onion_key, 0, 32); /* no key: every DH is zero */
	struct link *l;
	assert_int_equal(links_open(w->p[0].links, &t, w->now, &l), -EPROTO);
	assert_int_equal(slots_count(w->p[0].slots), 0);
	open_link(&w->p[0], &w->p[1]);
	open_link(&w->p[0], &w->p[1]);
	t = target_of(&w->p[1]);
	assert_int_equal(links_open(w->p[0].links, &t, w->now, &l), -ENOSPC);
	assert_int_equal(drops_of(&w->p[0], DROP_LINKS_FULL), 1);
	world_free(w);
}

/* ---- cookies ---- */

static bool record_inits(struct world *w, struct parcel *k)
{
	(void)w;
	if (k->n == LINK_INIT_BYTES && k->d[4] == LINK_TYPE_INIT && tried < 8)
		memcpy(tries[tried++], k->d, LINK_INIT_BYTES);
	return true;
}

static void links_under_load_ask_for_a_cookie(void **state)
{
	(void)state;
	struct world *w = world_new();
	w->p[1].config.inits_per_s_busy = 0; /* always */
	party_start(&w->p[0]);
	party_start(&w->p[1]);
	tried = 0;
	w->filter = record_inits;
	struct link *l = open_link(&w->p[0], &w->p[1]);
	run_for(w, WIRE_DELAY);
	assert_int_equal(w->p[1].sent_last, LINK_COOKIE_BYTES);
	assert_int_equal(links_half_open(w->p[1].links), 0); /* no state, no DH */
	assert_int_equal(slots_count(w->p[1].slots), 0);
	run_for(w, MS(50));
	assert_true(link_is_up(l));
	assert_int_equal(tried, 2);
	assert_memory_equal(tries[0], tries[1], LINK_MAC2_OFFSET);
	static const uint8_t zero[16];
	assert_memory_equal(tries[0] + LINK_MAC2_OFFSET, zero, 16);
	assert_memory_not_equal(tries[1] + LINK_MAC2_OFFSET, zero, 16);
	assert_int_equal(drops_of(&w->p[1], DROP_COOKIE_SENT), 1);
	assert_int_equal(drops_of(&w->p[1], DROP_MAC2), 0);
	world_free(w);
}

static void links_cookie_fits_one_source(void **state)
{
	(void)state;
	struct world *w = world_new();
	w->p[1].config.inits_per_s_busy = 0;
	party_start(&w->p[0]);
	party_start(&w->p[1]);
	tried = 0;
	w->filter = record_inits;
	link_up(w);
	assert_int_equal(tried, 2);
	struct addr port = w->p[0].addr, ip = w->p[0].addr;
	port.port++;
	ip.ip[3]++;
	feed(w, &port, tries[1], LINK_INIT_BYTES);
	feed(w, &ip, tries[1], LINK_INIT_BYTES);
	assert_int_equal(drops_of(&w->p[1], DROP_MAC2), 2);
	assert_int_equal(drops_of(&w->p[1], DROP_COOKIE_SENT), 3);
	assert_int_equal(drops_of(&w->p[1], DROP_INIT_REPLAY), 0);
	feed(w, &w->p[0].addr, tries[1],
	     LINK_INIT_BYTES); /* from the right one it gets as far as X */
	assert_int_equal(drops_of(&w->p[1], DROP_INIT_REPLAY), 1);
	world_free(w);
}

static bool lose_one_resp(struct world *w, struct parcel *k)
{
	(void)record_inits(w, k);
	if (k->d[4] != LINK_TYPE_RESP || k->n != LINK_RESP_BYTES || load_be32(k->d) == 0)
		return true;
	return !(tried == 2);
}

/* The answer to a cookie is lost: the next try has a fresh x and takes the cookie along. */
static void links_cookie_serves_the_next_try(void **state)
{
	(void)state;
	struct world *w = world_new();
	w->p[1].config.inits_per_s_busy = 0;
	party_start(&w->p[0]);
	party_start(&w->p[1]);
	tried = 0;
	w->filter = lose_one_resp;
	struct link *l = open_link(&w->p[0], &w->p[1]);
	run_for(w, MS(1200));
	assert_true(link_is_up(l));
	assert_int_equal(tried, 3);
	assert_memory_not_equal(tries[1] + 12, tries[2] + 12, 32);
	assert_int_equal(drops_of(&w->p[1], DROP_COOKIE_SENT), 1);
	world_free(w);
}

static void links_forged_cookies_are_dropped(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct link *l = open_link(&w->p[0], &w->p[1]);
	struct rng rng = world_rng(w);
	struct link_cookie m = {.receiver_id = link_data_of(l)->slot.id};
	uint8_t cookie[COOKIE_BYTES] = {1}, d[LINK_COOKIE_BYTES], other[MAC_BYTES] = {2};
	cookie_seal(w->p[1].id, other, cookie, &rng, m.nonce, m.sealed); /* for another INIT */
	link_cookie_write(d, &m);
	unsigned sent = w->p[0].sent;
	links_on_handshake(w->p[0].links, &w->p[1].addr, 0, d, sizeof(d), w->now);
	assert_int_equal(drops_of(&w->p[0], DROP_COOKIE_BAD), 1);
	cookie_seal(w->p[1].id, w->last_init + LINK_MAC1_OFFSET, cookie, &rng, m.nonce, m.sealed);
	link_cookie_write(d, &m);
	links_on_handshake(w->p[0].links, &w->p[2].addr, 0, d, sizeof(d),
			   w->now); /* not from there */
	assert_int_equal(drops_of(&w->p[0], DROP_LINK_SOURCE), 1);
	assert_int_equal(w->p[0].sent, sent);
	for (unsigned i = 0; i < 5; i++) /* and a true one is answered once */
		links_on_handshake(w->p[0].links, &w->p[1].addr, 0, d, sizeof(d), w->now);
	assert_int_equal(w->p[0].sent, sent + 1);
	world_free(w);
}

static void links_are_busy_above_the_rate_only(void **state)
{
	(void)state;
	struct world *w = world_new();
	w->p[1].config.inits_per_s_busy = 10;
	party_start(&w->p[1]);
	struct crafted c;
	craft(w, ROLE_CLIENT, &c); /* only its first copy costs a DH */
	struct addr a;
	for (unsigned i = 0; i < 50; i++) { /* 10 a second: no load */
		source_number(i, &a);
		feed(w, &a, c.d, sizeof(c.d));
		w->now += MS(100);
	}
	assert_int_equal(drops_of(&w->p[1], DROP_COOKIE_SENT), 0);
	for (unsigned i = 0; i < 100; i++) { /* 100 a second */
		source_number(i, &a);
		feed(w, &a, c.d, sizeof(c.d));
		w->now += MS(10);
	}
	assert_in_range(drops_of(&w->p[1], DROP_COOKIE_SENT), 80, 95);
	w->now += SEC(2);
	uint64_t before = drops_of(&w->p[1], DROP_COOKIE_SENT);
	feed(w, &a, c.d, sizeof(c.d)); /* and it ends */
	assert_int_equal(drops_of(&w->p[1], DROP_COOKIE_SENT), before);
	world_free(w);
}

/* ---- what the responder refuses ---- */

static void links_silent_refusals_are_counted(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct party *r = &w->p[1];
	struct crafted c;
	craft(w, ROLE_CLIENT, &c);
	const struct addr *from = &w->p[0].addr;
	for (unsigned bit = 0; bit < LINK_MAC2_OFFSET * 8; bit += 7) { /* every changed byte */
		if (bit / 8 == 4)
			continue; /* another type is no INIT */
		c.d[bit / 8] ^= (uint8_t)(1 << bit % 8);
		feed(w, from, c.d, sizeof(c.d));
		c.d[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_in_range(drops_of(r, DROP_MAC1), 199, 202);
	c.d[6] ^= 1; /* another keyid */
	mac1_make(c.d + LINK_MAC1_OFFSET, r->id, c.d, LINK_MAC1_OFFSET);
	feed(w, from, c.d, sizeof(c.d));
	assert_int_equal(drops_of(r, DROP_INIT_KEYID), 1);
	c.d[6] ^= 1;
	c.d[50] ^= 1; /* ct */
	mac1_make(c.d + LINK_MAC1_OFFSET, r->id, c.d, LINK_MAC1_OFFSET);
	feed(w, from, c.d, sizeof(c.d));
	assert_int_equal(drops_of(r, DROP_INIT_OPEN), 1);
	c.d[50] ^= 1;
	assert_int_equal(r->sent, 0);
	mac1_make(c.d + LINK_MAC1_OFFSET, r->id, c.d, LINK_MAC1_OFFSET);
	feed(w, from, c.d,
	     sizeof(c.d)); /* what did not open was not recorded: the true one passes */
	assert_int_equal(r->sent, 1);
	for (size_t n = 0; n < 200; n++) {
		uint8_t d[200] = {0};
		memcpy(d, c.d, sizeof(c.d));
		if (n != LINK_INIT_BYTES)
			feed(w, from, d, n);
	}
	assert_int_equal(r->sent, 1);
	/* a client answers no INIT */
	links_on_handshake(w->p[0].links, &r->addr, 0, c.d, sizeof(c.d), w->now);
	assert_int_equal(w->p[0].sent, 0);
	assert_int_equal(drops_of(&w->p[0], DROP_LINK_UNKNOWN), 1);
	world_free(w);
}

static void links_an_x_serves_once(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct party *r = &w->p[1];
	struct crafted c;
	craft(w, ROLE_CLIENT, &c);
	feed(w, &w->p[0].addr, c.d, sizeof(c.d));
	assert_int_equal(r->sent, 1);
	feed(w, &w->p[0].addr, c.d, sizeof(c.d));
	feed(w, &w->p[2].addr, c.d, sizeof(c.d));
	run_for(w, SEC(1199));
	feed(w, &w->p[0].addr, c.d, sizeof(c.d));
	assert_int_equal(drops_of(r, DROP_INIT_REPLAY), 3);
	assert_int_equal(r->sent, 1);
	run_for(w, SEC(2)); /* forgotten, but too old by now */
	feed(w, &w->p[0].addr, c.d, sizeof(c.d));
	assert_int_equal(drops_of(r, DROP_INIT_REPLAY), 3);
	assert_int_equal(drops_of(r, DROP_INIT_SKEW), 1);
	assert_int_equal(links_half_open(r->links), 0);
	world_free(w);
}

static void links_a_full_memory_of_xs_refuses(void **state)
{
	(void)state;
	struct world *w = world_new();
	w->p[1].config.init_replay_most = 256;
	party_start(&w->p[1]);
	struct crafted c;
	struct addr a;
	for (unsigned i = 0; i < 258; i++) {
		craft(w, ROLE_CLIENT, &c);
		source_number(i, &a);
		feed(w, &a, c.d, sizeof(c.d));
	}
	assert_int_equal(w->p[1].sent, 256);
	assert_int_equal(drops_of(&w->p[1], DROP_INIT_REPLAY), 2);
	run_for(w, SEC(1201));
	craft(w, ROLE_CLIENT, &c);
	feed(w, &a, c.d, sizeof(c.d));
	assert_int_equal(w->p[1].sent, 257);
	world_free(w);
}

static void links_inits_have_a_rate_per_source(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct crafted c;
	for (unsigned i = 0; i < 30; i++) {
		craft(w, ROLE_CLIENT, &c);
		struct addr from = address("198.51.100.1:1");
		from.port = (uint16_t)(1000 + i);
		feed(w, &from, c.d, sizeof(c.d));
	}
	assert_int_equal(drops_of(&w->p[1], DROP_INIT_RATE), 10);
	assert_int_equal(links_half_open(w->p[1].links), INIT_PER_SOURCE_PER_S);
	world_free(w);
}

static void links_half_open_ones_are_few_and_short(void **state)
{
	(void)state;
	struct world *w = world_new();
	w->p[1].config.half_open_most = 8;
	party_start(&w->p[0]);
	party_start(&w->p[1]);
	struct crafted c;
	struct addr a;
	for (unsigned i = 0; i < 20; i++) {
		craft(w, ROLE_CLIENT, &c);
		source_number(i, &a);
		feed(w, &a, c.d, sizeof(c.d));
	}
	assert_int_equal(links_half_open(w->p[1].links), 8);
	assert_int_equal(slots_count(w->p[1].slots), 8);
	assert_int_equal(drops_of(&w->p[1], DROP_HALF_OPEN_FULL), 12);
	assert_int_equal(links_count(w->p[1].links), 0);
	run_for(w, SEC(HALF_OPEN_SECONDS) - MS(20));
	assert_int_equal(links_half_open(w->p[1].links), 8);
	run_for(w, MS(40));
	assert_int_equal(links_half_open(w->p[1].links), 0);
	assert_int_equal(slots_count(w->p[1].slots), 0);
	link_up(w);
	world_free(w);
}

/* 5,000 INITs from as many sources, forged or not: bounded state, few DHs, no reply longer than its
 * request. */
static void links_a_flood_costs_little(void **state)
{
	(void)state;
	struct world *w = world_new();
	w->p[1].config.inits_per_s_busy = 50;
	w->p[1].config.half_open_most = 64;
	party_start(&w->p[1]);
	struct crafted c[80];
	for (unsigned i = 0; i < 80; i++)
		craft(w, ROLE_CLIENT, &c[i]);
	for (unsigned i = 0; i < 5000; i++) {
		struct addr a;
		source_number(i, &a);
		size_t before = w->p[1].sent_bytes;
		uint8_t d[LINK_INIT_BYTES];
		memcpy(d, c[i % 80].d, sizeof(d));
		if (i % 3 == 0)
			seeded_fill(&w->seed, d + LINK_MAC2_OFFSET, MAC_BYTES);
		feed(w, &a, d, sizeof(d));
		assert_true(w->p[1].sent_bytes - before <= sizeof(d));
		w->now += MS(1) / 10;
		w->on_wire = 0;
	}
	assert_true(links_half_open(w->p[1].links) <= 64);
	assert_true(slots_count(w->p[1].slots) <= 64);
	assert_true(drops_of(&w->p[1], DROP_COOKIE_SENT) > 4900);
	run_for(w, SEC(11));
	assert_int_equal(slots_count(w->p[1].slots), 0);
	world_free(w);
}

/* ---- answers that say no ---- */

static int fails_with(struct world *w)
{
	unsigned before = w->p[0].failures;
	open_link(&w->p[0], &w->p[1]);
	run_for(w, MS(50));
	return w->p[0].failures == before + 1 ? w->p[0].why : 0;
}

static void links_skew_beyond_ten_minutes_is_refused(void **state)
{
	(void)state;
	const int64_t off[] = {-11 * 60, -10 * 60, 10 * 60, 11 * 60};
	for (unsigned i = 0; i < 4; i++) {
		struct world *w = world_started();
		w->p[0].clock_off_s = off[i];
		bool refused = i == 0 || i == 3;
		assert_int_equal(fails_with(w), refused ? -EACCES : 0);
		assert_int_equal(drops_of(&w->p[1], DROP_INIT_SKEW), refused);
		assert_int_equal(links_count(w->p[1].links), !refused);
		assert_int_equal(links_half_open(w->p[1].links), 0);
		world_free(w);
	}
}

static void links_another_net_is_refused(void **state)
{
	(void)state;
	struct world *w = world_new();
	w->p[0].config.net_id = NET_ID + 1;
	party_start(&w->p[0]);
	party_start(&w->p[1]);
	assert_int_equal(fails_with(w), -ENETUNREACH);
	assert_int_equal(drops_of(&w->p[1], DROP_INIT_NET), 1);
	assert_int_equal(slots_count(w->p[1].slots), 0);
	world_free(w);
}

static bool version_two(struct world *w, struct parcel *k)
{
	if (k->n == LINK_INIT_BYTES && k->d[4] == LINK_TYPE_INIT) {
		k->d[5] = 2;
		mac1_make(k->d + LINK_MAC1_OFFSET, w->p[1].id, k->d, LINK_MAC1_OFFSET);
	}
	return true;
}

static void links_another_version_hears_of_it(void **state)
{
	(void)state;
	struct world *w = world_started();
	w->filter = version_two;
	assert_int_equal(fails_with(w), -EPROTO);
	assert_int_equal(drops_of(&w->p[1], DROP_INIT_VERSION), 1);
	world_free(w);
}

/* ---- what the initiator refuses ---- */

static struct parcel held;
static bool has_held;

static bool hold_resp(struct world *w, struct parcel *k)
{
	(void)w;
	if (k->n != LINK_RESP_BYTES || k->d[4] != LINK_TYPE_RESP || load_be32(k->d) == 0)
		return true;
	held = *k;
	has_held = true;
	return false;
}

static void links_resp_must_be_whole_and_from_there(void **state)
{
	(void)state;
	struct world *w = world_started();
	w->filter = hold_resp;
	has_held = false;
	struct link *l = open_link(&w->p[0], &w->p[1]);
	run_for(w, MS(50));
	assert_true(has_held);
	for (unsigned i = 4; i < LINK_RESP_BYTES; i++) {
		struct parcel k = held;
		if (i == 5 || (i >= 8 && i < 12))
			continue; /* its version says nothing; its number is the next test's */
		k.d[i] ^= 0x10;
		if (i < LINK_MAC1_OFFSET) /* mac1 made anew: only the tag can tell */
			mac1_make(k.d + LINK_MAC1_OFFSET, w->p[1].id, k.d, LINK_MAC1_OFFSET);
		links_on_handshake(w->p[0].links, &k.from, 0, k.d, k.n, w->now);
		assert_false(link_is_up(l));
	}
	assert_int_equal(drops_of(&w->p[0], DROP_MAC1), MAC_BYTES);
	links_on_handshake(w->p[0].links, &w->p[0].addr, 0, held.d, held.n, w->now);
	assert_int_equal(drops_of(&w->p[0], DROP_LINK_SOURCE), 1);
	assert_false(link_is_up(l));
	links_on_handshake(w->p[0].links, &held.from, 0, held.d, held.n, w->now);
	assert_true(link_is_up(l));
	world_free(w);
}

/* A RESP to the INIT sent last, by who holds the relay's key. */
static void answer(struct world *w, uint32_t init_id, uint32_t resp_id, uint32_t sender_id,
		   uint16_t max_dgram)
{
	struct rng rng = world_rng(w);
	struct party *r = &w->p[1];
	struct link_init init;
	assert_true(link_init_parse(w->last_init, LINK_INIT_BYTES, &init));
	struct hs hs;
	uint8_t plain[LINK_REP_BYTES];
	assert_true(
		hs_accept(&hs, HS_LINK, r->id, &r->key, init.x, init.ct, LINK_REQ_BYTES, plain));
	struct link_resp m = {.receiver_id = init.sender_id, .version = 1, .sender_id = sender_id};
	assert_int_equal(hs_reply_start(&hs, &rng, m.y), 0);
	const struct link_rep rep = {.version_most = 1,
				     .max_dgram = max_dgram,
				     .init_id = init.sender_id + init_id,
				     .resp_id = resp_id};
	link_rep_write(plain, &rep);
	hs_reply_seal(&hs, plain, sizeof(plain), m.rt);
	uint8_t d[LINK_RESP_BYTES];
	link_resp_write(d, &m, r->id);
	links_on_handshake(w->p[0].links, &r->addr, 0, d, sizeof(d), w->now);
	hs_done(&hs);
}

static void links_resp_must_name_both_ids(void **state)
{
	(void)state;
	struct world *w = world_new();
	party_start(&w->p[0]); /* nobody answers but we */
	struct link *l = open_link(&w->p[0], &w->p[1]);
	answer(w, 1, 5, 5, DATAGRAM_FULL_MOST);
	run_for(w, MS(1100)); /* the next try */
	answer(w, 0, 5, 6, DATAGRAM_FULL_MOST);
	run_for(w, MS(1000));
	answer(w, 0, 5, 5, DATAGRAM_FULL_LEAST - 1);
	assert_int_equal(drops_of(&w->p[0], DROP_RESP_OPEN), 3);
	assert_false(link_is_up(l));
	run_for(w, SEC(2));
	answer(w, 0, 5, 5, DATAGRAM_FULL_LEAST);
	assert_true(link_is_up(l));
	assert_int_equal(link_data_of(l)->remote_id, 5);
	assert_int_equal(link_data_of(l)->max_dgram, DATAGRAM_FULL_LEAST);
	world_free(w);
}

static void links_max_dgram_is_the_smaller_one(void **state)
{
	(void)state;
	struct world *w = world_new();
	w->p[0].config.max_dgram = 1320;
	party_start(&w->p[0]);
	party_start(&w->p[1]);
	struct link *l = link_up(w);
	assert_int_equal(link_data_of(l)->max_dgram, 1320);
	assert_int_equal(link_data_of(other_side(w, l))->max_dgram, 1320);
	world_free(w);
}

static void links_owner_is_who_read_it(void **state)
{
	(void)state;
	struct world *w = world_started();
	w->filter = hold_resp;
	struct link *l = open_link(&w->p[0], &w->p[1]);
	run_for(w, MS(20));
	links_on_handshake(w->p[0].links, &held.from, 3, held.d, held.n, w->now);
	assert_true(link_is_up(l));
	assert_int_equal(link_data_of(l)->owner, 3);
	world_free(w);
}

static struct parcel ctrl_held;

static bool hold_ctrl(struct world *w, struct parcel *k)
{
	if (!addr_equal(&k->from, &w->p[0].addr) ||
	    k->n < HEADER_BYTES + CTRL_PLAIN_SMALL + AEAD_TAG)
		return true;
	ctrl_held = *k;
	return false;
}

static void links_are_confirmed_from_where_init_came(void **state)
{
	(void)state;
	struct world *w = world_started();
	w->filter = hold_ctrl;
	link_up(w);
	struct parcel k = ctrl_held;
	k.from = address("203.0.113.9:9");
	party_receive(&w->p[1], &k);
	assert_int_equal(links_count(w->p[1].links), 0);
	assert_int_equal(drops_of(&w->p[1], DROP_LINK_SOURCE), 1);
	party_receive(&w->p[1], &ctrl_held);
	assert_int_equal(links_count(w->p[1].links), 1);
	world_free(w);
}

/* ---- limits ---- */

static void links_per_source_are_limited(void **state)
{
	(void)state;
	struct world *w = world_started();
	for (unsigned i = 0; i < LINKS_PER_SOURCE_MOST - 1; i++) {
		link_up(w);
		run_for(w, MS(50));
	}
	struct link *one = open_link(&w->p[0], &w->p[1]); /* both are answered, one is confirmed */
	struct link *two = open_link(&w->p[0], &w->p[1]);
	run_for(w, MS(100));
	assert_int_equal(links_count(w->p[1].links), LINKS_PER_SOURCE_MOST);
	assert_int_equal(drops_of(&w->p[1], DROP_LINKS_PER_SOURCE), 1);
	assert_int_equal(w->p[0].deads, 1); /* it was told */
	assert_true(w->p[0].dead == one || w->p[0].dead == two);
	assert_int_equal(fails_with(w), -EUSERS);
	assert_int_equal(drops_of(&w->p[1], DROP_LINKS_PER_SOURCE), 2);
	link_close(links_find(w->p[0].links, w->p[1].id), CLOSE_DONE, w->now);
	run_for(w, MS(50));
	assert_int_equal(fails_with(w), 0); /* room again */
	world_free(w);
}

static void links_of_relays_are_not_counted_per_source(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < 3; kind++) {
		struct world *w = world_new();
		w->p[0].config.role = kind == 1 ? ROLE_CLIENT : ROLE_RELAY;
		w->p[0].in_consensus = kind != 2;
		bool relay = kind == 0; /* it says so and stands there */
		party_start(&w->p[0]);
		party_start(&w->p[1]);
		for (unsigned i = 0; i < LINKS_PER_SOURCE_MOST + 3; i++) {
			open_link(&w->p[0], &w->p[1]);
			run_for(w, MS(55));
		}
		assert_int_equal(w->p[0].failures, relay ? 0 : 3);
		struct link *o = other_side(w, w->p[0].up);
		assert_non_null(o);
		assert_int_equal(link_is_relay(o), relay);
		assert_int_equal(link_data_of(o)->fixed, relay);
		assert_int_equal(link_circuits_limit(w->p[0].up), relay ? 262144 : 64);
		if (relay)
			assert_memory_equal(link_id_of(o), w->p[0].id, 32);
		else
			assert_null(link_id_of(o));
		world_free(w);
	}
}

static void links_at_90_percent_the_idle_go_first(void **state)
{
	(void)state;
	struct world *w = world_new();
	w->p[1].config.links_most = 10;
	party_init(w, 2, ROLE_RELAY);
	w->p[2].in_consensus = true;
	for (unsigned i = 0; i < PARTIES; i++)
		party_start(&w->p[i]);
	struct link *first = link_up(w);
	for (unsigned i = 1; i < 9; i++)
		link_up(w);
	assert_int_equal(links_count(w->p[1].links), 9);
	assert_int_equal(fails_with(w), -EUSERS); /* none has been idle for long */
	assert_int_equal(drops_of(&w->p[1], DROP_LINKS_FULL), 1);
	link_hold(other_side(w, first), w->now); /* in use: it stays */
	run_for(w, SEC(10));
	assert_int_equal(fails_with(w), 0);
	run_for(w, MS(50));
	assert_int_equal(links_count(w->p[1].links), 9);
	assert_int_equal(w->p[0].deads, 1);
	assert_ptr_not_equal(w->p[0].dead, first);
	assert_true(link_is_up(first));
	/* a relay may have the last tenth */
	open_link(&w->p[2], &w->p[1]);
	run_for(w, MS(50));
	assert_int_equal(w->p[2].ups, 1);
	assert_int_equal(links_count(w->p[1].links), 10);
	link_release(other_side(w, first), w->now);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(links_come_up_in_one_round_trip),
		cmocka_unit_test(links_first_build_costs_no_round_trip),
		cmocka_unit_test(links_retry_at_1_2_4_with_a_fresh_x),
		cmocka_unit_test(links_take_the_answer_to_an_earlier_try),
		cmocka_unit_test(links_come_up_over_a_bad_wire),
		cmocka_unit_test(links_confirm_though_the_first_ping_is_lost),
		cmocka_unit_test(links_open_says_why_not),
		cmocka_unit_test(links_under_load_ask_for_a_cookie),
		cmocka_unit_test(links_cookie_fits_one_source),
		cmocka_unit_test(links_cookie_serves_the_next_try),
		cmocka_unit_test(links_forged_cookies_are_dropped),
		cmocka_unit_test(links_are_busy_above_the_rate_only),
		cmocka_unit_test(links_silent_refusals_are_counted),
		cmocka_unit_test(links_an_x_serves_once),
		cmocka_unit_test(links_a_full_memory_of_xs_refuses),
		cmocka_unit_test(links_inits_have_a_rate_per_source),
		cmocka_unit_test(links_half_open_ones_are_few_and_short),
		cmocka_unit_test(links_a_flood_costs_little),
		cmocka_unit_test(links_skew_beyond_ten_minutes_is_refused),
		cmocka_unit_test(links_another_net_is_refused),
		cmocka_unit_test(links_another_version_hears_of_it),
		cmocka_unit_test(links_resp_must_be_whole_and_from_there),
		cmocka_unit_test(links_resp_must_name_both_ids),
		cmocka_unit_test(links_max_dgram_is_the_smaller_one),
		cmocka_unit_test(links_owner_is_who_read_it),
		cmocka_unit_test(links_are_confirmed_from_where_init_came),
		cmocka_unit_test(links_per_source_are_limited),
		cmocka_unit_test(links_of_relays_are_not_counted_per_source),
		cmocka_unit_test(links_at_90_percent_the_idle_go_first),
	};
	return cmocka_run_group_tests(tests, world_begin, NULL);
}
