/* tests/unit/fake_build.c - see fake_build.h. */
#include "unit/fake_build.h"
#include "base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

struct around around_new(unsigned parties, const struct circuits_config *c)
{
	struct around a = {.n = fake_net_new(parties, 1)};
	fake_relay(a.n, 1, c);
	a.relay = &a.n->party[1];
	a.in = fake_link(a.n, 0, 1, false);
	return a;
}

struct around around_new_with(unsigned parties, void (*change)(struct circuits_config *c))
{
	struct around a = {.n = fake_net_new(parties, 1)};
	struct circuits_config c = fake_relay_config(a.n, 1);
	change(&c);
	fake_relay(a.n, 1, &c);
	a.relay = &a.n->party[1];
	a.in = fake_link(a.n, 0, 1, false);
	return a;
}

void fake_onion(struct around *a, struct fake_build *b, const unsigned *parties, unsigned hops,
		uint32_t back_id, uint16_t lifetime_s, int minutes_off)
{
	struct build_hop hop[HOPS_MAX];
	for (unsigned i = 0; i < hops; i++) {
		const struct fake_party *p = &a->n->party[parties[i]];
		memcpy(hop[i].id, p->id, 32);
		memcpy(hop[i].onion_key, p->key.public_key, 32);
		hop[i].keyid = p->keyid;
	}
	uint16_t len;
	uint32_t minutes = (uint32_t)((int64_t)(a->n->unix_s / 60) + minutes_off);
	assert_int_equal(build_onion(&b->client, hop, hops, lifetime_s, minutes, &a->n->rng,
				     b->frame + 6, &len),
			 0);
	store_be32(b->frame, back_id);
	store_be16(b->frame + 4, len);
}

void fake_onion_through(struct around *a, struct fake_build *b, unsigned hops, uint32_t back_id)
{
	const unsigned parties[HOPS_MAX] = {1, 2, 3, 4, 5, 6, 7, 8};
	fake_onion(a, b, parties, hops, back_id, 0, 0);
}

void fake_give_build(struct link *in, const struct fake_build *b)
{
	struct fake_frame f = {in, FRAME_BUILD, FRAME_BUILD_BYTES, {0}};
	memcpy(f.data, b->frame, f.n);
	fake_give(&f);
}

void fake_expect(struct around *a, unsigned party, enum frame_type type, struct fake_frame *ret)
{
	const struct fake_frame *f = fake_take(a->n);
	assert_non_null(f);
	assert_int_equal(f->type, type);
	assert_ptr_equal(f->to->owner, &a->n->party[party]);
	*ret = *f;
}

void fake_expect_nothing(struct around *a)
{
	assert_null(fake_take(a->n));
}

void fake_expect_close(struct around *a, unsigned party, uint32_t id, enum close_reason why)
{
	struct fake_frame f;
	fake_expect(a, party, FRAME_CIRCUIT_CLOSE, &f);
	assert_int_equal(load_be32(f.data), id);
	assert_int_equal(f.data[4], why);
}

void fake_give_close(struct link *l, uint32_t id, uint8_t why)
{
	struct fake_frame f = {l, FRAME_CIRCUIT_CLOSE, FRAME_CIRCUIT_CLOSE_BYTES, {0}};
	store_be32(f.data, id);
	f.data[4] = why;
	fake_give(&f);
}

void fake_play_hop(struct around *a, unsigned p, const struct fake_frame *build,
		   enum build_status status, uint32_t forward_id)
{
	struct fake_party *hop = &a->n->party[p];
	struct build_request req;
	struct hs hs;
	uint8_t y[32];
	uint16_t len = load_be16(build->data + 4);
	assert_int_equal(
		build_peel(&hs, hop->id, &hop->key, build->data + 6, len, &a->n->rng, &req),
		PEEL_OK);
	assert_int_equal(hs_reply_start(&hs, &a->n->rng, y), 0);
	struct fake_frame f = {build->to->peer, FRAME_BUILD_REPLY, FRAME_BUILD_REPLY_BYTES, {0}};
	memcpy(f.data, build->data, 4);
	store_be32(f.data + 4, forward_id);
	build_seal_reply(&hs, y, status, 1380, 555, NULL, len / ONION_HOP_BYTES, &a->n->rng,
			 f.data + 8);
	fake_give(&f);
}

uint32_t fake_expect_reply(struct around *a, struct fake_build *b, struct build_answer *ret)
{
	struct fake_frame f;
	fake_expect(a, 0, FRAME_BUILD_REPLY, &f);
	assert_memory_equal(f.data, b->frame, 4); /* the backward id, echoed */
	assert_true(build_open_reply(&b->client, f.data + 8, ret));
	return load_be32(f.data + 4);
}

void fake_expect_refusal(struct around *a, struct fake_build *b, enum build_status status)
{
	struct build_answer answer;
	assert_int_equal(fake_expect_reply(a, b, &answer), 0);
	assert_int_equal(answer.failed_hop, 0);
	assert_int_equal(answer.status, status);
	build_answer_done(&answer);
}

struct circuit *fake_live(struct around *a, struct fake_build *b, uint32_t back_id,
			  uint32_t next_forward_id)
{
	struct fake_frame f;
	struct build_answer answer;
	fake_onion_through(a, b, 2, back_id);
	fake_give_build(a->in, b);
	fake_expect(a, 2, FRAME_BUILD, &f);
	fake_play_hop(a, 2, &f, BUILD_OK, next_forward_id);
	uint32_t id = fake_expect_reply(a, b, &answer);
	assert_int_equal(answer.failed_hop, 2);
	build_answer_done(&answer);
	struct hop_dir *d = (struct hop_dir *)(void *)slots_find(a->relay->circuit_table, id);
	assert_non_null(d);
	return d->owner;
}
