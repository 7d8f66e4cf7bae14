/* tests/unit/test_links.c - the handshake of links: PROTOCOL.md section 4. */
#include "unit/links_tricks.h"

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

static void build_at_once(struct party *p, struct link *l)
{
	send_build(l, p->world->now);
}

/* What is sent from on_up travels with the PING and is taken with the confirmation. */
static void links_first_build_costs_no_round_trip(void **state)
{
	(void)state;
	struct world *w = world_started();
	w->p[0].on_up = build_at_once;
	open_link(&w->p[0], &w->p[1]);
	run_for(w, 3 * WIRE_DELAY);
	assert_int_equal(w->p[0].sent, 2);
	assert_int_equal(w->p[0].sent_last, HEADER_BYTES + CTRL_PLAIN_LARGE + AEAD_TAG);
	assert_int_equal(w->p[1].frames, 1);
	assert_int_equal(w->p[1].frame[0].type, FRAME_BUILD);
	world_free(w);
}

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
		cmocka_unit_test(links_skew_beyond_ten_minutes_is_refused),
		cmocka_unit_test(links_another_net_is_refused),
		cmocka_unit_test(links_another_version_hears_of_it),
		cmocka_unit_test(links_resp_must_be_whole_and_from_there),
		cmocka_unit_test(links_resp_must_name_both_ids),
		cmocka_unit_test(links_max_dgram_is_the_smaller_one),
		cmocka_unit_test(links_owner_is_who_read_it),
		cmocka_unit_test(links_are_confirmed_from_where_init_came),
	};
	return cmocka_run_group_tests(tests, world_begin, NULL);
}
