/* onion/circuits_reply.c - a relay answers BUILD: keys, struct circuit, BUILD_REPLY, and its copy
 * for repeats. */
#include "onion/circuits_state.h"
#include "base/bytes.h"
#include "crypto/kdf.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define COUNTER_START_MASK ((UINT64_C(1) << 47) - 1) /* counters start at a random 47-bit value */

void circuits_keep_reply(struct circuits *s, struct build *b)
{
	if (s->nkept >= s->cfg.replies_most)
		circuits_forget_build(s, TAILQ_FIRST(&s->kept));
	b->forget_at = s->now + BUILD_REPLY_CACHE_SECONDS * NSEC_PER_SEC;
	TAILQ_INSERT_TAIL(&s->kept, b, kept);
	s->nkept++;
}

static void send_reply(struct circuits *s, struct record *r)
{
	circuits_keep_reply(s, r->build);
	circuits_send(s, r->back, FRAME_BUILD_REPLY, r->build->frame, FRAME_BUILD_REPLY_BYTES);
}

/* What to say of ourselves. */
struct word {
	enum build_status status;
	uint16_t max_dgram;
	uint32_t lifetime_s;
	uint32_t forward_id; /* 0: no circuit stands here */
};

/* Write the reply over the BUILD; the handshake is wiped but for h, which goes to ret_h unless
 * NULL. */
static void seal_reply(struct circuits *s, struct record *r, const uint8_t y[32],
		       const struct word *word, const uint8_t *inner, uint8_t *ret_h)
{
	struct build *b = r->build;
	uint8_t *frame = b->frame;
	build_seal_reply(&b->hs, y, word->status, word->max_dgram, word->lifetime_s, inner,
			 b->hops_left, s->cfg.env->rng, frame + 8);
	store_be32(frame, r->back_id);
	store_be32(frame + 4, word->forward_id);
	if (ret_h)
		memcpy(ret_h, b->hs.h, 32);
	hs_done(&b->hs);
}

/* Answer without a circuit of ours: our own failure, or (inner) the word of those behind who have
 * none. */
static void answer_empty(struct circuits *s, struct record *r, enum build_status status,
			 const uint8_t *inner)
{
	uint8_t y[32];
	if (hs_reply_start(&r->build->hs, s->cfg.env->rng, y) < 0) { /* X is of small order */
		circuits_drop(s, DROP_BUILD_OPEN);
		circuits_record_end(s, r);
		return;
	}
	seal_reply(s, r, y, &(struct word){.status = status}, inner, NULL);
	circuits_let_go(s, r);
	circuits_set_state(s, r, RECORD_ANSWERED);
	send_reply(s, r);
}

void circuits_refuse(struct circuits *s, struct record *r, enum build_status status)
{
	answer_empty(s, r, status, NULL);
}

/* circuits */

static void set_forward(struct circuit *c, const struct record *r, const struct path_keys *k,
			uint32_t out_id)
{
	struct hop_dir *d = &c->forward;
	d->slot.id = r->forward_id;
	d->kind = c->last ? HOP_END_FORWARD : HOP_FORWARD;
	d->in = link_data_of(r->back->link);
	d->out = c->last ? NULL : link_data_of(r->next->link);
	d->out_id = out_id;
	d->fill = r->build->fill;
	d->key = &c->kf;
	d->offset = k->df;
	d->owner = c;
	replay_init(&d->window);
}

static void set_backward(struct circuit *c, const struct record *r, const struct path_keys *k)
{
	struct hop_dir *d = &c->backward;
	d->slot.id = r->backward_id;
	d->kind = HOP_BACKWARD;
	d->in = link_data_of(r->next->link);
	d->out = link_data_of(r->back->link);
	d->out_id = r->back_id;
	d->fill = (uint8_t)(r->build->fill +
			    1); /* what comes in from behind has one slot more of filler */
	d->key = &c->kb;
	d->offset = k->db;
	d->owner = c;
	replay_init(&d->window);
}

/* Where a path ends we seal: counters, the least size that every path carries, the link back. */
static void set_end(struct circuits *s, struct circuit *c, const struct record *r,
		    const struct path_keys *k)
{
	c->back_link = link_data_of(r->back->link);
	c->back_id = r->back_id;
	c->db = k->db;
	atomic_init(&c->full_dgram, DATAGRAM_FULL_LEAST);
	atomic_init(&c->padding, PAD_BUCKET);
	c->sealed_first = rng_u64(s->cfg.env->rng) & COUNTER_START_MASK;
	atomic_init(&c->sealed, c->sealed_first);
}

static void fill_circuit(struct circuits *s, struct record *r, const struct path_keys *k,
			 uint32_t out_id)
{
	struct circuit *c = r->c;
	c->control = r;
	c->last = !r->next;
	aead_key_init(&c->kf, s->cfg.env->aead, k->kf, k->ivf);
	aead_key_init(&c->kb, s->cfg.env->aead, k->kb, k->ivb);
	set_forward(c, r, k, out_id);
	if (c->last)
		set_end(s, c, r, k);
	else
		set_backward(c, r, k);
}

/* From here on the workers see it. */
static void go_live(struct circuits *s, struct record *r)
{
	struct slots *t = s->cfg.env->circuits;
	index_remove(&s->by_ours, &r->build->by_ours);
	if (!r->c->last)
		slots_publish(t, r->backward_id, &r->c->backward.slot);
	slots_publish(t, r->forward_id, &r->c->forward.slot);
	circuits_set_state(s, r, RECORD_LIVE);
	r->idle_since = s->now;
	r->idle_count = r->c->last ? r->c->sealed_first : 0;
	circuits_set_live_timer(s, r);
	send_reply(s, r);
}

static void set_lifetime(struct circuits *s, struct record *r)
{
	const struct periods *p = s->cfg.env->periods;
	r->expires = s->now + ((nsec_t)r->build->lifetime_s + p->path_grace_s) * NSEC_PER_SEC;
	r->ungranted_at = r->next ? NSEC_NEVER : s->now + p->circuit_ungranted_s * NSEC_PER_SEC;
}

static struct word good_word(const struct record *r)
{
	uint16_t max_dgram = link_data_of(r->back->link)->max_dgram;
	if (r->next && link_data_of(r->next->link)->max_dgram < max_dgram)
		max_dgram = link_data_of(r->next->link)->max_dgram;
	return (struct word){BUILD_OK, max_dgram, r->build->lifetime_s, r->forward_id};
}

/* Keys from the handshake into a new circuit. False: answered with a failure; r is not to be
 * touched. */
static bool make_circuit(struct circuits *s, struct record *r, uint32_t out_id, uint8_t y[32],
			 uint8_t ret_res[32])
{
	struct path_keys keys;
	r->c = calloc(1, sizeof(*r->c));
	if (!r->c) {
		circuits_drop(s, DROP_NO_MEMORY);
		if (r->next)
			circuits_say_close(s, r, r->next, CLOSE_OVERLOAD);
		circuits_refuse(s, r, BUILD_OVERLOAD);
		return false;
	}
	if (hs_reply_start(&r->build->hs, s->cfg.env->rng, y) < 0) {
		circuits_drop(s, DROP_BUILD_OPEN);
		circuits_close(s, r, 0, CLOSE_PROTOCOL);
		return false;
	}
	hs_path_keys(&r->build->hs, &keys);
	fill_circuit(s, r, &keys, out_id);
	if (ret_res)
		memcpy(ret_res, keys.resume, 32);
	wipe(&keys, sizeof(keys));
	set_lifetime(s, r);
	return true;
}

/* The end said no: its keys were never used. The answer gets a fresh y, so that no key seals twice.
 */
static void refuse_end(struct circuits *s, struct record *r, const struct hs *fresh)
{
	aead_key_done(&r->c->kf);
	aead_key_done(&r->c->kb);
	wipe(r->c, sizeof(*r->c));
	free(r->c);
	r->c = NULL;
	r->build->hs = *fresh;
	circuits_refuse(s, r, BUILD_NO_EXIT);
}

void circuits_answer_last(struct circuits *s, struct record *r)
{
	if (!s->cfg.is_exit) {
		circuits_refuse(s, r, BUILD_NO_EXIT);
		return;
	}
	struct hs fresh = r->build->hs;
	uint8_t y[32], h[32], res[32];
	if (make_circuit(s, r, 0, y, res)) {
		struct word word = good_word(r);
		seal_reply(s, r, y, &word, NULL, h);
		r->end_taken = s->cfg.ops.on_end(s->cfg.ops.arg, r->c, h, res, s->now);
		if (r->end_taken)
			go_live(s, r);
		else
			refuse_end(s, r, &fresh);
	}
	wipe(res, sizeof(res));
	hs_done(&fresh);
}

static struct record *find_pending(const struct circuits *s, const struct link *l, uint32_t ours)
{
	struct index_node *n = index_find(&s->by_ours, ours, NULL);
	if (!n)
		return NULL;
	struct record *r =
		((struct build *)(void *)((char *)n - offsetof(struct build, by_ours)))->record;
	return r->next->link == l && r->state == RECORD_SENT ? r : NULL;
}

void circuits_on_reply(struct circuits *s, struct link *l, const uint8_t *data)
{
	struct record *r = find_pending(s, l, load_be32(data));
	uint32_t forward_id = load_be32(data + 4);
	const uint8_t *inner = data + 8;
	if (!r) {
		circuits_drop(s, DROP_BUILD_REPLY_UNKNOWN);
		return;
	}
	if (forward_id ==
	    0) { /* those behind have no circuit; what went wrong is for the client to read */
		answer_empty(s, r, BUILD_OK, inner);
		return;
	}
	uint8_t y[32];
	if (!make_circuit(s, r, forward_id, y, NULL))
		return;
	struct word word = good_word(r);
	seal_reply(s, r, y, &word, inner, NULL);
	go_live(s, r);
}
