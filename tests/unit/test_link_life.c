/* tests/unit/test_link_life.c - how long a link lives: liveness, idleness, renewal. PROTOCOL.md
 * section 4. */
#include "onion/link_priv.h"
#include "unit/links_tricks.h"

static bool nobody(struct world *w, struct parcel *k)
{
	(void)w;
	(void)k;
	return false;
}

static void link_dies_after_a_second_and_three_pings(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct link *l = link_up(w);
	link_hold(l, w->now);
	run_until(w, SEC(1005));
	start_catching(w, true);
	data_sent(w, l);
	nsec_t t = w->now;
	run_until(w, t + MS(990));
	assert_int_equal(caught_n, 0);
	run_until(w, t + MS(1740));
	assert_int_equal(caught_n, 3);
	assert_int_equal(caught[1].at - caught[0].at, MS(250));
	assert_int_equal(caught[2].at - caught[1].at, MS(250));
	assert_int_equal(w->p[0].deads, 0);
	run_until(w, t + MS(1760));
	assert_int_equal(w->p[0].deads, 1);
	assert_ptr_equal(w->p[0].dead, l);
	assert_int_equal(slots_count(w->p[0].slots), 0);
	world_free(w);
}

static void link_with_answers_is_never_asked(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct link *l = link_up(w);
	link_hold(l, w->now);
	run_for(w, SEC(1));
	unsigned sent = w->p[0].sent;
	for (unsigned i = 0; i < 1000; i++) { /* 100 s of questions, answered within 0.9 s */
		data_sent(w, l);
		run_for(w, MS(50));
		if (i % 9 == 0)
			data_came(w, l);
		run_for(w, MS(50));
	}
	assert_int_equal(w->p[0].sent, sent);
	assert_int_equal(w->p[0].deads, 0);
	world_free(w);
}

/* A link that was silent for an hour is not dead because one packet is sent on it now. */
static void link_idle_ones_send_nothing_and_live(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct link *l = link_up(w);
	struct link *o = other_side(w, l);
	link_hold(l, w->now);
	link_hold(o, w->now);
	run_for(w, SEC(1));
	unsigned sent = w->p[0].sent + w->p[1].sent;
	run_for(w, SEC(2500));
	assert_int_equal(w->p[0].sent + w->p[1].sent, sent);
	data_sent(w, l);
	run_for(w, MS(500));
	data_came(w, l);
	run_for(w, SEC(10));
	assert_int_equal(w->p[0].sent + w->p[1].sent, sent);
	assert_int_equal(w->p[0].deads + w->p[1].deads, 0);
	world_free(w);
}

/* Data in one direction only: a PING a second or so, a PONG, and it lives, also over a wire that
 * loses. */
static void link_one_way_traffic_lives(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct link *l = link_up(w);
	link_hold(l, w->now);
	w->late = 30;
	unsigned sent = w->p[0].sent;
	for (unsigned i = 0; i < 1000; i++) {
		data_sent(w, l);
		run_for(w, MS(100));
	}
	assert_int_equal(w->p[0].deads, 0);
	assert_in_range(w->p[0].sent - sent, 60, 110);
	world_free(w);
}

/* One packet that needed no answer at the end of all: one PING, then quiet. */
static void link_last_packet_costs_one_ping(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct link *l = link_up(w);
	link_hold(l, w->now);
	run_for(w, SEC(1));
	unsigned sent = w->p[0].sent;
	data_sent(w, l);
	run_for(w, SEC(100));
	assert_int_equal(w->p[0].sent, sent + 1);
	assert_int_equal(w->p[0].deads, 0);
	world_free(w);
}

static void link_probe_asks_now(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct link *l = link_up(w);
	unsigned sent = w->p[0].sent;
	link_probe(l, w->now);
	link_probe(l, w->now);
	assert_int_equal(w->p[0].sent, sent + 1);
	run_for(w, SEC(5));
	assert_int_equal(w->p[0].deads, 0);
	assert_int_equal(w->p[0].sent, sent + 1);
	w->filter = nobody;
	link_probe(l, w->now);
	run_for(w, MS(740));
	assert_int_equal(w->p[0].deads, 0);
	run_for(w, MS(30));
	assert_int_equal(w->p[0].deads, 1);
	world_free(w);
}

/* The process slept (or the machine): what waits on the wire is read before anybody is called dead.
 */
static void link_survives_a_sleep(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct link *l = link_up(w);
	link_hold(l, w->now);
	link_probe(l, w->now);
	w->filter = NULL;
	w->now += SEC(60); /* no timer ran */
	links_on_timer(w->p[0].links, w->now);
	w->now += SEC(60);
	links_on_timer(w->p[0].links, w->now);
	w->now += SEC(60);
	links_on_timer(w->p[0].links, w->now);
	w->now += SEC(60);
	links_on_timer(w->p[0].links, w->now);
	assert_int_equal(w->p[0].deads, 0);
	run_for(w, SEC(5));
	assert_int_equal(w->p[0].deads, 0);
	w->filter = nobody; /* but not for ever */
	data_sent(w, l);
	run_for(w, SEC(3));
	assert_int_equal(w->p[0].deads, 1);
	world_free(w);
}

static bool slow_way(struct world *w, struct parcel *k)
{
	(void)w;
	k->at += MS(390); /* 0.8 s there and back */
	return true;
}

static void link_long_ways_are_waited_for(void **state)
{
	(void)state;
	struct world *w = world_started();
	w->filter = slow_way;
	struct link *l = open_link(&w->p[0], &w->p[1]);
	run_for(w, SEC(3));
	assert_true(link_is_up(l));
	for (unsigned i = 0; i < 20; i++) {
		link_probe(l, w->now);
		run_for(w, SEC(3));
	}
	assert_int_equal(w->p[0].deads, 0);
	world_free(w);
}

/* The relay notices a dead client as well. */
static void link_responders_judge_too(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct link *l = link_up(w);
	struct link *o = other_side(w, l);
	link_hold(o, w->now);
	run_for(w, SEC(1));
	w->filter = nobody;
	data_sent(w, o);
	run_for(w, MS(2100));
	assert_int_equal(w->p[1].deads, 1);
	assert_int_equal(links_count(w->p[1].links), 0);
	world_free(w);
}

static void link_without_circuits_closes_after_5_minutes(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct link *l = link_up(w);
	link_hold(l, w->now);
	link_hold(other_side(w, l), w->now);
	run_for(w, SEC(400));
	assert_true(link_is_up(l));
	link_release(l, w->now);
	run_for(w, SEC(299));
	assert_int_equal(w->p[0].deads, 0);
	run_for(w, SEC(1) + MS(20));
	assert_int_equal(w->p[0].deads, 1);
	assert_int_equal(w->p[1].deads, 1);
	world_free(w);
}

static void link_idle_responder_waits_a_little_longer(void **state)
{
	(void)state;
	struct world *w = world_started();
	link_up(w);
	run_for(w, SEC(5));
	w->filter = nobody; /* the client's LINK_CLOSE is lost */
	run_for(w, SEC(304));
	assert_int_equal(w->p[0].deads, 1);
	assert_int_equal(w->p[1].deads, 0);
	run_for(w, SEC(5));
	assert_int_equal(w->p[1].deads, 1);
	world_free(w);
}

static void link_new_circuits_use_the_successor(void **state)
{
	(void)state;
	struct world *w = world_started();
	struct link *l = link_up(w);
	struct link *o = other_side(w, l);
	link_hold(l, w->now);
	link_hold(o, w->now);
	nsec_t up = w->now;
	run_until(w, up + SEC(2999) - MS(50));
	assert_ptr_equal(links_find(w->p[0].links, w->p[1].id), l);
	run_until(w, up + SEC(3000) + LINK_POLL_NSEC);
	assert_null(links_find(w->p[0].links, w->p[1].id));
	struct link *next = open_link(&w->p[0], &w->p[1]);
	assert_ptr_equal(links_find(w->p[0].links, w->p[1].id), next);
	run_for(w, MS(50));
	link_hold(next, w->now);
	link_hold(other_side(w, next), w->now);
	assert_ptr_equal(links_find(w->p[0].links, w->p[1].id), next);
	assert_true(link_is_up(l));
	link_release(l, w->now);	    /* its last circuit ends: so does it */
	assert_int_equal(w->p[0].deads, 0); /* not from within release */
	run_for(w, MS(50));
	assert_int_equal(w->p[0].deads, 1);
	assert_ptr_equal(w->p[0].dead, l);
	assert_int_equal(w->p[1].deads, 1);
	assert_true(link_is_up(next));
	world_free(w);
}

static void link_drains_for_so_long_at_most(void **state)
{
	(void)state;
	struct world *w = world_started();
	w->p[0].periods.link_renew_s = w->p[1].periods.link_renew_s = 30;
	w->p[0].periods.link_drain_s = w->p[1].periods.link_drain_s = 12;
	struct link *l = link_up(w);
	link_hold(l, w->now);
	link_hold(other_side(w, l), w->now);
	run_until(w, SEC(1000) + SEC(42) - MS(50));
	assert_true(link_is_up(l));
	w->filter = nobody;
	run_for(w, MS(200));
	assert_int_equal(w->p[0].deads, 1);
	assert_int_equal(w->p[1].deads, 0);
	run_for(w, SEC(10)); /* the relay does it alone when it hears nothing */
	assert_int_equal(w->p[1].deads, 1);
	world_free(w);
}

static void link_aged_without_circuits_ends_at_once(void **state)
{
	(void)state;
	struct world *w = world_started();
	w->p[0].periods.link_renew_s = 30;
	link_up(w);
	run_for(w, SEC(29));
	assert_int_equal(w->p[0].deads, 0);
	run_for(w, SEC(1));
	assert_int_equal(w->p[0].deads, 1);
	world_free(w);
}

/* 200 links are born and grow idle; at the end no timer is left. */
static void link_timers_of_many_run_out(void **state)
{
	(void)state;
	struct world *w = world_new();
	w->p[0].in_consensus = true;
	w->p[0].config.role = ROLE_RELAY;
	w->p[1].config.inits_per_s_busy = 1000000;
	party_start(&w->p[0]);
	party_start(&w->p[1]);
	for (unsigned i = 0; i < 200; i++) {
		open_link(&w->p[0], &w->p[1]);
		run_for(w, MS(50));
	}
	assert_int_equal(links_count(w->p[0].links), 200);
	run_for(w, SEC(320));
	assert_int_equal(links_count(w->p[0].links), 0);
	assert_int_equal(links_count(w->p[1].links), 0);
	assert_int_equal(w->p[0].deads, 200);
	assert_int_equal(links_next_deadline(w->p[0].links), NSEC_NEVER);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(link_dies_after_a_second_and_three_pings),
		cmocka_unit_test(link_with_answers_is_never_asked),
		cmocka_unit_test(link_idle_ones_send_nothing_and_live),
		cmocka_unit_test(link_one_way_traffic_lives),
		cmocka_unit_test(link_last_packet_costs_one_ping),
		cmocka_unit_test(link_probe_asks_now),
		cmocka_unit_test(link_survives_a_sleep),
		cmocka_unit_test(link_long_ways_are_waited_for),
		cmocka_unit_test(link_responders_judge_too),
		cmocka_unit_test(link_without_circuits_closes_after_5_minutes),
		cmocka_unit_test(link_idle_responder_waits_a_little_longer),
		cmocka_unit_test(link_new_circuits_use_the_successor),
		cmocka_unit_test(link_drains_for_so_long_at_most),
		cmocka_unit_test(link_aged_without_circuits_ends_at_once),
		cmocka_unit_test(link_timers_of_many_run_out),
	};
	return cmocka_run_group_tests(tests, world_begin, NULL);
}
