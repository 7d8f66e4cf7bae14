/* tests/unit/test_path_set.c - a client's paths through their lives: built, bound, rotated, lost,
 * found again, with the real sessions at both ends. */
#include "unit/session_world.h"
#include "base/bytes.h"

#include <errno.h>
#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define SECONDS(n) ((n)*NSEC_PER_SEC)
#define MSEC(n)	   ((n)*NSEC_PER_MSEC)

static struct path *path_of_role(const struct world *w, enum path_role role)
{
	for (unsigned i = 0; path_set_path(w->set, i); i++)
		if (path_set_role(w->set, path_set_path(w->set, i)) == role)
			return path_set_path(w->set, i);
	return NULL;
}

static unsigned bound_paths(const struct world *w)
{
	unsigned n = 0;
	while (path_set_path(w->set, n))
		n++;
	return n;
}

/* Up, with a standby bound where one is wanted. */
static struct world *up(bool standby)
{
	struct world *w = world_new(1);
	world_set(w, standby, 0);
	world_run(w, SECONDS(1));
	assert_int_equal(w->grants, 1);
	assert_int_equal(bound_paths(w), standby ? 2 : 1);
	return w;
}

/* What workers seal on is what the exit sends on. */
static void assert_agreed(const struct world *w)
{
	struct path *p = world_active(w);
	assert_non_null(p);
	const struct session_data *d = atomic_load(&world_circuit(p)->session);
	assert_non_null(d);
	assert_ptr_equal(atomic_load(&d->active), world_circuit(p));
	assert_ptr_equal(path_of_role(w, PATH_PRIMARY), p);
}

static void path_set_builds_the_first_path(void **state)
{
	(void)state;
	struct world *w = world_new(1);
	world_set(w, false, 0);
	assert_int_equal(w->builds, 1);
	assert_int_equal(w->query.role, PATH_PRIMARY);
	assert_int_equal(w->query.count, 0);
	assert_int_equal(w->query.attempt, 0);
	assert_null(world_active(w));
	assert_null(path_set_path(w->set, 0));
	world_run(w, w->build_time + 2 * w->delay);
	assert_int_equal(w->built, 1);
	assert_int_equal(w->grants, 1);
	assert_int_equal(w->switched, 1);
	assert_true(path_set_granted(w->set));
	assert_non_null(path_set_grant(w->set));
	struct path *p = world_active(w);
	assert_ptr_equal(path_set_path(w->set, 0), p);
	assert_null(path_set_path(w->set, 1));
	assert_ptr_equal(path_user(p), w->set);
	assert_true(path_set_rtt(w->set, p) == w->build_time);
	assert_int_equal(atomic_load(&w->active->padding), PAD_BUCKET);
	assert_agreed(w);
	world_run(w, SECONDS(30));
	assert_int_equal(w->builds, 1);
	path_set_goodbye(w->set, w->now);
	world_deliver(w);
	assert_int_equal(exit_sessions_count(w->exits), 0);
	world_free(w);
}

static void path_set_waits_for_the_token(void **state)
{
	(void)state;
	for (unsigned late = 0; late < 3; late++) {
		struct world *w = world_new(2);
		static const nsec_t when[] = {MSEC(10), MSEC(100),
					      SECONDS(35)}; /* before, after ready; much later */
		world_set(w, true, -2);
		world_run(w, when[late]);
		assert_int_equal(w->sent_forward, 0);
		assert_int_equal(w->grants, 0);
		assert_false(path_set_granted(w->set));
		assert_int_equal(path_set_token(w->set, w->token_seed[0], w->now), 0);
		assert_int_equal(path_set_token(w->set, w->token_seed[0], w->now), -EALREADY);
		world_run(w, SECONDS(2));
		assert_int_equal(w->grants, 1);
		assert_agreed(w);
		assert_int_equal(w->failed,
				 0); /* the exit did not wait for ever, and no relay is to blame */
		assert_true(w->builds <= 6);
		world_free(w);
	}
}

static void path_set_builds_the_standby_after_the_grant(void **state)
{
	(void)state;
	struct world *w = world_new(3);
	w->verdict[0].deny = 0;
	world_set(w, true, 0);
	world_run(w, w->build_time + 2 * w->delay - 1);
	assert_int_equal(w->builds, 1);
	world_run(w, 1);
	assert_int_equal(w->grants, 1);
	assert_int_equal(w->builds, 2);
	assert_int_equal(w->query.role, PATH_STANDBY);
	assert_int_equal(w->query.count, 1);
	assert_ptr_equal(w->query.live[0], world_active(w));
	world_run(w, SECONDS(1));
	struct path *standby = path_of_role(w, PATH_STANDBY);
	assert_non_null(standby);
	assert_true(standby->granted);
	assert_agreed(w);
	assert_int_equal(w->switched, 1);
	world_free(w);
}

static void path_set_denied_or_closed_builds_no_more(void **state)
{
	(void)state;
	struct world *w = world_new(4);
	world_set(w, true, 2);
	world_run(w, SECONDS(40));
	assert_int_equal(w->denies, 1);
	assert_int_equal(w->deny.reason, DENY_EXPIRED);
	assert_int_equal(w->builds, 1);
	assert_int_equal(w->actives, 0);
	world_free(w);
	w = up(true);
	exit_sessions_revoke(w->exits, w->token_pk[0], DENY_BAD_TOKEN, w->now);
	world_run(w, SECONDS(40));
	assert_int_equal(w->closes, 1);
	assert_int_equal(w->close_reason, DENY_BAD_TOKEN);
	assert_null(world_active(w));
	assert_int_equal(w->lost, 1);
	assert_int_equal(w->switched, 1); /* it never looks up again */
	assert_int_equal(w->builds, 2);
	assert_true(path_set_next_deadline(w->set) == NSEC_NEVER);
	world_free(w);
	w = world_new(4);
	w->refuse_grant = true;
	world_set(w, true, 0);
	world_run(w, SECONDS(40));
	assert_int_equal(w->closes, 1);
	assert_int_equal(w->builds, 1);
	world_free(w);
}

/* --- rotation --- */

static void path_set_rotates(void **state)
{
	(void)state;
	for (unsigned standby = 0; standby < 2; standby++) {
		struct world *w = up(standby);
		nsec_t least = NSEC_NEVER, most = 0;
		w->traffic = TRAFFIC_BOTH;
		for (unsigned i = 0; i < 6; i++) {
			struct path *old = world_active(w);
			while (world_active(w) == old)
				world_run(w, MSEC(20));
			nsec_t age = w->now - old->built_at;
			least = nsec_min(least, age);
			most = age > most ? age : most;
			assert_agreed(w);
			assert_false(old->freed); /* what is under way still arrives */
			world_run(w, SECONDS(4));
			/* it goes, unless it is the spare */
			assert_true(old->freed || path_of_role(w, PATH_STANDBY) == old);
			assert_true(bound_paths(w) <= 1 + standby);
		}
		assert_true(least >= WORLD_LIFE * PATH_RENEW_LEAST_PCT / 100);
		assert_true(most <= WORLD_LIFE * PATH_RENEW_MOST_PCT / 100 + SECONDS(1));
		assert_true(most - least > SECONDS(1)); /* a random moment */
		assert_int_equal(w->failed, 0);
		assert_int_equal(w->lost, 0);
		assert_int_equal(w->grants, 1);
		assert_int_equal(w->undelivered, 0);
		assert_int_equal(w->switched, 7);
		world_free(w);
	}
}

static void path_set_renews_a_used_key(void **state)
{
	(void)state;
	struct world *w = up(false);
	struct path *old = world_active(w);
	w->traffic = TRAFFIC_BOTH;
	world_run(w, SECONDS(10));
	old->key_used = true;
	world_run(w, SECONDS(2));
	assert_ptr_not_equal(world_active(w), old);
	assert_int_equal(w->builds, 2);
	assert_int_equal(w->lost + w->failed, 0);
	assert_int_equal(w->undelivered, 0);
	world_run(w, SECONDS(4));
	assert_true(old->freed);
	world_free(w);
}

static void path_set_serves_on_when_no_successor_can_be_built(void **state)
{
	(void)state;
	struct world *w = up(false);
	struct path *old = world_active(w);
	w->traffic = TRAFFIC_BOTH;
	w->choose_error = -EHOSTUNREACH;
	world_run(w, WORLD_LIFE + SECONDS(10)); /* into its grace */
	assert_ptr_equal(world_active(w), old);
	assert_int_equal(w->undelivered, 0);
	unsigned chooses = w->chooses;
	world_run(w, SECONDS(10));
	assert_true(w->chooses - chooses <= 3); /* backed off */
	unsigned failed = w->failed;
	world_path_gone(old); /* its grace is over: no relay is to blame */
	assert_int_equal(w->failed, failed);
	assert_null(world_active(w));
	w->choose_error = 0;
	world_run(w, SECONDS(10));
	assert_agreed(w);
	world_free(w);
}

static void path_set_moves_to_the_standby_at_the_end_of_life(void **state)
{
	(void)state;
	struct world *w = up(true);
	struct path *old = world_active(w), *standby = path_of_role(w, PATH_STANDBY);
	standby->expires_at += SECONDS(60);
	w->choose_error = -EHOSTUNREACH;
	world_run(w, WORLD_LIFE + SECONDS(2));
	assert_ptr_equal(world_active(w), standby);
	assert_agreed(w);
	world_run(w, SECONDS(4));
	assert_true(old->freed);
	world_free(w);
}

/* --- failover --- */

static void path_set_fails_over_on_silence(void **state)
{
	(void)state;
	struct world *w = up(true);
	struct path *old = world_active(w), *standby = path_of_role(w, PATH_STANDBY);
	w->traffic = TRAFFIC_BOTH;
	world_run(w, SECONDS(7));
	nsec_t died = w->now;
	old->dead = true;
	size_t sent = w->sent_forward;
	world_run(w, MSEC(990));
	assert_int_equal(w->sent_forward, sent);
	world_run(w, MSEC(75)); /* the first packet after it died, and a second: first PING */
	assert_int_equal(w->sent_forward, sent + 1);
	assert_ptr_equal(world_active(w), old);
	while (world_active(w) == old)
		world_run(w, MSEC(5));
	assert_true(w->now - died <= SECONDS(1) + MSEC(50) + 2 * w->build_time + MSEC(10));
	assert_ptr_equal(world_active(w), standby);
	assert_false(old->freed);
	world_run(w, 2 * w->delay);
	assert_agreed(w);
	world_run(w, MSEC(600));
	assert_true(old->freed); /* dead after three */
	assert_int_equal(w->failed, 1);
	assert_int_equal(w->lost, 0);
	world_run(w, SECONDS(2));
	assert_int_equal(bound_paths(w), 2);
	assert_true(w->longest_gap < MSEC(1500));
	world_free(w);
}

static void path_set_fails_over_at_once_when_told(void **state)
{
	(void)state;
	struct world *w = up(true);
	struct path *old = world_active(w), *standby = path_of_role(w, PATH_STANDBY);
	world_run(w, SECONDS(10));
	world_path_gone(old);
	assert_ptr_equal(world_active(w), standby); /* now, before the exit answers */
	assert_int_equal(w->failed, 1);
	assert_int_equal(w->lost, 0);
	assert_true(old->freed);
	world_run(w, SECONDS(1));
	assert_agreed(w);
	assert_int_equal(bound_paths(w), 2);
	world_free(w);
}

/* The primary dies while the standby still asks; the exit does not know, and would go on sending on
 * the dead one. */
static void path_set_takes_over_from_a_path_that_the_exit_still_likes(void **state)
{
	(void)state;
	struct world *w = world_new(10);
	world_set(w, true, 0);
	world_run(w, 2 * w->build_time + 2 * w->delay + MSEC(5)); /* the standby's BIND is out */
	struct path *old = world_active(w);
	w->build_time = SECONDS(1);
	old->dead = true;
	path_set_on_gone(w->set, old, -1, BUILD_NEXT_DOWN, w->now);
	assert_null(world_active(w));
	world_run(w, MSEC(200));
	assert_agreed(w);
	world_free(w);
}

static void path_set_does_not_move_to_a_path_that_is_silent_too(void **state)
{
	(void)state;
	struct world *w = up(true);
	struct path *p = world_active(w), *standby = path_of_role(w, PATH_STANDBY);
	w->loss = 100;
	w->choose_error = -EHOSTUNREACH;
	atomic_store(&p->chain->path.unanswered, w->now);
	atomic_store(&standby->chain->path.unanswered, w->now);
	world_run(w, MSEC(1500)); /* both are asked for life */
	assert_ptr_equal(world_active(w), p);
	assert_int_equal(w->switched, 1);
	world_run(w, MSEC(300)); /* and both are dead in time, whichever was the last hope */
	assert_int_equal(w->lost, 1);
	assert_true(p->freed && standby->freed);
	world_free(w);
}

static void path_set_builds_anew_without_a_standby(void **state)
{
	(void)state;
	struct world *w = up(false);
	w->traffic = TRAFFIC_BOTH;
	world_run(w, SECONDS(10));
	world_active(w)->dead = true;
	world_run(w, SECONDS(2) + MSEC(300));
	assert_int_equal(w->lost, 1);
	assert_int_equal(w->builds, 2);
	assert_agreed(w);
	assert_int_equal(w->grants, 1); /* the session outlives its paths */
	assert_int_equal(w->leases, 1);
	assert_true(w->longest_gap < MSEC(2300));
	world_path_gone(world_active(w));
	assert_int_equal(w->lost, 2);
	world_run(w, MSEC(200));
	assert_agreed(w);
	world_free(w);
}

static void path_set_does_not_flap_with_one_way_traffic(void **state)
{
	(void)state;
	struct world *w = up(true);
	struct path *first = world_active(w);
	w->traffic = TRAFFIC_FORWARD;
	size_t sent = w->sent_forward;
	world_run(w, SECONDS(50));
	assert_ptr_equal(world_active(w), first);
	assert_int_equal(w->switched, 1);
	assert_int_equal(w->failed, 0);
	assert_true(w->sent_forward - sent > 30); /* asked for life again and again */
	assert_true(w->sent_forward - sent < 70);
	world_free(w);
}

/* A sign of life is one, though the PONG is lost. */
static void path_set_takes_data_for_life(void **state)
{
	(void)state;
	struct world *w = up(true);
	struct path *p = world_active(w);
	w->loss = 100;
	for (unsigned i = 0; i < 5; i++) {
		atomic_store(&w->active->unanswered, w->now);
		world_run(w, SECONDS(1) + MSEC(20)); /* a PING is out */
		atomic_store(&w->active->last_rx, w->now);
		atomic_store(&w->active->unanswered, 0);
		world_run(w, SECONDS(3));
		assert_ptr_equal(world_active(w), p);
	}
	assert_int_equal(w->switched, 1);
	world_free(w);
}

static void path_set_notices_a_dead_standby(void **state)
{
	(void)state;
	struct world *w = up(true);
	struct path *standby = path_of_role(w, PATH_STANDBY), *p = world_active(w);
	w->traffic = TRAFFIC_BOTH;
	world_run(w, SECONDS(28));
	assert_false(standby->freed);
	standby->dead = true;
	world_run(w, SECONDS(STANDBY_PING_MOST_S) + SECONDS(3));
	assert_true(standby->freed);
	assert_ptr_equal(world_active(w), p);
	assert_int_equal(bound_paths(w), 2);
	assert_int_equal(w->switched, 1);
	world_free(w);
}

/* Deaths at random times, of any path, told and untold: it always comes back, and the ends agree.
 */
static void path_set_survives_deaths(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= 6; seed++) {
		struct world *w = world_new(seed);
		world_set(w, true, 0);
		w->loss = 2;
		w->dup = 2;
		w->traffic = TRAFFIC_BOTH;
		world_run(w, SECONDS(3));
		for (unsigned i = 0; i < 8; i++) {
			world_run(w, (nsec_t)rng_below(&w->rng, (uint64_t)SECONDS(9)));
			struct path *p = path_set_path(w->set, (unsigned)rng_below(&w->rng, 2));
			if (p && rng_below(&w->rng, 2))
				p->dead = true;
			else if (p)
				world_path_gone(p);
		}
		w->loss = 0;
		world_run(w, SECONDS(30));
		assert_agreed(w);
		assert_int_equal(bound_paths(w), 2);
		assert_int_equal(exit_sessions_count(w->exits), 1);
		assert_true(w->longest_gap < SECONDS(6));
		assert_true(w->delivered > 600);
		world_free(w);
	}
}

/* --- when nothing can be built --- */

static void path_set_backs_off(void **state)
{
	(void)state;
	for (unsigned how = 0; how < 3; how++) {
		struct world *w = world_new(5);
		w->choose_error = how == 0 ? -EHOSTUNREACH : 0;
		w->build_error = how == 1 ? -ENOSPC : 0;
		w->builds_fail = how == 2;
		world_set(w, true, 0);
		world_run(w, SECONDS(1));
		assert_in_range(w->chooses, 3, 5);
		assert_int_equal(w->query.attempt, w->chooses - 1);
		world_run(w, SECONDS(19));
		assert_in_range(w->chooses, 6, 9);
		unsigned before = w->chooses;
		world_run(w, SECONDS(80));
		assert_in_range(w->chooses - before, 10, 14); /* every 6 to 8 s */
		assert_int_equal(w->failed, w->chooses);
		w->choose_error = w->build_error = 0;
		w->builds_fail = false;
		world_run(w, SECONDS(9));
		assert_agreed(w);
		world_run(w, SECONDS(9));
		assert_int_equal(bound_paths(w), 2);
		assert_int_equal(w->query.attempt, 0);
		world_free(w);
	}
}

static void path_set_backs_off_for_a_standby_alone(void **state)
{
	(void)state;
	struct world *w = up(false);
	world_free(w);
	w = world_new(6);
	world_set(w, true, 0);
	world_run(w, w->build_time + w->delay);
	w->choose_error = -EHOSTUNREACH; /* there is no second way */
	world_run(w, SECONDS(30));
	assert_agreed(w);
	assert_int_equal(bound_paths(w), 1);
	assert_in_range(w->chooses, 6, 12);
	w->choose_error = 0;
	world_path_gone(world_active(w)); /* the primary does not wait for it */
	world_run(w, MSEC(200));
	assert_agreed(w);
	world_free(w);
}

/* A relay that lets paths stand and closes them at once. */
static void path_set_is_not_hurried_by_paths_that_die_young(void **state)
{
	(void)state;
	struct world *w = world_new(7);
	world_set(w, false, 0);
	nsec_t end = w->now + SECONDS(60);
	while (w->now < end && w->paths < WORLD_PATHS - 2) {
		world_run(w, MSEC(10));
		if (world_active(w))
			world_path_gone(world_active(w));
	}
	assert_true(w->now >= end);
	assert_in_range(w->builds, 8, 16);
	world_run(w, SECONDS(20));
	assert_agreed(w);
	world_free(w);
}

/* A path whose successors fail, slowly, one after the other: it is not hurried either. */
static void path_set_is_not_hurried_by_successors_that_fail(void **state)
{
	(void)state;
	struct world *w = up(false);
	world_run(w, SECONDS(50));
	w->builds_fail = true;
	unsigned before = w->builds;
	world_run(w, WORLD_LIFE - SECONDS(52));
	assert_in_range(w->builds - before, 4, 12);
	w->builds_fail = false;
	world_run(w, SECONDS(9));
	assert_agreed(w);
	world_free(w);
}

static void path_set_goes_on_when_nobody_answers_auth(void **state)
{
	(void)state;
	struct world *w = world_new(8);
	w->loss = 100;
	world_set(w, true, 0);
	world_run(w, SECONDS(20));
	assert_int_equal(w->grants, 0);
	assert_in_range(w->builds, 2, 4); /* 8 s each */
	assert_true(w->failed >= 1);
	w->loss = 0;
	world_run(w, SECONDS(12));
	assert_agreed(w);
	assert_int_equal(bound_paths(w), 2);
	world_free(w);
}

/* --- the exit and the network change --- */

static void path_set_recovers_from_an_exit_restart(void **state)
{
	(void)state;
	for (unsigned told = 0; told < 2; told++) {
		struct world *w = up(true);
		w->traffic = TRAFFIC_BOTH;
		world_run(w, SECONDS(10));
		struct msg_grant before = w->grant;
		world_restart_exit(w, told);
		world_run(w, SECONDS(told ? 2 : 5));
		assert_int_equal(w->grants, 2);
		assert_memory_not_equal(before.session_id, w->grant.session_id, SESSION_ID_BYTES);
		assert_agreed(w);
		world_run(w, SECONDS(told ? 3 : 10)); /* dead ones are asked for 8 s */
		assert_int_equal(bound_paths(w), 2);
		assert_agreed(w);
		assert_int_equal(exit_sessions_count(w->exits), 1);
		assert_int_equal(w->closes, 0);
		world_free(w);
	}
}

/* The exit forgot the session while paths stand: one asks anew, the others follow. */
static void path_set_asks_anew_on_a_path_that_stands(void **state)
{
	(void)state;
	struct world *w = up(true);
	w->traffic = TRAFFIC_BOTH;
	world_run(w, SECONDS(10));
	exit_sessions_close_all(w->exits, w->now);
	struct path *standby = path_of_role(w, PATH_STANDBY);
	world_path_gone(world_active(w)); /* so the standby BINDs, and hears that it is unknown */
	world_run(w, SECONDS(3));
	assert_int_equal(w->grants, 2);
	assert_agreed(w);
	assert_false(standby->freed);
	assert_int_equal(bound_paths(w), 2);
	assert_int_equal(exit_sessions_count(w->exits), 1);
	/* and a session that is denied then is over, not denied */
	w->verdict[0].deny = DENY_BAD_TOKEN;
	exit_sessions_close_all(w->exits, w->now);
	world_path_gone(world_active(w));
	world_run(w, SECONDS(3));
	assert_int_equal(w->denies, 0);
	assert_int_equal(w->closes, 1);
	assert_int_equal(w->close_reason, DENY_BAD_TOKEN);
	assert_null(world_active(w));
	world_free(w);
}

/* Rotation goes on under a session that was asked for anew, prios included. */
static void path_set_rotates_after_a_restart(void **state)
{
	(void)state;
	struct world *w = up(true);
	w->traffic = TRAFFIC_BOTH;
	world_run(w, 3 * WORLD_LIFE); /* prios have grown */
	world_restart_exit(w, true);
	world_run(w, SECONDS(5));
	unsigned switched = w->switched;
	w->undelivered = 0;
	for (unsigned i = 0; i < 20; i++) {
		world_run(w, SECONDS(10));
		assert_agreed(w);
	}
	assert_in_range(w->switched - switched, 2, 5);
	assert_int_equal(w->undelivered, 0);
	world_free(w);
}

static void path_set_follows_the_network(void **state)
{
	(void)state;
	struct world *w = up(true);
	w->traffic = TRAFFIC_BOTH;
	world_run(w, SECONDS(10));
	struct path *old = world_active(w), *standby = path_of_role(w, PATH_STANDBY);
	path_set_network_changed(w->set, w->now);
	assert_int_equal(w->builds, 2); /* from the timer, when the links are new */
	assert_ptr_equal(world_active(w), old);
	world_run(w, MSEC(200));
	assert_true(w->builds >= 3);
	assert_ptr_not_equal(world_active(w), old);
	assert_agreed(w);
	assert_int_equal(w->undelivered, 0);
	world_run(w, SECONDS(5));
	assert_true(old->freed && standby->freed);
	assert_int_equal(bound_paths(w), 2);
	assert_int_equal(w->grants, 1);
	/* links are closed by the daemon: paths go, nobody is blamed, new ones come at once */
	unsigned failed = w->failed;
	path_set_network_changed(w->set, w->now);
	struct path *both[2] = {path_set_path(w->set, 0), path_set_path(w->set, 1)};
	world_path_gone(both[1]);
	world_path_gone(both[0]);
	assert_int_equal(w->failed, failed);
	world_run(w, MSEC(300));
	assert_agreed(w);
	assert_int_equal(w->grants, 1);
	world_free(w);
	/* while the first path is being built, and while it asks */
	static const nsec_t when[] = {MSEC(30), MSEC(70), MSEC(110)};
	for (unsigned i = 0; i < 3; i++) {
		w = world_new(9);
		world_set(w, true, 0);
		world_run(w, when[i]);
		path_set_network_changed(w->set, w->now);
		world_run(w, MSEC(400));
		assert_agreed(w);
		assert_int_equal(w->failed, 0);
		world_free(w);
	}
}

/* --- time and ends --- */

static void path_set_sleeps_when_idle(void **state)
{
	(void)state;
	struct world *w = up(true);
	world_run(w, SECONDS(2));
	unsigned wakes = w->wakes;
	size_t sent = w->sent_forward;
	world_run(w, SECONDS(50));
	assert_true(w->wakes - wakes <= 60);
	assert_in_range(w->sent_forward - sent, 3, 7); /* each path every 15 to 25 s */
	assert_int_equal(w->switched, 1);
	world_free(w);
	/* waiting for a token wakes nobody */
	w = world_new(1);
	world_set(w, true, -2);
	world_run(w, MSEC(100));
	wakes = w->wakes;
	world_run(w, SECONDS(9));
	assert_int_equal(w->wakes, wakes);
	world_free(w);
}

/* Free it at any moment of a life with everything in it: no leak, no call after, no path left
 * (world_free() looks). */
static void path_set_is_freed_in_every_state(void **state)
{
	(void)state;
	struct world *w = world_new(1);
	struct path_set_config c = world_set_config(w);
	struct path_set *s = path_set_new(&c, w->now);
	path_set_free(s, w->now); /* before the start */
	path_set_free(NULL, w->now);
	world_free(w);
	for (unsigned i = 0; i < 60; i++) {
		w = world_new(i);
		w->loss = i % 3 ? 10 : 0;
		w->traffic = TRAFFIC_BOTH;
		world_set(w, true, i % 5 ? 0 : -2);
		world_run(w, (nsec_t)(MSEC(7) * i));
		if (i % 7 == 3)
			world_restart_exit(w, i % 2);
		if (i % 4 == 1)
			world_run(w, (nsec_t)rng_below(&w->rng, 2 * WORLD_LIFE));
		if (i % 6 == 5 && world_active(w))
			world_active(w)->dead = true;
		world_run(w, (nsec_t)rng_below(&w->rng, SECONDS(3)));
		if (i % 2)
			path_set_goodbye(w->set, w->now);
		world_free(w);
	}
}

static void path_set_survives_hostile_bytes(void **state)
{
	(void)state;
	struct world *w = up(true);
	w->traffic = TRAFFIC_BOTH;
	for (unsigned i = 0; i < 5000; i++) {
		uint8_t plain[64];
		size_t n = rng_below(&w->rng, sizeof(plain));
		rng_bytes(&w->rng, plain, n);
		if (n > 8 && rng_below(&w->rng, 4)) {
			plain[0] = PLAIN_CONTROL;
			plain[1] =
				(uint8_t)(SESSION_AUTH + rng_below(&w->rng, 9)); /* all but CLOSE */
			store_be16(plain + 2, (uint16_t)rng_below(&w->rng, n));
			store_be32(plain + 4, (uint32_t)rng_below(&w->rng, 4));
		}
		struct path *p = path_set_path(w->set, (unsigned)rng_below(&w->rng, 2));
		if (p)
			path_set_on_plain(w->set, path_data_of(p), plain, n,
					  rng_below(&w->rng, 2000), w->now);
		world_run(w, MSEC(5));
	}
	assert_agreed(w);
	assert_int_equal(w->failed, 0);
	assert_true(world_dropped(w, DROP_SESSION_FORMAT) + world_dropped(w, DROP_SESSION_STATE) >
		    1000);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(path_set_builds_the_first_path),
		cmocka_unit_test(path_set_waits_for_the_token),
		cmocka_unit_test(path_set_builds_the_standby_after_the_grant),
		cmocka_unit_test(path_set_denied_or_closed_builds_no_more),
		cmocka_unit_test(path_set_rotates),
		cmocka_unit_test(path_set_renews_a_used_key),
		cmocka_unit_test(path_set_serves_on_when_no_successor_can_be_built),
		cmocka_unit_test(path_set_moves_to_the_standby_at_the_end_of_life),
		cmocka_unit_test(path_set_fails_over_on_silence),
		cmocka_unit_test(path_set_fails_over_at_once_when_told),
		cmocka_unit_test(path_set_takes_over_from_a_path_that_the_exit_still_likes),
		cmocka_unit_test(path_set_does_not_move_to_a_path_that_is_silent_too),
		cmocka_unit_test(path_set_builds_anew_without_a_standby),
		cmocka_unit_test(path_set_does_not_flap_with_one_way_traffic),
		cmocka_unit_test(path_set_takes_data_for_life),
		cmocka_unit_test(path_set_notices_a_dead_standby),
		cmocka_unit_test(path_set_survives_deaths),
		cmocka_unit_test(path_set_backs_off),
		cmocka_unit_test(path_set_backs_off_for_a_standby_alone),
		cmocka_unit_test(path_set_is_not_hurried_by_paths_that_die_young),
		cmocka_unit_test(path_set_is_not_hurried_by_successors_that_fail),
		cmocka_unit_test(path_set_goes_on_when_nobody_answers_auth),
		cmocka_unit_test(path_set_recovers_from_an_exit_restart),
		cmocka_unit_test(path_set_asks_anew_on_a_path_that_stands),
		cmocka_unit_test(path_set_rotates_after_a_restart),
		cmocka_unit_test(path_set_follows_the_network),
		cmocka_unit_test(path_set_sleeps_when_idle),
		cmocka_unit_test(path_set_is_freed_in_every_state),
		cmocka_unit_test(path_set_survives_hostile_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
