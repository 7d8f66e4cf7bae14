/* tests/unit/test_link_limits.c - what a responder asks for and refuses: cookies, rates, replays,
 * limits. PROTOCOL.md sections 4 and 9. */
#include "unit/links_tricks.h"

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
	assert_int_equal(drops_of(&w->p[1], DROP_COOKIE_SENT), 10);
	assert_int_equal(links_half_open(w->p[1].links), INIT_PER_SOURCE_PER_S);
	world_free(w);
}

static void links_inits_with_a_cookie_have_a_rate_too(void **state)
{
	(void)state;
	struct world *w = world_new();
	w->p[1].config.inits_per_s_busy = 0;
	party_start(&w->p[0]);
	party_start(&w->p[1]);
	tried = 0;
	w->filter = record_inits;
	link_up(w);
	for (unsigned i = 0; i < 30; i++) /* the one with its mac2, again and again */
		feed(w, &w->p[0].addr, tries[1], LINK_INIT_BYTES);
	assert_in_range(drops_of(&w->p[1], DROP_INIT_RATE), 10, 12);
	assert_int_equal(drops_of(&w->p[1], DROP_COOKIE_SENT), 1);
	world_free(w);
}

/* Somebody forges the address of party 0, 500 times a second. */
static void links_a_forged_address_uses_up_no_rate(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct crafted c;
	craft(w, ROLE_CLIENT, &c); /* only its first copy costs a DH */
	struct link *l = NULL;
	for (unsigned i = 0; i < 100; i++) {
		for (unsigned k = 0; k < 5; k++)
			feed(w, &w->p[0].addr, c.d, sizeof(c.d));
		if (i == 50)
			l = open_link(&w->p[0], &w->p[1]);
		run_for(w, MS(10));
	}
	assert_true(link_is_up(l));
	assert_true(drops_of(&w->p[1], DROP_COOKIE_SENT) > 400);
	world_free(w);
}

/* More INITs from all the world than the table of half-open links holds: who answers gets in. */
static void links_half_open_ones_give_way_to_newer_ones(void **state)
{
	(void)state;
	struct world *w = world_new();
	w->p[1].config.half_open_most = 8;
	party_start(&w->p[0]);
	party_start(&w->p[1]);
	struct crafted c;
	struct addr a;
	struct link *l = NULL;
	for (unsigned i = 0; i < 12; i++) { /* 5 a second; 0.8 would fill it for ever */
		craft(w, ROLE_CLIENT, &c);
		source_number(i, &a);
		feed(w, &a, c.d, sizeof(c.d));
		assert_true(links_half_open(w->p[1].links) <= 8);
		if (i == 10)
			l = open_link(&w->p[0], &w->p[1]);
		run_for(w, MS(200));
	}
	assert_true(link_is_up(l));
	assert_int_equal(links_count(w->p[1].links), 1);
	assert_int_equal(drops_of(&w->p[1], DROP_HALF_OPEN_FULL), 4);
	run_for(w, SEC(HALF_OPEN_SECONDS));
	assert_int_equal(links_half_open(w->p[1].links), 0);
	assert_int_equal(slots_count(w->p[1].slots), 1);
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
		cmocka_unit_test(links_under_load_ask_for_a_cookie),
		cmocka_unit_test(links_cookie_fits_one_source),
		cmocka_unit_test(links_cookie_serves_the_next_try),
		cmocka_unit_test(links_forged_cookies_are_dropped),
		cmocka_unit_test(links_are_busy_above_the_rate_only),
		cmocka_unit_test(links_silent_refusals_are_counted),
		cmocka_unit_test(links_an_x_serves_once),
		cmocka_unit_test(links_a_full_memory_of_xs_refuses),
		cmocka_unit_test(links_inits_have_a_rate_per_source),
		cmocka_unit_test(links_inits_with_a_cookie_have_a_rate_too),
		cmocka_unit_test(links_a_forged_address_uses_up_no_rate),
		cmocka_unit_test(links_half_open_ones_give_way_to_newer_ones),
		cmocka_unit_test(links_half_open_ones_are_few_and_short),
		cmocka_unit_test(links_a_flood_costs_little),
		cmocka_unit_test(links_per_source_are_limited),
		cmocka_unit_test(links_of_relays_are_not_counted_per_source),
		cmocka_unit_test(links_at_90_percent_the_idle_go_first),
	};
	return cmocka_run_group_tests(tests, world_begin, NULL);
}
