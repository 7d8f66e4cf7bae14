/* onion/circuits_build.c - a relay gets BUILD: PROTOCOL.md section 5, step by step in the paper's
 * order. */
#include "onion/circuits_state.h"
#include "base/bytes.h"
#include "crypto/kdf.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define SKEW_MOST_MINUTES CLOCK_SKEW_MINUTES
#define WAIT_NSEC	  (3250 * NSEC_PER_MSEC)
#define WAIT_HOP_NSEC	  (250 * NSEC_PER_MSEC)

/* One BUILD as it came in. */
struct arrival {
	struct link_use *from;
	uint32_t back_id;
	uint16_t onion_len;
	const uint8_t *field;
	uint16_t keyid;
	uint8_t x[32];
	uint8_t h_x[HASH_BYTES];
	uint8_t h_onion[HASH_BYTES];
};

static bool is_client(const struct arrival *a)
{
	return !link_is_relay(a->from->link);
}

/* At most one second's worth at once, then one each 1/rate (the generic cell rate algorithm). */
static bool take_rate(struct circuits *s, const struct arrival *a)
{
	struct link_use *ls = a->from;
	nsec_t gap =
		NSEC_PER_SEC / (is_client(a) ? BUILDS_PER_S_CLIENT_LINK : BUILDS_PER_S_RELAY_LINK);
	nsec_t at = ls->rate_at > s->now ? ls->rate_at : s->now;
	if (at + gap - s->now > NSEC_PER_SEC)
		return false;
	ls->rate_at = at + gap;
	return true;
}

static bool is_repeat_of(const struct arrival *a, const struct build *b)
{
	return b->record->back == a->from && b->record->back_id == a->back_id &&
	       memcmp(b->x, a->x, 32) == 0 && memcmp(b->h_onion, a->h_onion, HASH_BYTES) == 0;
}

static uint64_t x_key(const uint8_t h_x[HASH_BYTES])
{
	return load_be64(h_x + BUILD_REPLAY_KEY_BYTES); /* other bytes than the replay cache's */
}

static struct build *find_repeated(const struct circuits *s, const struct arrival *a)
{
	struct index_node *n = NULL;
	while ((n = index_find(&s->by_x, x_key(a->h_x), n))) {
		struct build *b =
			(struct build *)(void *)((char *)n - offsetof(struct build, by_x));
		if (is_repeat_of(a, b))
			return b;
	}
	return NULL;
}

/* The same bytes forward again, or the reply that we gave. One that waits for its link goes on
 * waiting. */
static void repeat(struct circuits *s, struct build *b)
{
	struct record *r = b->record;
	if (r->state == RECORD_LINKING)
		return;
	if (r->state != RECORD_SENT) {
		circuits_send(s, r->back, FRAME_BUILD_REPLY, b->frame, FRAME_BUILD_REPLY_BYTES);
		return;
	}
	if (b->resends >= BUILD_RESENDS_MOST) {
		circuits_drop(s, DROP_BUILD_REPEAT);
		return;
	}
	b->resends++;
	circuits_send(s, r->next, FRAME_BUILD, b->frame, FRAME_BUILD_BYTES);
	link_probe(r->next->link, s->now);
}

static uint64_t back_key(const struct arrival *a)
{
	return (uint64_t)link_data_of(a->from->link)->slot.id << 32 | a->back_id;
}

/* An id names one circuit on one link. What failed has given it back. */
static bool back_id_is_free(struct circuits *s, const struct arrival *a)
{
	struct index_node *n = index_find(&s->by_back, back_key(a), NULL);
	if (!n)
		return true;
	struct build *b = (struct build *)(void *)((char *)n - offsetof(struct build, by_back));
	if (b->record->state != RECORD_ANSWERED)
		return false;
	circuits_forget_build(s, b);
	return true;
}

static bool time_is_right(const struct circuits *s, uint32_t time_min)
{
	int64_t diff = (int64_t)(s->cfg.ops.unix_seconds(s->cfg.ops.arg) / 60) - time_min;
	return diff >= -SKEW_MOST_MINUTES && diff <= SKEW_MOST_MINUTES;
}

/* Full means refused, clients first: from 90 % on. */
static enum drop insert_x(struct circuits *s, const struct arrival *a)
{
	uint64_t count = build_replay_count(s->replay), most = s->cfg.replay_entries;
	if (is_client(a) && count * 10 >= most * 9)
		return DROP_BUILD_REPLAY_FULL;
	int err = build_replay_add(s->replay, a->h_x, s->now);
	if (err < 0)
		return err == -ENOSPC ? DROP_BUILD_REPLAY_FULL : DROP_NO_MEMORY;
	return DROP_NONE;
}

static enum build_status find_next(struct circuits *s, const struct arrival *a,
				   const struct build_request *req, struct link_target *ret)
{
	bool back = !is_client(a) && memcmp(link_id_of(a->from->link), req->id_next, 32) == 0;
	if (back || memcmp(s->cfg.id, req->id_next, 32) == 0)
		return BUILD_PROTOCOL;
	if (!s->cfg.ops.find_relay(s->cfg.ops.arg, req->id_next, ret))
		return BUILD_NEXT_UNKNOWN;
	return BUILD_OK;
}

/* The limits of section 9. Shared ones refuse from 90 % on; what one client may have, it may have
 * whole. */
static enum drop check_limits(struct circuits *s, const struct arrival *a, bool last)
{
	if (s->draining)
		return DROP_CIRCUITS_FULL;
	if (!last && (uint64_t)s->pending * 10 >= (uint64_t)s->cfg.pending_most * 9)
		return DROP_BUILD_PENDING_FULL;
	if (is_client(a) && a->from->circuits >= CIRCUITS_PER_CLIENT_LINK)
		return DROP_CIRCUITS_PER_LINK;
	return circuits_make_room(s) ? DROP_NONE : DROP_CIRCUITS_FULL;
}

/* From the opened layer to the limits. DROP_NONE, or why not, with the status to answer with. */
static enum drop judge(struct circuits *s, const struct arrival *a, enum peel peeled,
		       const struct build_request *req, struct link_target *ret_next,
		       enum build_status *ret)
{
	*ret = BUILD_TIME;
	if (peeled == PEEL_OK && !time_is_right(s, req->time_min))
		return DROP_BUILD_TIME;
	*ret = BUILD_OVERLOAD;
	enum drop why = insert_x(s, a);
	if (why != DROP_NONE)
		return why;
	*ret = BUILD_PROTOCOL;
	if (peeled != PEEL_OK)
		return DROP_BUILD_FORMAT;
	*ret = req->last ? BUILD_OK : find_next(s, a, req, ret_next);
	if (*ret != BUILD_OK)
		return DROP_BUILD_NEXT;
	*ret = BUILD_OVERLOAD;
	return check_limits(s, a, req->last);
}

static uint32_t granted_lifetime(const struct circuits *s, uint16_t asked_s)
{
	const struct periods *p = s->cfg.env->periods;
	uint32_t s_wanted = asked_s ? asked_s : p->path_lifetime_s;
	return s_wanted < p->path_lifetime_max_s ? s_wanted : p->path_lifetime_max_s;
}

/* The ids that we choose, and the time that we wait. -ENOSPC, -ENOMEM. */
static int reserve(struct circuits *s, struct record *r, bool last)
{
	const struct onion_env *env = s->cfg.env;
	int err = slots_reserve(env->circuits, env->rng, &r->forward_id);
	if (err == 0 && !last)
		err = slots_reserve(env->circuits, env->rng, &r->backward_id);
	if (err == 0)
		err = heap_set(&s->timers, &r->timer,
			       s->now + WAIT_NSEC + r->build->hops_left * WAIT_HOP_NSEC);
	return err;
}

static int next_link(struct circuits *s, const struct link_target *t, struct link_use **ret)
{
	struct link *l = links_find(s->cfg.links, t->id);
	int err = l ? 0 : links_open(s->cfg.links, t, s->now, &l);
	if (err < 0)
		return err;
	*ret = circuits_link_use(s, l);
	return *ret ? 0 : -ENOMEM;
}

static void write_forward(struct record *r, const struct build_request *req)
{
	struct writer w;
	writer_init(&w, r->build->frame, sizeof(r->build->frame));
	writer_u32(&w, r->backward_id);
	writer_u16(&w, req->inner_len);
	writer_put(&w, req->field, ONION_FIELD_BYTES);
}

void circuits_forward(struct circuits *s, struct record *r)
{
	circuits_set_state(s, r, RECORD_SENT);
	circuits_send(s, r->next, FRAME_BUILD, r->build->frame, FRAME_BUILD_BYTES);
}

/* State and forward. An error becomes an answer. */
static int accept_middle(struct circuits *s, struct record *r, const struct build_request *req,
			 const struct link_target *target)
{
	struct link_use *next = NULL;
	int err = reserve(s, r, false);
	if (err == 0)
		err = next_link(s, target, &next);
	if (err < 0)
		return err;
	circuits_set_next(s, r, next);
	index_add(&s->by_ours, &r->build->by_ours, r->backward_id);
	write_forward(r, req);
	circuits_set_state(s, r, RECORD_LINKING);
	if (link_is_up(next->link))
		circuits_forward(s, r);
	return 0;
}

static void accept_build(struct circuits *s, struct record *r, const struct build_request *req,
			 const struct link_target *target)
{
	int err = req->last ? reserve(s, r, true) : accept_middle(s, r, req, target);
	if (err < 0) {
		circuits_drop(s, err == -ENOMEM	  ? DROP_NO_MEMORY
				 : err == -ENOSPC ? DROP_CIRCUITS_FULL
						  : DROP_BUILD_NEXT);
		circuits_refuse(
			s, r, err == -ENOMEM || err == -ENOSPC ? BUILD_OVERLOAD : BUILD_NEXT_DOWN);
		return;
	}
	if (req->last)
		circuits_answer_last(s, r);
}

/* Enter b into the indexes, so that a repeat finds it whatever the answer will be. */
static struct record *begin_record(struct circuits *s, const struct arrival *a, struct build *b,
				   const struct build_request *req)
{
	struct record *r = circuits_record_new(s, a->from, b, a->back_id);
	if (!r)
		return NULL;
	memcpy(b->x, a->x, sizeof(b->x));
	memcpy(b->h_onion, a->h_onion, sizeof(b->h_onion));
	b->hops_left = a->onion_len / ONION_HOP_BYTES;
	b->fill = req->fill;
	b->lifetime_s = granted_lifetime(s, req->lifetime_s);
	index_add(&s->by_x, &b->by_x, x_key(a->h_x));
	index_add(&s->by_back, &b->by_back, back_key(a));
	return r;
}

static void discard(struct circuits *s, struct build *b, enum drop why)
{
	circuits_drop(s, why);
	if (b)
		wipe(b, sizeof(*b));
	free(b);
}

/* DH and open, and all that follows. */
static void open_build(struct circuits *s, const struct arrival *a, const struct onion_keypair *key)
{
	struct build_request req = {0};
	struct link_target target = {0};
	struct build *b = calloc(1, sizeof(*b));
	if (!b) {
		discard(s, b, DROP_NO_MEMORY);
		return;
	}
	enum peel peeled =
		build_peel(&b->hs, s->cfg.id, key, a->field, a->onion_len, s->cfg.env->rng, &req);
	if (peeled != PEEL_OK && peeled != PEEL_FORMAT) {
		discard(s, b, DROP_BUILD_OPEN);
		return;
	}
	enum build_status status;
	enum drop why = judge(s, a, peeled, &req, &target, &status);
	struct record *r = begin_record(s, a, b, &req);
	if (!r) {
		discard(s, b, DROP_NO_MEMORY);
		return;
	}
	if (why == DROP_NONE) {
		accept_build(s, r, &req, &target);
		return;
	}
	circuits_drop(s, why);
	circuits_refuse(s, r, status);
}

static bool read_arrival(struct circuits *s, struct link *l, const uint8_t *data,
			 struct arrival *ret)
{
	struct reader r;
	reader_init(&r, data, FRAME_BUILD_BYTES);
	ret->back_id = reader_u32(&r);
	ret->onion_len = reader_u16(&r);
	ret->field = reader_take(&r, ONION_FIELD_BYTES);
	if (!reader_done(&r) || ret->back_id == 0 ||
	    !build_peek(ret->field, ret->onion_len, &ret->keyid, ret->x)) {
		circuits_drop(s, DROP_BUILD_FORMAT);
		return false;
	}
	ret->from = circuits_link_use(s, l);
	if (!ret->from)
		circuits_drop(s, DROP_NO_MEMORY);
	return ret->from != NULL;
}

/* The link is held meanwhile: closing another circuit on it, to make room, must not end it. */
static void consider(struct circuits *s, const struct arrival *a, const struct onion_keypair *key)
{
	struct link *l = a->from->link;
	link_hold(l, s->now);
	if (back_id_is_free(s, a))
		open_build(s, a, key);
	else
		circuits_drop(s, DROP_BUILD_FORMAT);
	link_release(l, s->now);
}

void circuits_on_build(struct circuits *s, struct link *l, const uint8_t *data)
{
	struct arrival a;
	if (!read_arrival(s, l, data, &a))
		return;
	if (!take_rate(s, &a)) {
		circuits_drop(s, DROP_BUILD_RATE);
		return;
	}
	hash(a.h_x, a.x, sizeof(a.x));
	hash(a.h_onion, a.field, a.onion_len);
	struct build *repeated = find_repeated(s, &a);
	if (repeated) {
		repeat(s, repeated);
		return;
	}
	if (build_replay_has(s->replay, a.h_x)) {
		circuits_drop(s, DROP_BUILD_REPLAY);
		return;
	}
	const struct onion_keypair *key = s->cfg.onion_key(s->cfg.ops.arg, a.keyid);
	if (key)
		consider(s, &a, key);
	else
		circuits_drop(s, DROP_BUILD_KEYID);
}
