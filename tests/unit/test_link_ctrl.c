/* tests/unit/test_link_ctrl.c - a link's CTRL frames, its end, roaming. PROTOCOL.md section 4. */
#include "onion/link_priv.h"
#include "unit/links_tricks.h"

static void link_frames_arrive_and_sizes_are_two(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct link *l = link_up(w);
	send_close(l, w->now);
	assert_int_equal(w->p[0].sent_last, 20 + 160 + 16);
	send_build(l, w->now);
	assert_int_equal(w->p[0].sent_last, 20 + 900 + 16);
	run_for(w, MS(20));
	assert_int_equal(w->p[1].frames, 2);
	bool close_first = w->p[1].frame[0].type == FRAME_CIRCUIT_CLOSE;
	assert_int_equal(w->p[1].frame[close_first].type, FRAME_BUILD);
	world_free(w);
}

/* What is sent from within one call goes out together. */
static void send_three(struct party *p, struct link *dead)
{
	(void)dead;
	for (unsigned i = 0; i < 3; i++)
		send_close(p->up, p->world->now);
}

static void link_frames_of_one_call_share_a_datagram(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct link *a = link_up(w);
	link_up(w);
	w->p[0].on_dead = send_three; /* on the other link */
	unsigned sent = w->p[0].sent;
	link_close(a, CLOSE_DONE, w->now);
	assert_int_equal(w->p[0].sent, sent + 2); /* LINK_CLOSE, and three frames in one */
	run_for(w, MS(20));
	assert_int_equal(w->p[1].frames, 3);
	world_free(w);
}

static void link_ctrl_is_taken_once(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct link *l = link_up(w);
	start_catching(w, false);
	send_build(l, w->now);
	run_for(w, MS(20));
	assert_int_equal(w->p[1].frames, 1);
	for (unsigned i = 0; i < 3; i++) {
		struct parcel k = caught[0];
		party_receive(&w->p[1], &k);
	}
	assert_int_equal(w->p[1].frames, 1);
	assert_int_equal(drops_of(&w->p[1], DROP_CTRL_REPLAY), 3);
	world_free(w);
}

static void link_ctrl_counts_from_zero_each_way(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct link *l = link_up(w); /* PING: client's 0; PONG: relay's 0 */
	start_catching(w, false);
	send_close(l, w->now);
	struct header h;
	struct link *o = other_side(w, l);
	assert_true(header_open(w->p[1].aead, &link_data_of(o)->rx, caught[0].d + 4, &h));
	assert_int_equal(h.ctr, 1);
	assert_int_equal(h.circuit_id, 0);
	assert_int_equal(h.type, HEADER_CTRL);
	world_free(w);
}

static void link_ctrl_bits_all_count(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct link *l = link_up(w);
	start_catching(w, true);
	send_close(l, w->now);
	for (size_t bit = 0; bit < caught[0].n * 8; bit += 3) {
		struct parcel k = caught[0];
		k.d[bit / 8] ^= (uint8_t)(1 << bit % 8);
		party_receive(&w->p[1], &k);
	}
	assert_int_equal(w->p[1].frames, 0);
	assert_true(drops_of(&w->p[1], DROP_CTRL_OPEN) > 400);
	party_receive(&w->p[1], &caught[0]); /* no wrong one moved the window */
	assert_int_equal(w->p[1].frames, 1);
	world_free(w);
}

/* Seal a list of our own with the client's key, as only a neighbour gone bad could. */
static void seal_as_client(struct world *w, struct link *l, uint64_t ctr, const uint8_t *plain,
			   size_t n, uint8_t *body)
{
	(void)w;
	uint8_t nonce[12];
	nonce_from_counter(nonce, l->tx.iv, ctr);
	chapoly_seal(l->tx.key, nonce, NULL, 0, plain, n, body);
}

/* A list with something unknown in it verified, but none of it is acted on. */
static void link_ctrl_a_spoilt_list_does_nothing(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct link *l = link_up(w);
	struct party *r = &w->p[1];
	uint32_t id = link_data_of(l)->remote_id;
	const struct addr *from = &w->p[0].addr;
	uint8_t plain[CTRL_PLAIN_SMALL] = {FRAME_CIRCUIT_CLOSE, 0, 5, 0, 0, 0, 1, 1, 7, 0, 1, 0};
	uint8_t body[CTRL_PLAIN_LARGE + AEAD_TAG];
	seal_as_client(w, l, 1, plain, sizeof(plain), body);
	links_on_ctrl(r->links, id, from, 0, 1, body, sizeof(plain) + AEAD_TAG, w->now);
	assert_int_equal(drops_of(r, DROP_CTRL_FORMAT), 1);
	assert_int_equal(r->frames, 0);
	plain[8] = FRAME_PAD;
	for (size_t n = 0; n <= sizeof(body); n++) { /* a third length, even with a right tag */
		if (n == CTRL_PLAIN_SMALL + AEAD_TAG || n == sizeof(body))
			continue;
		uint8_t *exact = malloc(n ? n : 1);
		memset(exact, 0, n ? n : 1);
		if (n >= AEAD_TAG && n - AEAD_TAG <= sizeof(plain))
			seal_as_client(w, l, 2, plain, n - AEAD_TAG, exact);
		links_on_ctrl(r->links, id, from, 0, 2, exact, n, w->now);
		free(exact);
	}
	assert_int_equal(r->frames, 0);
	links_on_ctrl(r->links, id + 1, from, 0, 2, body, sizeof(body), w->now);
	assert_int_equal(drops_of(r, DROP_LINK_UNKNOWN), 1);
	seal_as_client(w, l, 2, plain, sizeof(plain), body);
	links_on_ctrl(r->links, id, from, 0, 3, body, sizeof(plain) + AEAD_TAG, w->now);
	assert_int_equal(drops_of(r, DROP_CTRL_OPEN), 1); /* sealed with another counter */
	seal_as_client(w, l, 2, plain, sizeof(plain), body);
	links_on_ctrl(r->links, id, from, 0, 2, body, sizeof(plain) + AEAD_TAG, w->now);
	assert_int_equal(r->frames, 1);
	world_free(w);
}

static void link_ping_measures_the_round_trip(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct link *l = link_up(w);
	run_for(w, MS(100));
	link_probe(l, w->now);
	w->p[1].clock_off_s = 0;
	run_for(w, WIRE_DELAY);
	for (size_t i = 0; i < w->on_wire; i++)
		w->wire[i].at += MS(33); /* a slow PONG */
	run_for(w, MS(100));
	assert_int_equal(link_rtt(l), 2 * WIRE_DELAY + MS(33));
	world_free(w);
}

static void link_close_reaches_the_other_side(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct link *l = link_up(w);
	struct link *o = other_side(w, l);
	link_hold(o, w->now);
	link_close(l, CLOSE_DONE, w->now);
	assert_int_equal(w->p[0].deads, 1);
	assert_int_equal(links_count(w->p[0].links), 0);
	assert_int_equal(slots_count(w->p[0].slots), 0);
	unsigned sent = w->p[1].sent;
	run_for(w, MS(50));
	assert_int_equal(w->p[1].deads, 1);
	assert_int_equal(links_count(w->p[1].links), 0);
	assert_int_equal(slots_count(w->p[1].slots), 0);
	assert_int_equal(w->p[1].sent, sent); /* a close is not answered */
	world_free(w);
}

static void keep_it(struct party *p, struct link *l)
{
	(void)p;
	link_hold(l, p->world->now); /* party_on_dead() lets go of it afterwards */
	assert_int_equal(link_send(l, FRAME_PING, "12345678", 8, p->world->now), -ENOTCONN);
}

static void link_dead_ones_are_silent(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct link *l = link_up(w);
	w->p[0].on_dead = keep_it;
	link_close(l, CLOSE_DONE, w->now);
	assert_int_equal(w->p[0].deads, 1);
	world_free(w);
}

/* Circuits that let go only later still find their link. */
static void link_dead_ones_wait_for_the_last_circuit(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct link *l = link_up(w);
	w->p[0].keeps = true;
	link_hold(l, w->now);
	link_hold(l, w->now);
	link_close(l, CLOSE_DONE, w->now);
	run_for(w, MS(100));
	assert_int_equal(w->p[0].deads, 1);
	assert_int_equal(link_circuits(l), 2);
	assert_non_null(link_data_of(l));
	assert_int_equal(slots_count(w->p[0].slots), 0);
	link_release(l, w->now);
	assert_int_equal(link_circuits(l), 1);
	link_close(l, CLOSE_DONE, w->now); /* says nothing twice */
	assert_int_equal(w->p[0].deads, 1);
	link_release(l, w->now);
	world_free(w);
}

static void link_one_that_opens_can_be_closed(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct link *l = open_link(&w->p[0], &w->p[1]);
	link_close(l, CLOSE_DONE, w->now);
	assert_int_equal(w->p[0].failures, 1);
	assert_int_equal(w->p[0].why, -ECANCELED);
	run_for(w, SEC(11)); /* its RESP comes for nobody */
	assert_int_equal(w->p[0].ups, 0);
	assert_int_equal(slots_count(w->p[0].slots), 0);
	assert_int_equal(slots_count(w->p[1].slots), 0);
	world_free(w);
}

static void open_another(struct party *p, struct link *dead)
{
	(void)dead;
	open_link(p, &p->world->p[1]);
}

static void link_close_all_spares_what_is_opened_meanwhile(void **state)
{
	(void)state;
	struct world *w = world_started();
	for (unsigned i = 0; i < 5; i++)
		link_up(w);
	open_link(&w->p[0], &w->p[1]);
	w->p[0].on_dead = open_another;
	links_close_all(w->p[0].links, CLOSE_DONE, w->now);
	w->p[0].on_dead = NULL;
	assert_int_equal(w->p[0].deads, 5);
	assert_int_equal(w->p[0].failures, 1);
	run_for(w, MS(100));
	assert_int_equal(links_count(w->p[0].links), 5);
	assert_int_equal(links_count(w->p[1].links), 5);
	assert_int_equal(w->p[1].deads, 5);
	world_free(w);
}

static void move_client(struct world *w, const char *to)
{
	w->p[0].addr = address(to);
}

static void link_roams_after_a_pong_from_there(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct link *l = link_up(w);
	struct link *o = other_side(w, l);
	struct addr old = w->p[0].addr;
	move_client(w, "203.0.113.50:999");
	send_close(l, w->now);
	run_for(w, WIRE_DELAY);
	struct addr remote = link_remote(o);
	assert_true(addr_equal(&remote, &old)); /* not yet */
	run_for(w, 2 * WIRE_DELAY);
	remote = link_remote(o);
	assert_true(addr_equal(&remote, &w->p[0].addr));
	assert_true(addr_equal(atomic_load(&link_data_of(o)->remote), &w->p[0].addr));
	send_build(o, w->now); /* and what is sent arrives there */
	run_for(w, MS(20));
	assert_int_equal(w->p[0].frames, 1);
	world_free(w);
}

/* The same is asked when a worker saw a data packet from there. */
static void link_roams_after_data_from_there(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct link *l = link_up(w);
	struct link *o = other_side(w, l);
	uint32_t id = link_data_of(o)->slot.id;
	unsigned sent = w->p[1].sent;
	links_on_foreign_source(w->p[1].links, id, &w->p[0].addr, w->now); /* it is there already */
	links_on_foreign_source(w->p[1].links, id + 1, &w->p[2].addr, w->now);
	assert_int_equal(w->p[1].sent, sent);
	move_client(w, "203.0.113.50:999");
	for (unsigned i = 0; i < 10; i++)
		links_on_foreign_source(w->p[1].links, id, &w->p[0].addr, w->now);
	assert_int_equal(w->p[1].sent, sent + 1);
	run_for(w, MS(30));
	struct addr remote = link_remote(o);
	assert_true(addr_equal(&remote, &w->p[0].addr));
	world_free(w);
}

static unsigned to_stranger;

static bool count_stranger(struct world *w, struct parcel *k)
{
	(void)w;
	to_stranger += k->to.port == 666;
	return true;
}

/* Someone who only copies packets to us from his own address gets at most one PING a second, and
 * nothing moves. */
static void link_does_not_move_to_a_copyist(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct link *l = link_up(w);
	struct link *o = other_side(w, l);
	to_stranger = 0;
	for (unsigned i = 0; i < 30; i++) { /* 3 s */
		start_catching(w, true);
		send_close(l, w->now);
		caught[0].from = address("203.0.113.66:666");
		w->filter = count_stranger;
		party_receive(&w->p[1], &caught[0]);
		run_for(w, MS(100));
	}
	assert_int_equal(to_stranger, 3);
	assert_int_equal(w->p[1].frames, 30); /* what verified is taken */
	struct addr remote = link_remote(o);
	assert_true(addr_equal(&remote, &w->p[0].addr));
	world_free(w);
}

static struct parcel roam_ping;
static bool has_roam_ping;

static bool hold_roam_ping(struct world *w, struct parcel *k)
{
	(void)w;
	if (k->to.port != 666)
		return true;
	roam_ping = *k;
	has_roam_ping = true;
	return false;
}

/* He even passes the PING on to the client, whose PONG comes from its own address. */
static void link_does_not_move_by_a_relayed_ping(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct link *l = link_up(w);
	struct link *o = other_side(w, l);
	start_catching(w, true);
	send_close(l, w->now);
	caught[0].from = address("203.0.113.66:666");
	w->filter = hold_roam_ping;
	has_roam_ping = false;
	party_receive(&w->p[1], &caught[0]);
	assert_true(has_roam_ping);
	roam_ping.to = w->p[0].addr;
	party_receive(&w->p[0], &roam_ping);
	unsigned sent = w->p[0].sent;
	assert_true(sent > 0);
	run_for(w, MS(50));
	struct addr remote = link_remote(o);
	assert_true(addr_equal(&remote, &w->p[0].addr));
	world_free(w);
}

/* Nor does the right PONG from a third address move it, nor a wrong PONG from the right one. */
static void link_moves_by_the_right_pong_from_there_only(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct link *l = link_up(w);
	struct link *o = other_side(w, l);
	struct addr old = w->p[0].addr, there = address("203.0.113.66:666");
	struct party *r = &w->p[1];
	w->filter = hold_roam_ping;
	has_roam_ping = false;
	links_on_foreign_source(r->links, link_data_of(o)->slot.id, &there, w->now);
	assert_true(has_roam_ping);

	uint8_t plain[CTRL_PLAIN_SMALL] = {FRAME_PONG, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8};
	uint8_t body[CTRL_PLAIN_SMALL + AEAD_TAG];
	seal_as_client(w, l, 40, plain, sizeof(plain), body);
	links_on_ctrl(r->links, link_data_of(o)->slot.id, &there, 0, 40, body, sizeof(body),
		      w->now);
	struct addr remote = link_remote(o);
	assert_true(addr_equal(&remote, &old));

	move_client(w, "203.0.113.70:70");
	roam_ping.to = w->p[0].addr;
	party_receive(&w->p[0], &roam_ping);
	run_for(w, MS(50));
	remote = link_remote(o);
	assert_true(addr_equal(&remote, &old));

	store_be64(plain + 3, o->roam_opaque); /* as the client would answer from there */
	seal_as_client(w, l, 41, plain, sizeof(plain), body);
	links_on_ctrl(r->links, link_data_of(o)->slot.id, &there, 0, 41, body, sizeof(body),
		      w->now);
	remote = link_remote(o);
	assert_true(addr_equal(&remote, &there));
	world_free(w);
}

static void link_of_clients_initiators_stay(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct link *l = link_up(w);
	struct link *o = other_side(w, l);
	struct addr from = address("203.0.113.66:666");
	unsigned sent = w->p[0].sent;
	links_on_foreign_source(w->p[0].links, link_data_of(l)->slot.id, &from, w->now);
	uint8_t body[CTRL_PLAIN_SMALL + AEAD_TAG] = {0};
	links_on_ctrl(w->p[0].links, link_data_of(l)->slot.id, &from, 0, 9, body, sizeof(body),
		      w->now);
	assert_int_equal(drops_of(&w->p[0], DROP_LINK_SOURCE), 1);
	assert_int_equal(w->p[0].sent, sent);
	assert_non_null(o);
	world_free(w);
}

/* Who moves away makes room behind the old address. */
static void link_that_moved_counts_where_it_is(void **state)
{
	(void)state;
	struct world *w = world_started();
	for (unsigned i = 0; i < LINKS_PER_SOURCE_MOST; i++) {
		link_up(w);
		run_for(w, MS(5));
	}
	struct addr old = w->p[0].addr;
	move_client(w, "203.0.113.70:70");
	send_close(w->p[0].up, w->now);
	run_for(w, MS(50));
	struct addr remote = link_remote(other_side(w, w->p[0].up));
	assert_true(addr_equal(&remote, &w->p[0].addr));
	w->p[0].addr = old;
	link_up(w);
	run_for(w, MS(50));
	assert_int_equal(w->p[0].deads, 0);
	assert_int_equal(links_count(w->p[1].links), LINKS_PER_SOURCE_MOST + 1);
	world_free(w);
}

static void link_of_relays_and_initiators_stay(void **state)
{
	(void)state;
	struct world *w = world_new();
	w->p[0].config.role = ROLE_RELAY;
	w->p[0].in_consensus = true;
	party_start(&w->p[0]);
	party_start(&w->p[1]);
	struct link *l = link_up(w);
	struct link *o = other_side(w, l);
	assert_true(link_data_of(o)->fixed);
	start_catching(w, true);
	send_close(l, w->now);
	caught[0].from = address("203.0.113.66:666");
	struct parcel k = caught[0];
	party_receive(&w->p[1], &k); /* the worker drops it */
	links_on_ctrl(w->p[1].links, load_be32(caught[0].d), &caught[0].from, 0, 1,
		      caught[0].d + HEADER_BYTES, caught[0].n - HEADER_BYTES, w->now); /* and we */
	links_on_foreign_source(w->p[1].links, link_data_of(o)->slot.id, &caught[0].from, w->now);
	links_on_foreign_source(w->p[0].links, link_data_of(l)->slot.id, &caught[0].from, w->now);
	to_stranger = 0;
	w->filter = count_stranger;
	run_for(w, MS(100));
	assert_int_equal(to_stranger, 0);
	assert_int_equal(w->p[1].frames, 0);
	assert_int_equal(drops_of(&w->p[1], DROP_LINK_SOURCE), 2);
	world_free(w);
}

static void link_roams_within_its_sources_limit(void **state)
{
	(void)state;
	struct world *w = world_new();
	party_init(w, 2, ROLE_CLIENT);
	for (unsigned i = 0; i < PARTIES; i++)
		party_start(&w->p[i]);
	for (unsigned i = 0; i < LINKS_PER_SOURCE_MOST; i++) {
		open_link(&w->p[2], &w->p[1]);
		run_for(w, MS(55));
	}
	assert_int_equal(links_count(w->p[1].links), LINKS_PER_SOURCE_MOST);
	struct link *l = link_up(w);
	struct link *o = other_side(w, l);
	struct addr old = w->p[0].addr;
	w->p[0].addr = w->p[2].addr; /* behind the same address now */
	w->p[0].addr.port = 12345;
	send_close(l, w->now);
	run_for(w, MS(50));
	struct addr remote = link_remote(o);
	assert_true(addr_equal(&remote, &old));
	assert_int_equal(drops_of(&w->p[1], DROP_ROAM_REFUSED), 1);
	link_close(w->p[2].up, CLOSE_DONE, w->now);
	run_for(w, SEC(1));
	send_close(l, w->now);
	run_for(w, MS(50));
	remote = link_remote(o);
	assert_true(addr_equal(&remote, &w->p[0].addr));
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(link_frames_arrive_and_sizes_are_two),
		cmocka_unit_test(link_frames_of_one_call_share_a_datagram),
		cmocka_unit_test(link_ctrl_is_taken_once),
		cmocka_unit_test(link_ctrl_counts_from_zero_each_way),
		cmocka_unit_test(link_ctrl_bits_all_count),
		cmocka_unit_test(link_ctrl_a_spoilt_list_does_nothing),
		cmocka_unit_test(link_ping_measures_the_round_trip),
		cmocka_unit_test(link_close_reaches_the_other_side),
		cmocka_unit_test(link_dead_ones_are_silent),
		cmocka_unit_test(link_dead_ones_wait_for_the_last_circuit),
		cmocka_unit_test(link_one_that_opens_can_be_closed),
		cmocka_unit_test(link_close_all_spares_what_is_opened_meanwhile),
		cmocka_unit_test(link_roams_after_a_pong_from_there),
		cmocka_unit_test(link_roams_after_data_from_there),
		cmocka_unit_test(link_does_not_move_to_a_copyist),
		cmocka_unit_test(link_does_not_move_by_a_relayed_ping),
		cmocka_unit_test(link_moves_by_the_right_pong_from_there_only),
		cmocka_unit_test(link_of_clients_initiators_stay),
		cmocka_unit_test(link_that_moved_counts_where_it_is),
		cmocka_unit_test(link_of_relays_and_initiators_stay),
		cmocka_unit_test(link_roams_within_its_sources_limit),
	};
	return cmocka_run_group_tests(tests, world_begin, NULL);
}
