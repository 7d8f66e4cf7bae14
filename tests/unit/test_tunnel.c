/* tests/unit/test_tunnel.c - the client's state machine: every way in which an attempt can end, and
 * what is left of it. */
#include <errno.h>
#include "base/log.h"
#include "unit/fake_client.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static const uint8_t seed[32] = {1, 2, 3};
static char err[ROUTING_ERROR_BYTES];

static int set_up(void **state)
{
	*state = fake_client_new();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	fake_client_free();
	return 0;
}

static struct client *begin(unsigned exit)
{
	struct wish w = fake_wish(exit);
	assert_int_equal(tunnel_up(&fake->c, &w, clock_now(), err), FAULT_NONE);
	fake_turn();
	return &fake->c;
}

/* The host is as if nothing had been. */
static void check_off(enum fault f)
{
	assert_true(fake->c.attempt_over);
	assert_int_equal(fake->c.fault, f);
	assert_int_equal(fake->c.state, CLIENT_OFF);
	assert_int_equal(fake->journal, 0);
	assert_false(fake->tun_is_open);
	assert_null(fake->c.carrier);
	assert_null(fake->c.next);
	assert_false(fake->verifying);
	assert_int_equal(fake->sets, 0);
}

/* The old exit serves on, with its own lease. */
static void check_still_up(unsigned lease)
{
	assert_true(fake->c.attempt_over);
	assert_null(fake->c.next);
	assert_int_equal(fake->c.state, CLIENT_UP);
	assert_int_equal(fake->undos, 0);
	assert_int_equal(fake->host.v4.ip[3], lease);
	assert_int_equal(fake->sets, 1);
	assert_ptr_equal(fake_traffic(), &fake->c.carrier->paths->path[0].data);
}

static void tunnel_comes_up(void **state)
{
	(void)state;
	struct client *c = begin(0);
	assert_int_equal(c->state, CLIENT_CONNECTING);
	assert_non_null(c->next);
	assert_true(c->next->paths->started);
	assert_false(c->next->paths->has_token); /* the path is built meanwhile */
	fake_built(c->next);
	assert_true(c->step_done[STEP_GUARD] && c->step_done[STEP_PATH]);
	assert_int_equal(tunnel_seed(c, fake_exit(0), seed, clock_now()), 0);
	assert_memory_equal(c->next->paths->seed, seed, 32);
	assert_int_equal(fake->ups, 0); /* nothing before the grant */
	struct msg_grant g = fake_grant_of(9);
	assert_true(fake_grant(c->next, &g));
	assert_int_equal(fake->ups, 1);
	assert_int_equal(fake->host.mtu, 1371);
	assert_int_equal(fake->ndns, 2);
	assert_true(fake->attached && fake->verifying);
	assert_int_equal(c->state, CLIENT_CONNECTING); /* not before a packet came back */
	assert_ptr_equal(fake_traffic(), &c->carrier->paths->path[0].data);
	fake_verified(true);
	assert_int_equal(c->state, CLIENT_UP);
	assert_int_equal(c->fault, FAULT_NONE);
	assert_true(c->attempt_over);
	for (unsigned s = 0; s < STEP_COUNT; s++)
		assert_true(c->step_done[s]);
	for (unsigned i = 0; i < sizeof(c->wish.exit); i++)
		assert_int_equal(((uint8_t *)c->wish.exit)[i], 0); /* seeds are wiped */
	assert_int_equal(tunnel_down(c, clock_now(), err), 0);
	check_off(FAULT_NONE);
	assert_int_equal(tunnel_down(c, clock_now(), err), 0); /* down while down */
}

static void tunnel_without_token_asks_at_once(void **state)
{
	(void)state;
	struct wish w = fake_wish(0);
	w.open = true;
	assert_int_equal(tunnel_up(&fake->c, &w, clock_now(), err), FAULT_NONE);
	assert_true(fake->c.next->paths->has_token);
	assert_false(fake->c.next->paths->has_seed);
}

static void tunnel_waits_for_a_directory(void **state)
{
	(void)state;
	fake->directory = NULL;
	struct client *c = begin(0);
	assert_int_equal(fake->refreshed, 1);
	assert_null(c->next);
	assert_int_equal(tunnel_seed(c, fake_exit(0), seed, clock_now()), 0); /* in the meantime */
	fake->directory = fake->whole;
	tunnel_on_directory(c, clock_now());
	assert_non_null(c->next);
	assert_true(c->next->paths->has_token);
}

static void tunnel_gives_up_without_a_directory(void **state)
{
	(void)state;
	fake->directory = NULL;
	struct client *c = begin(0);
	tunnel_on_directory_failure(c, clock_now()); /* silent: a second chance */
	fake_turn();
	assert_false(c->attempt_over);
	tunnel_on_directory_failure(c, clock_now());
	fake_turn();
	check_off(FAULT_NO_DIRECTORY);
	assert_non_null(strstr(c->sentence, "authority 1 is silent"));
	fake->dir_result = DIR_FORGED;
	begin(0);
	tunnel_on_directory_failure(c, clock_now()); /* a lie is said at once */
	fake_turn();
	check_off(FAULT_NO_DIRECTORY);
	begin(0);
	tunnel_on_timer(c, c->attempt_deadline);
	fake_turn();
	check_off(FAULT_NO_DIRECTORY);
}

static void tunnel_refuses_unknown_exits(void **state)
{
	(void)state;
	struct wish w = fake_wish(0);
	memset(w.exit[0].id, 7, 32);
	unsigned before = fake->refreshed;
	tunnel_up(&fake->c, &w, clock_now(), err);
	fake_turn();
	assert_false(fake->c.attempt_over); /* the directory may be older than the exit */
	assert_int_equal(fake->refreshed, before + 1);
	tunnel_on_directory(&fake->c, clock_now());
	fake_turn();
	check_off(FAULT_NO_EXIT);
	assert_int_equal(fake->refreshed, before + 1);		 /* but not twice */
	memcpy(w.exit[0].id, fake->sample.id[0].public_key, 32); /* a relay that is no exit */
	tunnel_up(&fake->c, &w, clock_now(), err);
	tunnel_on_directory_failure(&fake->c, clock_now()); /* nor can a newer one be had */
	fake_turn();
	check_off(FAULT_NO_EXIT);
}

static void tunnel_tries_exits_in_order(void **state)
{
	(void)state;
	struct wish w = fake_wish(0);
	w.exits = 3;
	memset(w.exit[1].id, 7, 32); /* unknown */
	memcpy(w.exit[2].id, fake_exit(2), 32);
	tunnel_up(&fake->c, &w, clock_now(), err);
	fake_turn();
	assert_int_equal(tunnel_seed(&fake->c, fake_exit(2), seed, clock_now()), 0);
	fake_built(fake->c.next);
	fake_deny(fake->c.next, DENY_FULL);
	assert_false(fake->c.attempt_over);
	tunnel_on_directory(&fake->c, clock_now()); /* which does not list the second one either */
	fake_turn();
	assert_memory_equal(fake->c.next->id, fake_exit(2), 32);
	assert_true(fake->c.next->paths->has_seed);
	fake_built(fake->c.next);
	fake_deny(fake->c.next, DENY_EXPIRED);
	check_off(FAULT_AUTH_EXPIRED);
}

static void tunnel_knows_each_denial(void **state)
{
	static const enum fault faults[] = {
		FAULT_AUTH_BAD,	   FAULT_AUTH_BAD,  FAULT_AUTH_EXPIRED, FAULT_AUTH_QUOTA,
		FAULT_AUTH_IN_USE, FAULT_AUTH_FULL, FAULT_AUTH_POLICY,	FAULT_AUTH_VERSION,
		FAULT_AUTH_BAD,	   FAULT_AUTH_BAD};
	(void)state;
	for (unsigned reason = 0; reason < sizeof(faults) / sizeof(faults[0]); reason++) {
		begin(0);
		fake_built(fake->c.next);
		fake_deny(fake->c.next, reason == 9 ? 255 : (uint8_t)reason);
		check_off(faults[reason]);
		assert_true(strlen(fake->c.sentence) > 20);
	}
	assert_int_equal(fake->ups, 0);
}

static void tunnel_refuses_hostile_grants(void **state)
{
	struct msg_grant g = fake_grant_of(9);
	(void)state;
	g.lease4 = addr_from_ip((uint8_t[]){192, 168, 1, 7}, 4, 0);
	begin(0);
	fake_built(fake->c.next);
	assert_false(fake_grant(fake->c.next, &g));
	check_off(FAULT_BAD_GRANT);
	assert_int_equal(fake->ups, 0);
}

static void tunnel_refuses_a_resolver_beside_the_tunnel(void **state)
{
	struct msg_grant g = fake_grant_of(9);
	(void)state;
	g.dns[0] = addr_from_ip((uint8_t[]){10, 55, 0, 1}, 4, 0);
	begin(0);
	fake_built(fake->c.next);
	assert_false(fake_grant(fake->c.next, &g));
	check_off(FAULT_BAD_GRANT);
	assert_non_null(strstr(fake->c.sentence, "DNS server in a network that"));
	assert_int_equal(fake->ups, 0);
	/* But such a network is not local to client/inner.c. */
	g.dns[0] = addr_from_ip((uint8_t[]){9, 9, 9, 9}, 4, 0);
	begin(0);
	fake_built(fake->c.next);
	assert_true(fake_grant(fake->c.next, &g));
	const struct addr routed = addr_from_ip((uint8_t[]){10, 55, 0, 1}, 4, 0),
			  local = addr_from_ip((uint8_t[]){192, 168, 1, 1}, 4, 0);
	assert_false(inner_is_local(fake->c.inner, &routed));
	assert_true(inner_is_local(fake->c.inner, &local));
}

static void tunnel_takes_back_what_it_did_when_the_host_refuses(void **state)
{
	int *const steps[] = {&fake->fail_tun, &fake->fail_up, &fake->fail_dns, &fake->fail_attach};
	struct msg_grant g = fake_grant_of(9);
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		*steps[i] = -EBUSY;
		begin(0);
		fake_built(fake->c.next);
		assert_true(fake_grant(fake->c.next, &g));
		check_off(FAULT_HOST);
		assert_non_null(strpbrk(fake->c.sentence, "abc"));
		*steps[i] = 0;
	}
	struct wish w = fake_wish(0);
	fake->fail_check = -EBUSY;
	assert_int_equal(tunnel_up(&fake->c, &w, clock_now(), err), FAULT_HOST);
	assert_string_equal(err, "check failed: mend it");
	assert_int_equal(fake->c.state, CLIENT_OFF);
}

static void tunnel_wants_a_packet_back(void **state)
{
	struct msg_grant g = fake_grant_of(9);
	(void)state;
	begin(0);
	fake_built(fake->c.next);
	fake_grant(fake->c.next, &g);
	fake_verified(false);
	check_off(FAULT_NO_FORWARD);
	assert_int_equal(fake->undos, 1);
}

static void tunnel_times_out(void **state)
{
	(void)state;
	struct client *c = begin(0);
	tunnel_on_timer(c, c->attempt_deadline - 1);
	assert_false(c->must_end_attempt);
	tunnel_on_timer(c, c->attempt_deadline);
	fake_turn();
	check_off(FAULT_TIMEOUT);
	begin(0);
	fake_failed(c->next);
	tunnel_on_timer(c, c->attempt_deadline);
	fake_turn();
	check_off(FAULT_NO_PATH);
	assert_non_null(strstr(c->sentence, "192.0.2.2")); /* which relay */
}

static void tunnel_gives_up_when_no_path_can_be_built(void **state)
{
	(void)state;
	struct client *c = begin(0);
	c->attempt_started -= BUILDS_NSEC;
	for (unsigned i = 0; i < BUILDS_MOST; i++) {
		assert_false(c->attempt_over);
		fake_failed(c->next);
	}
	check_off(FAULT_NO_PATH);
}

static void tunnel_lost_and_found(void **state)
{
	(void)state;
	fake_up(0, 9);
	struct client *c = &fake->c;
	fake_lost(c->carrier);
	assert_int_equal(c->state, CLIENT_CONNECTING);
	assert_null(fake_traffic()); /* and the routes lead here still */
	assert_int_equal(fake->undos, 0);
	assert_true(fake->attached);
	fake_found(c->carrier);
	check_still_up(9);
}

/* Nothing comes back: our datagrams are tracked again, once, and stay so until the next --up. */
static void tunnel_is_tracked_again_when_silent(void **state)
{
	(void)state;
	struct client *c = &fake->c;
	fake_up(0, 9);
	assert_int_equal(fake->host.port4, 40004);
	assert_int_equal(fake->host.port6, 40006);
	fake_lost(c->carrier);
	assert_int_equal(fake->tracks, 1);
	fake_found(c->carrier);
	fake_lost(c->carrier);
	assert_int_equal(fake->tracks, 1);
	fake_found(c->carrier);
	struct msg_grant g = fake_grant_of(10); /* another grant of this exit changes nothing */
	assert_true(fake_grant(c->carrier, &g));
	assert_int_equal(fake->changes, 1);
	assert_true(fake->host.port4 == 0 && fake->host.port6 == 0);
	assert_int_equal(tunnel_down(c, clock_now(), err), 0);
	tunnel_on_silence(c); /* nothing is set up */
	assert_int_equal(fake->tracks, 1);
	fake_up(0, 9);
	assert_int_equal(fake->host.port4, 40004);
	tunnel_on_silence(c); /* the check of the tunnel said so */
	assert_int_equal(fake->tracks, 2);
	assert_int_equal(tunnel_down(c, clock_now(), err), 0);
	c->config.notrack = false;
	fake_up(0, 9);
	assert_true(fake->host.port4 == 0 && fake->host.port6 == 0);
	fake_lost(c->carrier);
	assert_int_equal(fake->tracks, 2);
}

/* Two command lines at once: the second one's attempt counts, and nothing of the first is left. */
static void tunnel_second_up_takes_over(void **state)
{
	struct msg_grant g = fake_grant_of(9);
	(void)state;
	struct client *c = begin(0);
	fake_built(c->next);
	begin(1); /* while the path is built */
	assert_int_equal(fake->sets, 1);
	assert_int_equal(tunnel_seed(c, fake_exit(0), seed, clock_now()),
			 -ENOENT); /* the first one's token */
	fake_built(c->next);
	fake_grant(c->next, &g);
	assert_true(fake->verifying);
	begin(2); /* while the packet is waited for */
	assert_false(fake->verifying);
	assert_int_equal(fake->journal, 0);
	assert_false(fake->tun_is_open);
	assert_null(c->carrier);
	assert_int_equal(c->attempt, 3);
	fake_built(c->next);
	fake_grant(c->next, &g);
	fake_verified(true);
	assert_int_equal(c->state, CLIENT_UP);
	assert_memory_equal(c->carrier->id, fake_exit(2), 32);
}

static void tunnel_down_ends_an_attempt(void **state)
{
	struct msg_grant g = fake_grant_of(9);
	(void)state;
	struct client *c = begin(0);
	assert_int_equal(tunnel_down(c, clock_now(), err), 0);
	check_off(FAULT_CANCELLED);
	begin(0);
	fake_built(c->next);
	fake_grant(c->next, &g);
	assert_int_equal(tunnel_down(c, clock_now(), err), 0);
	check_off(FAULT_CANCELLED);
	fake->directory = NULL;
	begin(0);
	assert_int_equal(tunnel_down(c, clock_now(), err), 0);
	fake->directory = fake->whole;
	tunnel_on_directory(c, clock_now()); /* too late */
	check_off(FAULT_CANCELLED);
}

static void tunnel_swaps(void **state)
{
	struct msg_grant g = fake_grant_of(20);
	(void)state;
	fake_up(0, 9);
	struct client *c = begin(1);
	struct carrier *next = c->next;
	assert_int_equal(c->state, CLIENT_UP);
	fake_built(next);
	/* The old exit carries the traffic until the new one granted. */
	assert_ptr_equal(fake_traffic(), &c->carrier->paths->path[0].data);
	fake_grant(next, &g);
	assert_ptr_equal(c->carrier, next);
	assert_int_equal(fake->sets, 1);
	assert_int_equal(fake->changes, 1);
	assert_ptr_equal(fake_traffic(), &next->paths->path[0].data);
	fake_verified(true);
	assert_int_equal(fake->undos, 0);
	check_still_up(20);
}

static void tunnel_swap_that_is_denied_changes_nothing(void **state)
{
	(void)state;
	fake_up(0, 9);
	struct wish w = fake_wish(1);
	w.hops = 5;
	tunnel_up(&fake->c, &w, clock_now(), err);
	fake_built(fake->c.next);
	fake_deny(fake->c.next, DENY_BAD_TOKEN);
	assert_int_equal(fake->c.fault, FAULT_AUTH_BAD);
	assert_int_equal(fake->changes, 0);
	assert_int_equal(fake->c.carrier->hops, 3); /* not the failed wish's */
	check_still_up(9);
}

static void tunnel_swap_that_the_host_refuses_is_put_back(void **state)
{
	struct msg_grant g = fake_grant_of(20);
	(void)state;
	fake_up(0, 9);
	begin(1);
	fake_built(fake->c.next);
	fake->fail_change = -EIO; /* half-way: the new lease is set */
	struct path_set_ops *ops = &fake->c.next->paths->cfg.ops;
	assert_true(ops->on_grant(ops->arg, &g, clock_now()));
	assert_int_equal(fake->host.v4.ip[3], 20);
	fake->fail_change = 0;
	fake_turn();
	assert_int_equal(fake->c.fault, FAULT_HOST);
	check_still_up(9);
}

static void tunnel_swap_that_cannot_be_put_back_blocks(void **state)
{
	struct msg_grant g = fake_grant_of(20);
	(void)state;
	fake_up(0, 9);
	begin(1);
	fake_built(fake->c.next);
	fake->fail_change = -EIO;
	fake_grant(fake->c.next, &g);
	assert_int_equal(fake->c.fault, FAULT_HOST);
	assert_int_equal(fake->c.state, CLIENT_BLOCKED);
	assert_null(fake_traffic());
	assert_int_equal(fake->undos, 0); /* the routes stay */
	fake->fail_change = 0;
	fake_found(fake->c.carrier); /* a path of it coming back changes nothing */
	assert_int_equal(fake->c.state, CLIENT_BLOCKED);
	assert_null(fake_traffic());
}

static void tunnel_swap_to_an_exit_that_does_not_forward_blocks(void **state)
{
	struct msg_grant g = fake_grant_of(20);
	(void)state;
	fake_up(0, 9);
	begin(1);
	fake_built(fake->c.next);
	fake_grant(fake->c.next, &g);
	fake_verified(false);
	assert_int_equal(fake->c.fault, FAULT_NO_FORWARD);
	assert_int_equal(fake->c.state, CLIENT_BLOCKED);
	assert_null(fake_traffic());
	begin(2); /* and out of it again */
	fake_built(fake->c.next);
	g = fake_grant_of(21);
	fake_grant(fake->c.next, &g);
	fake_verified(true);
	check_still_up(21);
}

static void tunnel_swap_waits_for_a_directory(void **state)
{
	(void)state;
	fake_up(0, 9);
	fake->directory = NULL; /* it ran out while the machine slept */
	begin(1);
	assert_null(fake->c.next);
	fake->directory = fake->whole;
	tunnel_on_directory(&fake->c, clock_now());
	assert_non_null(fake->c.next);
	fake_deny(fake->c.next, DENY_FULL);
	fake->directory = NULL;
	begin(1);
	fake->dir_result = DIR_STALE;
	tunnel_on_directory_failure(&fake->c, clock_now());
	fake_turn();
	assert_int_equal(fake->c.fault, FAULT_NO_DIRECTORY);
	check_still_up(9);
}

/* The old exit falls silent while another one is tried, which then refuses; the old one comes back.
 */
static void tunnel_recovers_after_a_failed_swap(void **state)
{
	(void)state;
	fake_up(0, 9);
	begin(1);
	fake_lost(fake->c.carrier);
	assert_int_equal(fake->c.state, CLIENT_CONNECTING);
	assert_false(fake->c.attempt_over);
	fake_found(fake->c.carrier);
	assert_int_equal(fake->c.state, CLIENT_UP);
	fake_lost(fake->c.carrier);
	fake_deny(fake->c.next, DENY_FULL);
	assert_int_equal(fake->c.state, CLIENT_CONNECTING);
	fake_found(fake->c.carrier);
	check_still_up(9);
}

static void tunnel_blocks_when_the_exit_closes(void **state)
{
	static const struct {
		uint8_t reason;
		const char *words;
	} rows[] = {
		{DENY_EXPIRED, "expired"}, {DENY_BAD_TOKEN, "revoked"}, {DENY_FULL, "operator"}};
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		fake_up(0, 9);
		fake_closed(fake->c.carrier, rows[i].reason);
		assert_int_equal(fake->c.state, CLIENT_BLOCKED);
		assert_non_null(strstr(fake->c.blocked_why, rows[i].words));
		assert_null(fake_traffic());
		assert_true(fake->attached && fake->journal); /* nothing leaves beside the tunnel */
		assert_int_equal(tunnel_down(&fake->c, clock_now(), err), 0);
		assert_int_equal(fake->c.state, CLIENT_OFF);
		assert_int_equal(fake->journal, 0);
	}
}

/* The exit lost the session, was asked anew, and does not know the token any more. */
static void tunnel_blocks_when_a_new_proof_is_denied(void **state)
{
	(void)state;
	fake_up(0, 9);
	fake_lost(fake->c.carrier);
	fake_deny(fake->c.carrier, DENY_BAD_TOKEN);
	assert_int_equal(fake->c.state, CLIENT_BLOCKED);
	assert_non_null(strstr(fake->c.blocked_why, "token"));
}

static void tunnel_follows_an_update(void **state)
{
	struct msg_grant g = fake_grant_of(30);
	(void)state;
	fake_up(0, 9);
	struct path_set *s = fake->c.carrier->paths;
	/* The path that asked is long gone; the one in use is narrower. */
	memset(&s->path[0], 0xa5, sizeof(s->path[0]));
	s->serving = 1;
	atomic_store(&s->path[1].data.full_dgram, 1380);
	fake_found(fake->c.carrier);
	assert_true(fake_grant(fake->c.carrier, &g));
	assert_int_equal(fake->changes, 1);
	assert_int_equal(fake->host.v4.ip[3], 30);
	assert_int_equal(fake->host.mtu, inner_mtu(1380, 3));
	assert_int_equal(fake->c.state, CLIENT_UP);
	assert_ptr_equal(fake_traffic(), &s->path[1].data);
	g.dns[0] = addr_from_ip((uint8_t[]){127, 0, 0, 1}, 4, 0);
	assert_false(fake_grant(fake->c.carrier, &g)); /* it turns hostile */
	assert_int_equal(fake->c.state, CLIENT_BLOCKED);
	assert_non_null(strstr(fake->c.blocked_why, "DNS"));
}

static void tunnel_blocks_when_the_host_cannot_follow_an_update(void **state)
{
	struct msg_grant g = fake_grant_of(30);
	(void)state;
	fake_up(0, 9);
	fake->fail_change = -EIO;
	fake_grant(fake->c.carrier, &g);
	assert_int_equal(fake->c.state, CLIENT_BLOCKED);
	assert_non_null(strstr(fake->c.blocked_why, "change failed"));
}

/* A path too narrow for IPv6 carries IPv4 alone, and no resolver that could not be reached. */
static void tunnel_on_a_narrow_path_has_no_ipv6(void **state)
{
	struct msg_grant g = fake_grant_of(9);
	(void)state;
	struct client *c = begin(0);
	atomic_store(&c->next->paths->path[0].data.full_dgram, 1240);
	fake_built(c->next);
	fake_grant(c->next, &g);
	assert_int_equal(fake->host.mtu, inner_mtu(1240, 3));
	assert_int_equal(fake->host.v6.family, 0);
	assert_int_equal(fake->ndns, 1);
	assert_int_equal(fake->dns[0].family, 4);
	tunnel_down(c, clock_now(), err);
	g.lease4.family = 0;
	begin(0);
	atomic_store(&c->next->paths->path[0].data.full_dgram, 1240);
	fake_built(c->next);
	assert_false(fake_grant(c->next, &g));
	check_off(FAULT_BAD_GRANT);
	assert_non_null(strstr(c->sentence, "too narrow"));
}

static void tunnel_down_that_failed_is_tried_again(void **state)
{
	(void)state;
	struct client *c = &fake->c;
	fake_up(0, 9);
	fake->fail_undo = -EBUSY;
	assert_int_equal(tunnel_down(c, clock_now(), err), -EBUSY);
	assert_string_equal(err, "undo failed: mend it");
	struct wish w = fake_wish(0);
	assert_int_equal(tunnel_up(c, &w, clock_now(), err),
			 FAULT_HOST); /* not over what is left */
	assert_int_equal(c->state, CLIENT_OFF);
	fake->fail_undo = 0;
	begin(0);
	assert_int_equal(fake->undos, 3);
	assert_int_equal(fake->journal, 0);
}

static void tunnel_with_ranges_leaves_the_resolver(void **state)
{
	struct msg_grant g = fake_grant_of(9);
	struct wish w = fake_wish(0);
	(void)state;
	assert_int_equal(ranges_add(&w.ranges, "203.0.113.0/24", err), 0);
	tunnel_up(&fake->c, &w, clock_now(), err);
	fake_built(fake->c.next);
	fake_grant(fake->c.next, &g);
	assert_int_equal(fake->host.nranges, 1);
	assert_int_equal(fake->dns_sets, 0);
	assert_int_equal(fake->dns_unsets, 1);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(tunnel_comes_up),
		TEST(tunnel_without_token_asks_at_once),
		TEST(tunnel_waits_for_a_directory),
		TEST(tunnel_gives_up_without_a_directory),
		TEST(tunnel_refuses_unknown_exits),
		TEST(tunnel_tries_exits_in_order),
		TEST(tunnel_knows_each_denial),
		TEST(tunnel_refuses_hostile_grants),
		TEST(tunnel_refuses_a_resolver_beside_the_tunnel),
		TEST(tunnel_takes_back_what_it_did_when_the_host_refuses),
		TEST(tunnel_wants_a_packet_back),
		TEST(tunnel_times_out),
		TEST(tunnel_gives_up_when_no_path_can_be_built),
		TEST(tunnel_lost_and_found),
		TEST(tunnel_is_tracked_again_when_silent),
		TEST(tunnel_second_up_takes_over),
		TEST(tunnel_down_ends_an_attempt),
		TEST(tunnel_swaps),
		TEST(tunnel_swap_that_is_denied_changes_nothing),
		TEST(tunnel_swap_that_the_host_refuses_is_put_back),
		TEST(tunnel_swap_that_cannot_be_put_back_blocks),
		TEST(tunnel_swap_to_an_exit_that_does_not_forward_blocks),
		TEST(tunnel_swap_waits_for_a_directory),
		TEST(tunnel_recovers_after_a_failed_swap),
		TEST(tunnel_blocks_when_the_exit_closes),
		TEST(tunnel_blocks_when_a_new_proof_is_denied),
		TEST(tunnel_follows_an_update),
		TEST(tunnel_blocks_when_the_host_cannot_follow_an_update),
		TEST(tunnel_on_a_narrow_path_has_no_ipv6),
		TEST(tunnel_down_that_failed_is_tried_again),
		TEST(tunnel_with_ranges_leaves_the_resolver),
	};
	log_set_level(LOG_ERROR);
	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
