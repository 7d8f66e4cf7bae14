/* tests/unit/test_circuits.c - one relay, played at from both sides: what it does with BUILD,
 * BUILD_REPLY, CLOSE. */
#include "unit/fake_build.h"
#include "base/bytes.h"

#include <errno.h>
#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define NEXT_ID 0x0c0c0002u

static void free_around(struct around *a)
{
	fake_net_free(a->n);
}

/* A key is the same when what one seals the other opens. */
static void assert_same_key(struct fake_net *n, const struct aead_key *a, const uint8_t key[32],
			    const uint8_t iv[12])
{
	struct aead_key b;
	uint8_t text[16] = {1}, tag[16];
	aead_key_init(&b, n->aead, key, iv);
	aead_seal(n->aead, &b, 77, text, sizeof(text), tag);
	assert_true(aead_open(n->aead, a, 77, text, sizeof(text), tag));
	aead_key_done(&b);
}

static void assert_dir(const struct hop_dir *d, enum hop_kind kind, const struct link *in,
		       const struct link *out, uint32_t out_id, unsigned fill, uint64_t offset)
{
	assert_int_equal(d->kind, kind);
	assert_ptr_equal(d->in, in->data);
	assert_ptr_equal(d->out, out ? out->data : NULL);
	assert_int_equal(d->out_id, out_id);
	assert_int_equal(d->fill, fill);
	assert_true(d->offset == offset);
}

static void circuits_forwards_and_publishes(void **state)
{
	(void)state;
	struct around a = around_new(4, NULL);
	struct fake_build b;
	struct fake_frame f;
	struct build_answer answer;
	a.relay->links.manual = true;
	fake_onion(&a, &b, (const unsigned[]){1, 2}, 2, BACK_ID, 321, 0);
	fake_give_build(a.in, &b);
	fake_expect_nothing(&a); /* BUILD waits for the link */
	assert_int_equal(circuits_pending(a.relay->circuits), 1);
	struct link *out = fake_opened(a.n, 1);
	out->data->max_dgram = 1320;
	fake_up(out);
	fake_expect(&a, 2, FRAME_BUILD, &f);
	assert_int_equal(load_be16(f.data + 4), ONION_HOP_BYTES);
	uint32_t ours = load_be32(f.data);
	assert_int_not_equal(ours, 0);
	assert_null(slots_find(a.relay->circuit_table, ours)); /* not before the answer */
	fake_play_hop(&a, 2, &f, BUILD_OK, NEXT_ID);
	uint32_t id = fake_expect_reply(&a, &b, &answer);
	assert_int_equal(answer.failed_hop, 2);
	assert_int_equal(answer.max_dgram[0], 1320);
	assert_int_equal(answer.lifetime_s[0], 321);
	struct hop_dir *d = (struct hop_dir *)(void *)slots_find(a.relay->circuit_table, id);
	assert_non_null(d);
	struct circuit *c = d->owner;
	assert_ptr_equal(slots_find(a.relay->circuit_table, ours), &c->backward.slot);
	assert_false(c->last);
	assert_dir(&c->forward, HOP_FORWARD, a.in, out, NEXT_ID, 1, answer.keys[0].df);
	assert_dir(&c->backward, HOP_BACKWARD, out, a.in, BACK_ID, 2, answer.keys[0].db);
	assert_ptr_equal(c->forward.key, &c->kf);
	assert_ptr_equal(c->backward.key, &c->kb);
	assert_same_key(a.n, &c->kf, answer.keys[0].kf, answer.keys[0].ivf);
	assert_same_key(a.n, &c->kb, answer.keys[0].kb, answer.keys[0].ivb);
	assert_int_equal(a.in->holds, 1);
	assert_int_equal(out->holds, 1);
	assert_int_equal(circuits_count(a.relay->circuits), 1);
	assert_int_equal(circuits_pending(a.relay->circuits), 0);
	free_around(&a);
}

static void circuits_ends_a_path(void **state)
{
	(void)state;
	struct around a = around_new(2, NULL);
	struct fake_build b;
	struct build_answer answer;
	fake_onion_through(&a, &b, 1, BACK_ID);
	fake_give_build(a.in, &b);
	uint32_t id = fake_expect_reply(&a, &b, &answer);
	assert_int_equal(answer.failed_hop, 1);
	assert_int_equal(answer.max_dgram[0], DATAGRAM_FULL_MOST);
	assert_int_equal(a.relay->ends, 1);
	assert_memory_equal(a.relay->end_h, answer.h_last, 32);
	assert_memory_equal(a.relay->end_res, answer.keys[0].resume, 32);
	struct circuit *c = a.relay->end;
	assert_ptr_equal(slots_find(a.relay->circuit_table, id), &c->forward.slot);
	assert_dir(&c->forward, HOP_END_FORWARD, a.in, NULL, 0, 2, answer.keys[0].df);
	assert_ptr_equal(c->back_link, a.in->data);
	assert_int_equal(c->back_id, BACK_ID);
	assert_true(c->db == answer.keys[0].db);
	assert_true(c->sealed == c->sealed_first && c->sealed_first >> 47 == 0 &&
		    c->sealed_first != 0);
	assert_int_equal(c->full_dgram, DATAGRAM_FULL_LEAST);
	assert_same_key(a.n, &c->kf, answer.keys[0].kf, answer.keys[0].ivf);
	assert_same_key(a.n, &c->kb, answer.keys[0].kb, answer.keys[0].ivb);
	circuits_close_end(a.relay->circuits, c, CLOSE_PROTOCOL, a.n->now);
	fake_expect_close(&a, 0, BACK_ID, CLOSE_PROTOCOL);
	assert_int_equal(a.relay->ends_gone, 1);
	assert_null(slots_find(a.relay->circuit_table, id));
	assert_int_equal(fake_grace(a.n), 1);
	assert_int_equal(a.in->holds, 0);
	free_around(&a);
}

static void not_exit(struct circuits_config *c)
{
	c->is_exit = false;
}

static void circuits_says_no_exit(void **state)
{
	(void)state;
	struct around a = around_new_with(2, not_exit);
	struct fake_build b;
	fake_onion_through(&a, &b, 1, BACK_ID);
	fake_give_build(a.in, &b);
	fake_expect_refusal(&a, &b, BUILD_NO_EXIT);
	assert_int_equal(a.relay->ends, 0);
	free_around(&a);

	a = around_new(2, NULL);
	a.relay->refuse_end = true;
	fake_onion_through(&a, &b, 1, BACK_ID);
	fake_give_build(a.in, &b);
	fake_expect_refusal(&a, &b, BUILD_NO_EXIT);
	assert_int_equal(slots_count(a.relay->circuit_table), 0);
	assert_int_equal(circuits_count(a.relay->circuits), 0);
	assert_int_equal(a.relay->ends_gone, 0);
	free_around(&a);
}

static void circuits_repeats_the_same_bytes(void **state)
{
	(void)state;
	struct around a = around_new(4, NULL);
	struct fake_build b;
	struct fake_frame first, f;
	struct build_answer answer;
	a.relay->links.manual = true;
	fake_onion_through(&a, &b, 2, BACK_ID);
	fake_give_build(a.in, &b);
	fake_give_build(a.in, &b); /* while the link is on its way: nothing */
	fake_up(fake_opened(a.n, 1));
	fake_expect(&a, 2, FRAME_BUILD, &first);
	fake_expect_nothing(&a);
	for (unsigned i = 0; i < BUILD_RESENDS_MOST; i++) {
		fake_give_build(a.in, &b);
		fake_expect(&a, 2, FRAME_BUILD, &f);
		assert_memory_equal(f.data, first.data, FRAME_BUILD_BYTES);
		assert_int_equal(fake_opened(a.n, 1)->probes, i + 1);
	}
	fake_give_build(a.in, &b);
	fake_expect_nothing(&a);
	assert_int_equal(fake_dropped(a.relay, DROP_BUILD_REPEAT), 1);
	fake_play_hop(&a, 2, &f, BUILD_OK, NEXT_ID);
	const struct fake_frame reply = *fake_take(a.n);
	fake_give_build(a.in, &b);
	fake_expect(&a, 0, FRAME_BUILD_REPLY, &f);
	assert_memory_equal(f.data, reply.data, FRAME_BUILD_REPLY_BYTES);
	assert_true(build_open_reply(&b.client, f.data + 8, &answer));
	assert_int_equal(answer.failed_hop, 2);
	assert_int_equal(circuits_count(a.relay->circuits), 1);
	fake_play_hop(&a, 2, &first, BUILD_OK, NEXT_ID); /* the answer twice */
	assert_int_equal(fake_dropped(a.relay, DROP_BUILD_REPLY_UNKNOWN), 1);
	fake_sleep(a.n, BUILD_REPLY_CACHE_SECONDS * NSEC_PER_SEC - 1);
	fake_give_build(a.in, &b);
	fake_expect(&a, 0, FRAME_BUILD_REPLY, &f);
	fake_sleep(a.n, 1);
	fake_give_build(a.in, &b);
	fake_expect_nothing(&a);
	assert_int_equal(fake_dropped(a.relay, DROP_BUILD_REPLAY), 1);
	assert_int_equal(circuits_count(a.relay->circuits), 1);
	free_around(&a);
}

static void circuits_keeps_failures_for_repeats(void **state)
{
	(void)state;
	struct around a = around_new_with(2, not_exit);
	struct fake_build b;
	struct fake_frame f;
	fake_onion_through(&a, &b, 1, BACK_ID);
	fake_give_build(a.in, &b);
	fake_expect(&a, 0, FRAME_BUILD_REPLY, &f);
	fake_give_build(a.in, &b);
	fake_expect_refusal(&a, &b, BUILD_NO_EXIT);
	assert_int_equal(fake_dropped(a.relay, DROP_BUILD_REPLAY), 0);
	/* What failed has given its id back. */
	fake_onion_through(&a, &b, 1, BACK_ID);
	fake_give_build(a.in, &b);
	fake_expect_refusal(&a, &b, BUILD_NO_EXIT);
	assert_int_equal(a.in->holds, 1);
	fake_sleep(a.n, BUILD_REPLY_CACHE_SECONDS * NSEC_PER_SEC);
	assert_int_equal(a.in->holds, 0);
	fake_give_build(a.in, &b);
	fake_expect_nothing(&a);
	free_around(&a);
}

static void circuits_drops_replays(void **state)
{
	(void)state;
	struct around a = around_new(4, NULL);
	struct link *other = fake_link(a.n, 0, 1, false);
	struct fake_build b, c;
	struct fake_frame f;
	fake_onion_through(&a, &b, 2, BACK_ID);
	fake_give_build(a.in, &b);
	fake_expect(&a, 2, FRAME_BUILD, &f);
	fake_give_build(other, &b); /* pending, but not on this link */
	c = b;
	c.frame[6 + 100] ^= 1; /* the same X, not the same onion */
	fake_give_build(a.in, &c);
	c = b;
	store_be32(c.frame, BACK_ID + 1);
	fake_give_build(a.in, &c);
	fake_expect_nothing(&a);
	assert_int_equal(fake_dropped(a.relay, DROP_BUILD_REPLAY), 3);
	c = b;
	c.frame[6 + 2 * ONION_HOP_BYTES] ^= 1; /* behind the onion: random, nobody's business */
	fake_give_build(a.in, &c);
	fake_expect(&a, 2, FRAME_BUILD, &f);
	/* Forgotten after 20 minutes, not before. unix_s stands still here, so that the time is
	 * still right. */
	fake_sleep(a.n, 4 * NSEC_PER_SEC);
	while (fake_take(a.n))
		;
	fake_sleep(a.n, (BUILD_REPLAY_SECONDS - 5) * NSEC_PER_SEC);
	fake_give_build(a.in, &b);
	assert_int_equal(fake_dropped(a.relay, DROP_BUILD_REPLAY), 4);
	fake_sleep(a.n, 2 * NSEC_PER_SEC);
	fake_give_build(a.in, &b);
	fake_expect(&a, 2, FRAME_BUILD, &f);
	free_around(&a);
}

static void circuits_checks_the_time(void **state)
{
	(void)state;
	static const struct {
		int off;
		bool ok;
	} table[] = {{-11, false}, {-10, true},	     {0, true},	     {10, true},
		     {11, false},  {-100000, false}, {100000, false}};
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct around a = around_new(4, NULL);
		struct fake_build b;
		struct fake_frame f;
		fake_onion(&a, &b, (const unsigned[]){1, 2}, 2, BACK_ID, 0, table[i].off);
		fake_give_build(a.in, &b);
		if (table[i].ok) {
			fake_expect(&a, 2, FRAME_BUILD, &f);
		} else {
			fake_expect_refusal(&a, &b, BUILD_TIME);
			assert_int_equal(fake_dropped(a.relay, DROP_BUILD_TIME), 1);
			assert_int_equal(a.relay->links.opened, 0);
		}
		free_around(&a);
	}
}

/* X is recorded behind the check of time and before all others. */
static void circuits_records_x_behind_the_time(void **state)
{
	(void)state;
	struct around a = around_new(4, NULL);
	struct fake_build b;
	struct fake_frame f;
	fake_onion(&a, &b, (const unsigned[]){1, 2}, 2, BACK_ID, 0, 11);
	fake_give_build(a.in, &b);
	fake_expect_refusal(&a, &b, BUILD_TIME);
	fake_sleep(a.n, BUILD_REPLY_CACHE_SECONDS * NSEC_PER_SEC);
	a.n->unix_s += 60;
	fake_give_build(a.in, &b);
	fake_expect(&a, 2, FRAME_BUILD, &f);
	a.n->party[2].keyid = 0;
	fake_onion(&a, &b, (const unsigned[]){1, 2}, 2, BACK_ID + 1, 0, 0);
	fake_give_build(a.in, &b);
	fake_expect_refusal(&a, &b, BUILD_NEXT_UNKNOWN);
	fake_sleep(a.n, BUILD_REPLY_CACHE_SECONDS * NSEC_PER_SEC);
	while (fake_take(a.n))
		;
	fake_give_build(a.in, &b);
	fake_expect_nothing(&a);
	assert_int_equal(fake_dropped(a.relay, DROP_BUILD_REPLAY), 1);
	free_around(&a);
}

static void circuits_checks_the_next_hop(void **state)
{
	(void)state;
	struct around a = around_new(5, NULL);
	struct link *from3 = fake_link(a.n, 3, 1, true);
	struct fake_build b;
	struct fake_frame f;
	fake_onion(&a, &b, (const unsigned[]){1, 1}, 2, BACK_ID, 0, 0); /* itself */
	fake_give_build(a.in, &b);
	fake_expect_refusal(&a, &b, BUILD_PROTOCOL);
	fake_onion(&a, &b, (const unsigned[]){1, 3}, 2, BACK_ID, 0, 0); /* where it came from */
	fake_give_build(from3, &b);
	fake_expect(&a, 3, FRAME_BUILD_REPLY, &f);
	struct build_answer answer;
	assert_true(build_open_reply(&b.client, f.data + 8, &answer));
	assert_int_equal(answer.status, BUILD_PROTOCOL);
	a.n->party[4].keyid = 0; /* not in the consensus */
	fake_onion(&a, &b, (const unsigned[]){1, 4}, 2, BACK_ID, 0, 0);
	fake_give_build(a.in, &b);
	fake_expect_refusal(&a, &b, BUILD_NEXT_UNKNOWN);
	assert_int_equal(fake_dropped(a.relay, DROP_BUILD_NEXT), 3);
	assert_int_equal(a.relay->links.opened, 0);
	/* Somebody else's relay is fine, and so is a client whose ID we do not know. */
	fake_onion(&a, &b, (const unsigned[]){1, 3}, 2, BACK_ID, 0, 0);
	fake_give_build(a.in, &b);
	fake_expect(&a, 3, FRAME_BUILD, &f);
	free_around(&a);
}

static void circuits_drops_in_silence(void **state)
{
	(void)state;
	struct around a = around_new(4, NULL);
	struct fake_build good, b;
	fake_onion_through(&a, &good, 2, BACK_ID);
	b = good;
	b.frame[6] ^= 0x40; /* keyid */
	fake_give_build(a.in, &b);
	assert_int_equal(fake_dropped(a.relay, DROP_BUILD_KEYID), 1);
	for (unsigned at = 8; at < 6 + 2 * ONION_HOP_BYTES; at += 17) { /* X, ct, tag */
		b = good;
		b.frame[at] ^= 1;
		fake_sleep(a.n, NSEC_PER_SEC);
		uint64_t before = fake_dropped(a.relay, DROP_BUILD_OPEN);
		fake_give_build(a.in, &b);
		assert_int_equal(fake_dropped(a.relay, DROP_BUILD_OPEN), before + 1);
	}
	static const uint16_t lens[] = {0, 97, 99, 8 * 98 + 1, 9 * 98, 65535};
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		b = good;
		store_be16(b.frame + 4, lens[i]);
		fake_give_build(a.in, &b);
	}
	b = good;
	store_be32(b.frame, 0);
	fake_give_build(a.in, &b);
	assert_int_equal(fake_dropped(a.relay, DROP_BUILD_FORMAT), 7);
	fake_expect_nothing(&a);
	assert_int_equal(a.in->holds, 0);
	/* None of it spoiled the good one. */
	struct fake_frame f;
	fake_give_build(a.in, &good);
	fake_expect(&a, 2, FRAME_BUILD, &f);
	free_around(&a);
}

/* Fields that contradict each other, under a seal that verifies. */
static void circuits_refuses_contradictions(void **state)
{
	(void)state;
	static const struct {
		unsigned at;
		uint8_t value;
	} table[] = {{0, 0}, {0, 3}, {1, 8}, {1, 1}, {40, 1}, {41, 98}, {42, 1}, {47, 1}};
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct around a = around_new(2, NULL);
		struct fake_build b;
		struct hs *hs = &b.client.hs[0];
		uint8_t req[ONION_REQ_BYTES] = {ONION_FLAG_LAST, 2};
		store_be32(req + 4, (uint32_t)(a.n->unix_s / 60));
		req[table[i].at] = table[i].value;
		b.client.hops = 1;
		rng_bytes(&a.n->rng, b.frame, sizeof(b.frame));
		store_be32(b.frame, BACK_ID);
		store_be16(b.frame + 4, ONION_HOP_BYTES);
		store_be16(b.frame + 6, a.relay->keyid);
		assert_int_equal(hs_start(hs, HS_PATH, a.relay->id, a.relay->key.public_key,
					  &a.n->rng, b.frame + 8),
				 0);
		hs_seal_request(hs, req, sizeof(req), b.frame + 40);
		fake_give_build(a.in, &b);
		fake_expect_refusal(&a, &b, BUILD_PROTOCOL);
		assert_int_equal(fake_dropped(a.relay, DROP_BUILD_FORMAT), 1);
		assert_int_equal(circuits_count(a.relay->circuits), 0);
		free_around(&a);
	}
}

static void circuits_passes_on_failures_behind(void **state)
{
	(void)state;
	struct around a = around_new(4, NULL);
	struct fake_build b;
	struct fake_frame f;
	struct build_answer answer;
	fake_onion_through(&a, &b, 3, BACK_ID);
	fake_give_build(a.in, &b);
	fake_expect(&a, 2, FRAME_BUILD, &f);
	fake_play_hop(&a, 2, &f, BUILD_OVERLOAD, 0);
	assert_int_equal(fake_expect_reply(&a, &b, &answer), 0);
	assert_int_equal(answer.failed_hop, 1);
	assert_int_equal(answer.status, BUILD_OVERLOAD);
	assert_int_equal(circuits_count(a.relay->circuits), 0);
	assert_int_equal(slots_count(a.relay->circuit_table), 0);
	assert_int_equal(fake_opened(a.n, 1)->holds, 0);
	fake_expect_nothing(&a);
	free_around(&a);
}

static void circuits_ignores_replies_of_others(void **state)
{
	(void)state;
	struct around a = around_new(5, NULL);
	struct fake_build b, other;
	struct fake_frame f, f3;
	fake_onion_through(&a, &b, 2, BACK_ID);
	fake_give_build(a.in, &b);
	fake_expect(&a, 2, FRAME_BUILD, &f);
	fake_onion(&a, &other, (const unsigned[]){1, 3}, 2, BACK_ID + 1, 0, 0);
	fake_give_build(a.in, &other);
	fake_expect(&a, 3, FRAME_BUILD, &f3);
	struct fake_frame forged = {f3.to->peer, FRAME_BUILD_REPLY, FRAME_BUILD_REPLY_BYTES, {0}};
	memcpy(forged.data, f.data, 4); /* 2's id, from 3 */
	store_be32(forged.data + 4, NEXT_ID);
	fake_give(&forged);
	forged.to = f.to->peer;
	store_be32(forged.data, load_be32(f.data) ^ 0x10000000);
	fake_give(&forged);
	assert_int_equal(fake_dropped(a.relay, DROP_BUILD_REPLY_UNKNOWN), 2);
	fake_expect_nothing(&a);
	assert_int_equal(circuits_pending(a.relay->circuits), 2);
	free_around(&a);
}

/* Which frame is legal where: BUILD on links that others opened, its reply on ours. */
static void circuits_knows_the_side_of_a_link(void **state)
{
	(void)state;
	struct around a = around_new(4, NULL);
	struct fake_build b;
	struct circuit *c = fake_live(&a, &b, BACK_ID, NEXT_ID);
	struct link *out = fake_opened(a.n, 1);
	fake_onion_through(&a, &b, 2, BACK_ID + 1);
	fake_give_build(out, &b);
	struct fake_frame f = {a.in, FRAME_BUILD_REPLY, FRAME_BUILD_REPLY_BYTES, {0}};
	fake_give(&f);
	f = (struct fake_frame){a.in, FRAME_CIRCUIT_CLOSE, 4, {0}};
	store_be32(f.data, c->forward.slot.id);
	f.data[4] = CLOSE_DONE;
	fake_give(&f);
	f = (struct fake_frame){a.in, FRAME_PING, 8, {0}};
	fake_give(&f);
	fake_give_close(a.in, c->forward.slot.id, 0);
	fake_give_close(a.in, c->forward.slot.id, 6);
	assert_int_equal(fake_dropped(a.relay, DROP_CTRL_FORMAT), 6);
	assert_int_equal(circuits_count(a.relay->circuits), 1);
	fake_expect_nothing(&a);
	free_around(&a);
}

static void circuits_keeps_ids_apart(void **state)
{
	(void)state;
	struct around a = around_new(4, NULL);
	struct fake_build b, c;
	fake_live(&a, &b, BACK_ID, NEXT_ID);
	fake_onion_through(&a, &c, 2, BACK_ID);
	fake_give_build(a.in, &c); /* an id that is in use */
	fake_expect_nothing(&a);
	assert_int_equal(fake_dropped(a.relay, DROP_BUILD_FORMAT), 1);
	free_around(&a);
}

static void circuits_closes_from_the_client(void **state)
{
	(void)state;
	struct around a = around_new(4, NULL);
	struct fake_build b;
	struct fake_frame f;
	/* linking: nobody behind knows of it */
	a.relay->links.manual = true;
	fake_onion_through(&a, &b, 2, BACK_ID);
	fake_give_build(a.in, &b);
	fake_give_close(a.in, BACK_ID, CLOSE_DONE);
	struct link *out = fake_opened(a.n, 1);
	assert_int_equal(out->holds, 0);
	fake_up(out);
	fake_expect_nothing(&a);
	/* sent: the next hop knows our backward id */
	fake_onion_through(&a, &b, 2, BACK_ID);
	fake_give_build(a.in, &b);
	fake_expect(&a, 2, FRAME_BUILD, &f);
	fake_give_close(a.in, BACK_ID, CLOSE_DONE);
	fake_expect_close(&a, 2, load_be32(f.data), CLOSE_DONE);
	fake_play_hop(&a, 2, &f, BUILD_OK, NEXT_ID); /* too late */
	assert_int_equal(fake_dropped(a.relay, DROP_BUILD_REPLY_UNKNOWN), 1);
	/* live: our forward id here, the next hop's there */
	struct circuit *c = fake_live(&a, &b, BACK_ID, NEXT_ID);
	fake_give_close(a.in, c->forward.slot.id, CLOSE_OVERLOAD);
	fake_expect_close(&a, 2, NEXT_ID, CLOSE_OVERLOAD);
	/* live, but the client never got the reply */
	fake_live(&a, &b, BACK_ID, NEXT_ID);
	fake_give_close(a.in, BACK_ID, CLOSE_DONE);
	fake_expect_close(&a, 2, NEXT_ID, CLOSE_DONE);
	fake_give_build(a.in, &b); /* closed is closed */
	assert_int_equal(fake_dropped(a.relay, DROP_BUILD_REPLAY), 1);
	fake_expect_nothing(&a);
	assert_int_equal(circuits_count(a.relay->circuits), 0);
	assert_int_equal(slots_count(a.relay->circuit_table), 0);
	assert_int_equal(a.in->holds + out->holds, 0);
	assert_int_equal(fake_grace(a.n), 2);
	free_around(&a);
}

static void circuits_closes_what_failed(void **state)
{
	(void)state;
	struct around a = around_new_with(2, not_exit);
	struct fake_build b;
	fake_onion_through(&a, &b, 1, BACK_ID);
	fake_give_build(a.in, &b);
	fake_expect_refusal(&a, &b, BUILD_NO_EXIT);
	fake_give_close(a.in, BACK_ID, CLOSE_DONE);
	fake_expect_nothing(&a);
	assert_int_equal(a.in->holds, 0);
	fake_give_close(a.in, BACK_ID, CLOSE_DONE);
	assert_int_equal(fake_dropped(a.relay, DROP_CIRCUIT_UNKNOWN), 1);
	free_around(&a);
}

static void circuits_closes_from_behind(void **state)
{
	(void)state;
	struct around a = around_new(4, NULL);
	struct fake_build b;
	struct fake_frame f;
	/* before it answered: we answer */
	fake_onion_through(&a, &b, 2, BACK_ID);
	fake_give_build(a.in, &b);
	fake_expect(&a, 2, FRAME_BUILD, &f);
	fake_give_close(fake_opened(a.n, 1), load_be32(f.data), CLOSE_OVERLOAD);
	fake_expect_refusal(&a, &b, BUILD_NEXT_DOWN);
	struct circuit *c = fake_live(&a, &b, BACK_ID, NEXT_ID);
	fake_give_close(fake_opened(a.n, 1), c->backward.slot.id, CLOSE_OVERLOAD);
	fake_expect_close(&a, 0, BACK_ID, CLOSE_OVERLOAD);
	fake_expect_nothing(&a);
	assert_int_equal(slots_count(a.relay->circuit_table), 0);
	free_around(&a);
}

/* An id is worth something only on the link that it belongs to. */
static void circuits_does_not_close_for_strangers(void **state)
{
	(void)state;
	struct around a = around_new(5, NULL);
	struct link *stranger = fake_link(a.n, 0, 1, false);
	struct fake_build b;
	struct fake_frame f;
	struct circuit *c = fake_live(&a, &b, BACK_ID, NEXT_ID);
	struct link *out = fake_opened(a.n, 1);
	fake_give_close(stranger, c->forward.slot.id, CLOSE_DONE);
	fake_give_close(stranger, BACK_ID, CLOSE_DONE);
	fake_give_close(stranger, c->backward.slot.id, CLOSE_DONE);
	fake_give_close(out, c->forward.slot.id, CLOSE_DONE);
	fake_give_close(a.in, c->backward.slot.id, CLOSE_DONE);
	fake_give_close(a.in, 0, CLOSE_DONE);
	assert_int_equal(fake_dropped(a.relay, DROP_CIRCUIT_UNKNOWN), 6);
	fake_onion(&a, &b, (const unsigned[]){1, 3}, 2, BACK_ID + 1, 0, 0);
	fake_give_build(a.in, &b);
	fake_expect(&a, 3, FRAME_BUILD, &f);
	fake_give_close(out, load_be32(f.data), CLOSE_DONE);
	fake_give_close(stranger, BACK_ID + 1, CLOSE_DONE);
	assert_int_equal(fake_dropped(a.relay, DROP_CIRCUIT_UNKNOWN), 8);
	fake_expect_nothing(&a);
	assert_int_equal(circuits_count(a.relay->circuits), 2);
	free_around(&a);
}

static void circuits_answers_for_links_that_fail(void **state)
{
	(void)state;
	struct around a = around_new(4, NULL);
	struct fake_build b;
	struct fake_frame f;
	a.relay->links.manual = true;
	fake_onion_through(&a, &b, 2, BACK_ID);
	fake_give_build(a.in, &b);
	fake_fail(fake_opened(a.n, 1), -ETIMEDOUT);
	fake_expect_refusal(&a, &b, BUILD_NEXT_DOWN);
	a.relay->links.manual = false;
	fake_onion_through(&a, &b, 2, BACK_ID);
	fake_give_build(a.in, &b);
	fake_expect(&a, 2, FRAME_BUILD, &f);
	fake_dead(fake_opened(a.n, 1));
	fake_expect_refusal(&a, &b, BUILD_NEXT_DOWN);
	fake_live(&a, &b, BACK_ID, NEXT_ID);
	fake_dead(fake_opened(a.n, 1));
	fake_expect_close(&a, 0, BACK_ID, CLOSE_NEXT_DOWN);
	static const struct {
		int err;
		enum build_status status;
	} table[] = {
		{-ENOSPC, BUILD_OVERLOAD}, {-ENOMEM, BUILD_OVERLOAD}, {-EPROTO, BUILD_NEXT_DOWN}};
	for (unsigned i = 0; i < 3; i++) {
		a.relay->links.refuse = table[i].err;
		fake_onion_through(&a, &b, 2, BACK_ID);
		fake_give_build(a.in, &b);
		fake_expect_refusal(&a, &b, table[i].status);
	}
	fake_expect_nothing(&a);
	assert_int_equal(slots_count(a.relay->circuit_table), 0);
	free_around(&a);
}

static void circuits_ends_with_the_clients_link(void **state)
{
	(void)state;
	struct around a = around_new(4, NULL);
	struct fake_build b;
	struct fake_frame f;
	struct circuit *c = fake_live(&a, &b, BACK_ID, NEXT_ID);
	assert_non_null(c);
	fake_onion_through(&a, &b, 1, BACK_ID + 1);
	fake_give_build(a.in, &b);
	fake_expect(&a, 0, FRAME_BUILD_REPLY, &f);
	fake_onion_through(&a, &b, 2, BACK_ID + 2);
	fake_give_build(a.in, &b);
	fake_expect(&a, 2, FRAME_BUILD, &f);
	fake_dead(a.in);
	fake_expect_close(&a, 2, NEXT_ID, CLOSE_DONE);
	fake_expect_close(&a, 2, load_be32(f.data), CLOSE_DONE);
	fake_expect_nothing(&a);
	assert_int_equal(a.relay->ends_gone, 1);
	assert_int_equal(a.in->holds, 0);
	assert_int_equal(slots_count(a.relay->circuit_table), 0);
	free_around(&a);
}

/* A drained link dies with its last circuit, in the middle of our own work. */
static void circuits_survives_links_that_end_when_let_go(void **state)
{
	(void)state;
	struct around a = around_new(4, NULL);
	struct fake_build b;
	struct fake_frame f;
	struct circuit *c = fake_live(&a, &b, BACK_ID, NEXT_ID);
	a.in->drained = fake_opened(a.n, 1)->drained = true;
	fake_give_close(a.in, c->forward.slot.id, CLOSE_DONE);
	assert_true(a.in->dead && fake_opened(a.n, 1)->dead);
	fake_expect_close(&a, 2, NEXT_ID, CLOSE_DONE);
	/* A new BUILD takes the place of one that failed, which held the link. */
	a.in = fake_link(a.n, 0, 1, false);
	a.n->party[2].keyid = 0;
	fake_onion_through(&a, &b, 2, BACK_ID);
	fake_give_build(a.in, &b);
	fake_expect_refusal(&a, &b, BUILD_NEXT_UNKNOWN);
	a.in->drained = true;
	fake_onion_through(&a, &b, 2, BACK_ID);
	fake_give_build(a.in, &b);
	fake_expect_refusal(&a, &b, BUILD_NEXT_UNKNOWN);
	fake_sleep(a.n, BUILD_REPLY_CACHE_SECONDS * NSEC_PER_SEC);
	assert_true(a.in->dead);
	/* The next hop's link ends when a pending one is answered for. */
	a.in = fake_link(a.n, 0, 1, false);
	fake_onion(&a, &b, (const unsigned[]){1, 3}, 2, BACK_ID, 0, 0);
	fake_give_build(a.in, &b);
	fake_expect(&a, 3, FRAME_BUILD, &f);
	fake_opened(a.n, 1)->drained = true;
	fake_give_close(fake_opened(a.n, 1), load_be32(f.data), CLOSE_DONE);
	fake_expect_refusal(&a, &b, BUILD_NEXT_DOWN);
	free_around(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(circuits_forwards_and_publishes),
		cmocka_unit_test(circuits_ends_a_path),
		cmocka_unit_test(circuits_says_no_exit),
		cmocka_unit_test(circuits_repeats_the_same_bytes),
		cmocka_unit_test(circuits_keeps_failures_for_repeats),
		cmocka_unit_test(circuits_drops_replays),
		cmocka_unit_test(circuits_checks_the_time),
		cmocka_unit_test(circuits_records_x_behind_the_time),
		cmocka_unit_test(circuits_checks_the_next_hop),
		cmocka_unit_test(circuits_drops_in_silence),
		cmocka_unit_test(circuits_refuses_contradictions),
		cmocka_unit_test(circuits_passes_on_failures_behind),
		cmocka_unit_test(circuits_ignores_replies_of_others),
		cmocka_unit_test(circuits_knows_the_side_of_a_link),
		cmocka_unit_test(circuits_keeps_ids_apart),
		cmocka_unit_test(circuits_closes_from_the_client),
		cmocka_unit_test(circuits_closes_what_failed),
		cmocka_unit_test(circuits_closes_from_behind),
		cmocka_unit_test(circuits_does_not_close_for_strangers),
		cmocka_unit_test(circuits_answers_for_links_that_fail),
		cmocka_unit_test(circuits_ends_with_the_clients_link),
		cmocka_unit_test(circuits_survives_links_that_end_when_let_go),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
