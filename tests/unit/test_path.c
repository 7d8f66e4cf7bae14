/* tests/unit/test_path.c - the client's paths against real relays (circuits.c) over fake links, for
 * all hop counts, with data on them; and everything that can go wrong while they are built. */
#include "unit/fake_net.h"
#include "base/bytes.h"

#include <errno.h>
#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* A client (party 0) and relays (1..). */
static struct fake_net *net_new(unsigned relays)
{
	struct fake_net *n = fake_net_new(relays + 1, 3);
	fake_client(n, 0);
	for (unsigned i = 1; i <= relays; i++)
		fake_relay(n, i, NULL);
	return n;
}

static struct path *build_through(struct fake_net *n, unsigned hops)
{
	struct path_hop hop[HOPS_MAX];
	for (unsigned i = 0; i < hops; i++)
		hop[i] = fake_hop(n, i + 1);
	struct path *p = NULL;
	assert_int_equal(path_build(n->party[0].paths, hop, hops, n->now, &p), 0);
	assert_non_null(p);
	return p;
}

static struct path *ready_path(struct fake_net *n, unsigned hops)
{
	struct path *p = build_through(n, hops);
	fake_run(n);
	assert_int_equal(path_state(p), PATH_READY);
	return p;
}

static void free_all(struct fake_net *n, struct path *p)
{
	path_free(p, n->now);
	fake_run(n);
	for (unsigned i = 1; i < n->parties; i++)
		if (n->party[i].circuits)
			assert_int_equal(circuits_count(n->party[i].circuits), 0);
	fake_net_free(n);
}

static struct fake_party *owner_of(struct fake_net *n, const struct addr *a)
{
	for (unsigned i = 0; i < n->parties; i++)
		if (addr_equal(&n->party[i].addr, a))
			return &n->party[i];
	return NULL;
}

/* Carry one datagram from party to party until it is plain somewhere. */
static struct dp_result carry(struct fake_net *n, struct link_data *out, uint8_t *d, size_t bytes)
{
	struct dp_result r = {.action = DP_SEND, .link = out};
	const struct addr *from = NULL;
	for (unsigned i = 0; r.action == DP_SEND; i++) {
		assert_true(i <= HOPS_MAX);
		for (struct link *l = n->links; l; l = l->next)
			if (l->data == r.link)
				from = &l->owner->addr;
		struct fake_party *to = owner_of(n, r.link->remote);
		dataplane_receive(&to->dp, d, bytes, from, n->now, &r);
	}
	return r;
}

static void assert_data_flows(struct fake_net *n, struct path *p)
{
	uint8_t d[DATAGRAM_MAX + 64], *plain = d + HEADER_BYTES;
	struct fake_party *exit = &n->party[path_hops(p)];
	for (uint8_t i = 0; i < 3; i++) {
		memset(plain, 0x40 + i, 200);
		plain[0] = PLAIN_CONTROL;
		size_t bytes = path_seal(&n->party[0].dp, path_data_of(p), d, 200, 0, PAD_BUCKET);
		assert_true(bytes > 200);
		struct dp_result r = carry(n, path_data_of(p)->link, d, bytes);
		assert_int_equal(r.action, DP_PLAIN);
		assert_ptr_equal(r.end->owner, exit->end);
		assert_int_equal(r.plain[199], 0x40 + i);
		memset(plain, 0x80 + i, 300);
		plain[0] = PLAIN_CONTROL;
		bytes = circuit_seal(&exit->dp, exit->end, d, 300, 0, PAD_BUCKET);
		assert_true(bytes > 300);
		r = carry(n, exit->end->back_link, d, bytes);
		assert_int_equal(r.action, DP_PLAIN);
		assert_ptr_equal(r.end->owner, path_data_of(p));
		assert_int_equal(r.plain[299], 0x80 + i);
	}
}

static void path_builds_for_all_hop_counts(void **state)
{
	(void)state;
	for (unsigned hops = 1; hops <= HOPS_MAX; hops++) {
		struct fake_net *n = net_new(HOPS_MAX);
		struct path *p = ready_path(n, hops);
		assert_int_equal(n->party[0].ready, 1);
		assert_int_equal(path_hops(p), hops);
		assert_memory_equal(path_h(p), n->party[hops].end_h, 32);
		assert_memory_equal(path_resume(p), n->party[hops].end_res, 32);
		assert_int_equal(path_max_dgram(p), DATAGRAM_FULL_MOST);
		assert_int_equal(path_data_of(p)->full_dgram, DATAGRAM_FULL_MOST);
		assert_int_equal(path_number(p), 1);
		assert_true(path_expires_at(p) == n->now + 600 * NSEC_PER_SEC);
		assert_true(path_data_of(p)->sealed_first >> 47 == 0);
		for (unsigned i = 1; i <= hops; i++)
			assert_int_equal(circuits_count(n->party[i].circuits), 1);
		assert_data_flows(n, p);
		free_all(n, p);
	}
}

static void path_waits_for_its_link(void **state)
{
	(void)state;
	struct fake_net *n = net_new(3);
	n->party[0].links.manual = true;
	struct path *p = build_through(n, 2), *q = build_through(n, 3);
	assert_int_equal(n->party[0].links.opened, 1); /* one link for both */
	assert_int_equal(path_state(p), PATH_LINKING);
	assert_null(path_data_of(p));
	assert_int_equal(fake_waiting(n), 0);
	fake_sleep(n, 3 * NSEC_PER_SEC); /* the link's own time does not count */
	fake_up(fake_opened(n, 0));
	assert_int_equal(path_state(p), PATH_BUILDING);
	n->now += 70 * NSEC_PER_MSEC;
	fake_run(n);
	assert_int_equal(path_state(p), PATH_READY);
	assert_int_equal(path_state(q), PATH_READY);
	assert_true(path_built_in(p) == 70 * NSEC_PER_MSEC);
	assert_true(path_ready_at(p) == n->now);
	assert_int_equal(path_number(q), 2);
	assert_int_equal(fake_opened(n, 0)->holds, 2);
	path_free(q, n->now);
	free_all(n, p);
}

static void path_repeats_and_gives_up(void **state)
{
	(void)state;
	struct fake_net *n = net_new(2);
	nsec_t start = n->now;
	struct path *p = build_through(n, 2);
	struct fake_frame first = *fake_take(n), f;
	static const nsec_t at[] = {PATH_RESEND_1_NSEC, PATH_RESEND_2_NSEC};
	n->party[1].deaf = true;
	for (unsigned i = 0; i < 2; i++) {
		fake_sleep(n, start + at[i] - n->now - 1);
		assert_true(paths_next_deadline(n->party[0].paths) == start + at[i]);
		n->now++;
		paths_on_timer(n->party[0].paths, n->now);
		assert_int_equal(fake_waiting(n), 1);
		f = *fake_take(n);
		assert_int_equal(f.type, FRAME_BUILD);
		assert_memory_equal(f.data, first.data, FRAME_BUILD_BYTES);
		assert_int_equal(fake_opened(n, 0)->probes, i + 1);
	}
	fake_sleep(n, start + PATH_GIVE_UP_NSEC - n->now - 1);
	assert_int_equal(n->party[0].gone, 0);
	n->now++;
	paths_on_timer(n->party[0].paths, n->now);
	f = *fake_take(n);
	assert_int_equal(
		f.type,
		FRAME_CIRCUIT_CLOSE); /* by the backward id, which is all that the guard knows */
	assert_memory_equal(f.data, first.data, 4);
	assert_int_equal(n->party[0].gone, 1);
	assert_int_equal(n->party[0].gone_hop, -1);
	assert_int_equal(n->party[0].gone_status, BUILD_NEXT_DOWN);
	assert_int_equal(path_state(p), PATH_CLOSED);
	fake_give(&first);
	fake_sleep(n, 100 * NSEC_PER_SEC);
	assert_int_equal(n->party[0].gone, 1);
	free_all(n, p);
}

static void path_survives_one_lost_frame(void **state)
{
	(void)state;
	/* Frame number `lost` on its way there and back is lost: the repeat mends it. */
	for (unsigned lost = 0; lost < 6; lost++) {
		struct fake_net *n = net_new(3);
		struct path *p = build_through(n, 3);
		const struct fake_frame *f;
		for (unsigned i = 0; (f = fake_take(n)); i++)
			if (i != lost)
				fake_give(f);
		assert_int_equal(path_state(p), PATH_BUILDING);
		fake_sleep(n, PATH_RESEND_1_NSEC);
		assert_int_equal(path_state(p), PATH_READY);
		assert_int_equal(n->party[0].ready, 1);
		assert_data_flows(n, p);
		fake_sleep(n, 8 * NSEC_PER_SEC); /* what relays still waited for changes nothing */
		assert_int_equal(path_state(p), PATH_READY);
		free_all(n, p);
	}
}

/* Hop `dead` hears nothing: the one before it says so, in time for everybody, and nothing is left
 * anywhere. */
static void path_hears_which_hop_is_down(void **state)
{
	(void)state;
	for (unsigned hops = 2; hops <= HOPS_MAX; hops++) {
		for (unsigned dead = 2; dead <= hops; dead++) {
			struct fake_net *n = net_new(HOPS_MAX);
			n->party[dead].deaf = true;
			struct path *p = build_through(n, hops);
			fake_sleep(n, PATH_GIVE_UP_NSEC - 1);
			assert_int_equal(n->party[0].gone, 1);
			assert_int_equal(n->party[0].gone_hop, dead - 2);
			assert_int_equal(n->party[0].gone_status, BUILD_NEXT_DOWN);
			for (unsigned i = 1; i <= hops; i++)
				assert_int_equal(circuits_count(n->party[i].circuits), 0);
			free_all(n, p);
		}
	}
}

static void path_hears_what_a_hop_says(void **state)
{
	(void)state;
	struct fake_net *n = net_new(3);
	n->party[3].refuse_end = true;
	n->party[0].free_when_gone = true;
	build_through(n, 3);
	fake_run(n);
	assert_int_equal(n->party[0].gone, 1);
	assert_int_equal(n->party[0].gone_hop, 2);
	assert_int_equal(n->party[0].gone_status, BUILD_NO_EXIT);
	assert_int_equal(n->sent, 6); /* BUILD and answer; nobody has anything to close */
	n->party[3].keyid = 0;
	build_through(n, 3);
	fake_run(n);
	assert_int_equal(n->party[0].gone_hop, 1);
	assert_int_equal(n->party[0].gone_status, BUILD_NEXT_UNKNOWN);
	assert_int_equal(fake_opened(n, 0)->holds, 0);
	free_all(n, NULL);
}

static void path_ignores_what_does_not_verify(void **state)
{
	(void)state;
	struct fake_net *n = net_new(2);
	struct path *p = build_through(n, 2);
	fake_give(fake_take(n)); /* 1 forwards */
	fake_give(fake_take(n)); /* 2 answers */
	fake_give(fake_take(n)); /* 1 answers */
	struct fake_frame good = *fake_take(n), f;
	assert_int_equal(good.type, FRAME_BUILD_REPLY);
	for (unsigned at = 8; at < 8 + 2 * REPLY_HOP_BYTES; at += 5) {
		f = good;
		f.data[at] ^= 4;
		fake_give(&f);
	}
	assert_true(fake_dropped(&n->party[0], DROP_BUILD_REPLY_BAD) > 20);
	f = good;
	f.data[0] ^= 4;
	fake_give(&f);
	assert_int_equal(fake_dropped(&n->party[0], DROP_BUILD_REPLY_UNKNOWN), 1);
	f = good;
	f.type = FRAME_BUILD;
	fake_give(&f);
	f = good;
	f.n--;
	fake_give(&f);
	assert_int_equal(fake_dropped(&n->party[0], DROP_CTRL_FORMAT), 2);
	assert_int_equal(path_state(p), PATH_BUILDING);
	fake_give(&good);
	assert_int_equal(path_state(p), PATH_READY);
	fake_give(&good); /* twice */
	assert_int_equal(fake_dropped(&n->party[0], DROP_BUILD_REPLY_UNKNOWN), 2);
	assert_int_equal(n->party[0].ready, 1);
	assert_data_flows(n, p);
	free_all(n, p);
}

static void path_wants_a_circuit_behind_ok(void **state)
{
	(void)state;
	struct fake_net *n = net_new(1);
	struct path *p = build_through(n, 1);
	fake_give(fake_take(n));
	struct fake_frame f = *fake_take(n);
	memset(f.data + 4, 0, 4);
	fake_give(&f);
	assert_int_equal(n->party[0].gone, 1);
	assert_int_equal(n->party[0].gone_hop, 0);
	assert_int_equal(n->party[0].gone_status, BUILD_PROTOCOL);
	free_all(n, p);
}

/* What hops say of sizes and lifetimes counts downward only, and not below half. */
static void path_doubts_what_hops_say(void **state)
{
	(void)state;
	static const struct {
		uint32_t lifetime_s;
		uint16_t max_dgram;
		uint32_t want_s;
		uint16_t want_dgram;
	} table[] = {
		{600, 1440, 600, 1440}, {599, 1439, 599, 1380},
		{301, 1320, 301, 1320}, {300, 1319, 300, 1240},
		{299, 1240, 300, 1240}, {0, 0, 300, 1240},
		{601, 1441, 600, 1440}, {UINT32_MAX, UINT16_MAX, 600, 1440},
	};
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct fake_net *n = fake_net_new(3, 3);
		fake_client(n, 0);
		fake_relay(n, 1, NULL);
		struct path *p = build_through(n, 2);
		fake_give(fake_take(n));
		const struct fake_frame f = *fake_take(n); /* to party 2, which we play */
		struct build_request req;
		struct hs hs;
		uint8_t y[32];
		struct fake_frame r = {f.to->peer, FRAME_BUILD_REPLY, FRAME_BUILD_REPLY_BYTES, {0}};
		assert_int_equal(build_peel(&hs, n->party[2].id, &n->party[2].key, f.data + 6,
					    ONION_HOP_BYTES, &n->rng, &req),
				 PEEL_OK);
		assert_int_equal(hs_reply_start(&hs, &n->rng, y), 0);
		memcpy(r.data, f.data, 4);
		store_be32(r.data + 4, 0x1234);
		build_seal_reply(&hs, y, BUILD_OK, table[i].max_dgram, table[i].lifetime_s, NULL, 1,
				 &n->rng, r.data + 8);
		fake_give(&r);
		fake_run(n);
		assert_int_equal(path_state(p), PATH_READY);
		assert_true(path_expires_at(p) == n->now + table[i].want_s * NSEC_PER_SEC);
		assert_int_equal(path_max_dgram(p), table[i].want_dgram);
		assert_int_equal(path_data_of(p)->full_dgram, table[i].want_dgram);
		free_all(n, p);
	}
}

static void path_closes_at_all_hops(void **state)
{
	(void)state;
	struct fake_net *n = net_new(3);
	struct path *p = ready_path(n, 3);
	uint32_t id = path_data_of(p)->backward.slot.id;
	assert_ptr_equal(slots_find(n->party[0].circuit_table, id),
			 &path_data_of(p)->backward.slot);
	path_free(p, n->now);
	assert_null(slots_find(n->party[0].circuit_table, id));
	fake_run(n);
	assert_int_equal(n->party[3].ends_gone, 1);
	assert_int_equal(n->party[0].gone, 0);
	/* While it is built, by the backward id. */
	p = build_through(n, 3);
	for (unsigned i = 0; i < 3; i++)
		fake_give(fake_take(n)); /* 3 answered */
	path_free(p, n->now);
	fake_run(n);
	assert_int_equal(n->party[3].ends_gone, 2);
	assert_int_equal(n->party[0].ready, 1);
	free_all(n, NULL);
}

static void path_is_gone_when_closed_from_afar(void **state)
{
	(void)state;
	struct fake_net *n = net_new(3);
	struct path *p = ready_path(n, 3);
	struct path_data *d = path_data_of(p);
	circuits_close_end(n->party[3].circuits, n->party[3].end, CLOSE_OVERLOAD, n->now);
	fake_run(n);
	assert_int_equal(n->party[0].gone, 1);
	assert_int_equal(n->party[0].gone_hop, -1);
	assert_int_equal(n->party[0].gone_status, BUILD_NEXT_DOWN);
	assert_ptr_equal(path_data_of(p), d); /* whoever seals still may */
	assert_int_equal(n->nretired, 3);
	path_free(p, n->now);
	assert_int_equal(fake_waiting(n), 0);
	assert_int_equal(fake_dropped(&n->party[1], DROP_CIRCUIT_UNKNOWN),
			 0); /* it knows already */
	assert_int_equal(n->nretired, 4);
	/* A middle relay dies. */
	p = ready_path(n, 3);
	fake_dead(fake_opened(n, 2));
	fake_run(n);
	assert_int_equal(n->party[0].gone, 2);
	path_free(p, n->now);
	fake_run(n);
	/* A close for nobody; one from another link. */
	p = ready_path(n, 1);
	struct fake_frame f = {
		fake_opened(n, 0), FRAME_CIRCUIT_CLOSE, FRAME_CIRCUIT_CLOSE_BYTES, {0, 0, 0, 0, 1}};
	fake_give(&f);
	f.to = fake_link(n, 0, 2, false)->peer;
	store_be32(f.data, path_data_of(p)->backward.slot.id);
	fake_give(&f);
	assert_int_equal(fake_dropped(&n->party[0], DROP_CIRCUIT_UNKNOWN), 2);
	assert_int_equal(path_state(p), PATH_READY);
	free_all(n, p);
}

static void path_is_gone_with_its_link(void **state)
{
	(void)state;
	static const struct {
		int why;
		enum build_status status;
	} table[] = {
		{-ETIMEDOUT, BUILD_NEXT_DOWN},
		{-EACCES, BUILD_TIME},
		{-EUSERS, BUILD_OVERLOAD},
		{-EPROTO, BUILD_NEXT_DOWN},
	};
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct fake_net *n = net_new(2);
		n->party[0].links.manual = n->party[0].free_when_gone = true;
		build_through(n, 2);
		build_through(n, 1);
		fake_fail(fake_opened(n, 0), table[i].why);
		assert_int_equal(n->party[0].gone, 2);
		assert_int_equal(n->party[0].gone_hop, 0);
		assert_int_equal(n->party[0].gone_status, table[i].status);
		free_all(n, NULL);
	}
	struct fake_net *n = net_new(2);
	n->party[0].free_when_gone = true;
	ready_path(n, 2);
	build_through(n, 1);
	fake_dead(fake_opened(n, 0));
	fake_run(n);
	assert_int_equal(n->party[0].gone, 2);
	assert_int_equal(n->party[0].gone_hop, 0);
	free_all(n, NULL);
}

static void path_ends_with_its_time(void **state)
{
	(void)state;
	struct fake_net *n = net_new(3);
	struct path *p = ready_path(n, 3);
	n->party[0].deaf = true; /* the relays' CLOSE does not decide */
	circuits_end_granted(n->party[3].circuits, n->party[3].end, true);
	fake_sleep(n, 630 * NSEC_PER_SEC - 1);
	assert_int_equal(path_state(p), PATH_READY);
	assert_true(path_expires_at(p) <= n->now);
	fake_sleep(n, 1);
	assert_int_equal(path_state(p), PATH_CLOSED);
	assert_int_equal(n->party[0].gone, 1);
	assert_int_equal(fake_opened(n, 0)->probes, 0);
	free_all(n, p);
}

static void path_expires_when_a_key_is_used_up(void **state)
{
	(void)state;
	struct fake_net *n = net_new(2);
	struct path *p = ready_path(n, 2);
	struct path_data *d = path_data_of(p);
	atomic_store(&d->sealed, d->sealed_first + KEY_PACKETS_RENEW - 1);
	atomic_store(&d->backward.count, KEY_PACKETS_RENEW - 1);
	assert_true(path_expires_at(p) > n->now);
	atomic_store(&d->sealed, d->sealed_first + KEY_PACKETS_RENEW);
	assert_true(path_expires_at(p) <= n->now);
	atomic_store(&d->sealed, d->sealed_first);
	atomic_store(&d->backward.count, KEY_PACKETS_RENEW);
	assert_true(path_expires_at(p) <= n->now);
	free_all(n, p);
}

static void path_build_fails_cleanly(void **state)
{
	(void)state;
	struct fake_net *n = net_new(2);
	struct path_hop hop[HOPS_MAX + 1];
	struct path *p = NULL;
	for (unsigned i = 0; i <= HOPS_MAX; i++)
		hop[i] = fake_hop(n, 1 + i % 2);
	assert_int_equal(path_build(n->party[0].paths, hop, 0, n->now, &p), -EINVAL);
	assert_int_equal(path_build(n->party[0].paths, hop, HOPS_MAX + 1, n->now, &p), -EINVAL);
	n->party[0].links.refuse = -ENOSPC;
	assert_int_equal(path_build(n->party[0].paths, hop, 2, n->now, &p), -ENOSPC);
	n->party[0].links.refuse = 0;
	memset(hop[1].target.onion_key, 0, 32);
	assert_int_equal(path_build(n->party[0].paths, hop, 2, n->now, &p), -EPROTO);
	assert_null(p);
	assert_int_equal(slots_count(n->party[0].circuit_table), 0);
	assert_int_equal(n->party[0].gone, 0);
	assert_true(paths_next_deadline(n->party[0].paths) == NSEC_NEVER);
	path_free(NULL, n->now);
	int mark;
	p = ready_path(n, 2);
	path_set_user(p, &mark);
	assert_ptr_equal(path_user(p), &mark);
	assert_memory_equal(path_hop(p, 1)->target.id, n->party[2].id, 32);
	fake_net_free(n); /* with a path: paths_free takes it */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(path_builds_for_all_hop_counts),
		cmocka_unit_test(path_waits_for_its_link),
		cmocka_unit_test(path_repeats_and_gives_up),
		cmocka_unit_test(path_survives_one_lost_frame),
		cmocka_unit_test(path_hears_which_hop_is_down),
		cmocka_unit_test(path_hears_what_a_hop_says),
		cmocka_unit_test(path_ignores_what_does_not_verify),
		cmocka_unit_test(path_wants_a_circuit_behind_ok),
		cmocka_unit_test(path_doubts_what_hops_say),
		cmocka_unit_test(path_closes_at_all_hops),
		cmocka_unit_test(path_is_gone_when_closed_from_afar),
		cmocka_unit_test(path_is_gone_with_its_link),
		cmocka_unit_test(path_ends_with_its_time),
		cmocka_unit_test(path_expires_when_a_key_is_used_up),
		cmocka_unit_test(path_build_fails_cleanly),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
