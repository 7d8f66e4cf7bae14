/* onion/circuits.c - the table of a relay's circuits: links' events, CIRCUIT_CLOSE, ends.
 * See circuits.h.
 *
 * BUILD is in circuits_build.c, its answer in circuits_reply.c, timers and idle circuits in
 * circuits_time.c. link_release() may end a drained link and so call us back: whoever ends a record
 * touches neither it nor a list position afterwards.
 */
#include "onion/circuits_state.h"
#include "base/bytes.h"
#include "crypto/kdf.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>

static void free_circuit(void *object)
{
	struct circuit *c = object;
	aead_key_done(&c->kf);
	aead_key_done(&c->kb);
	wipe(c, sizeof(*c));
	free(c);
}

void circuits_drop(struct circuits *s, enum drop why)
{
	drops_add(s->cfg.env->drops, why);
}

bool circuits_send(struct circuits *s, struct link_use *to, enum frame_type type, const void *data,
		   size_t n)
{
	if (link_send(to->link, type, data, n, s->now) == 0)
		return true;
	circuits_drop(s, DROP_SEND_FAILED);
	return false;
}

struct circuits *circuits_new(const struct circuits_config *c, nsec_t now)
{
	struct circuits *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->cfg = *c;
	if (!s->cfg.pending_most)
		s->cfg.pending_most = BUILDS_PENDING_MOST;
	if (!s->cfg.replies_most)
		s->cfg.replies_most = BUILD_REPLIES_KEPT_MOST;
	s->now = now;
	TAILQ_INIT(&s->all);
	TAILQ_INIT(&s->links);
	TAILQ_INIT(&s->kept);
	const struct rng *rng = c->env->rng;
	s->replay = build_replay_new(c->replay_entries, rng, now);
	if (!s->replay || index_init(&s->by_x, BUILD_INDEX_BITS, rng) < 0 ||
	    index_init(&s->by_back, BUILD_INDEX_BITS, rng) < 0 ||
	    index_init(&s->by_ours, BUILD_INDEX_BITS, rng) < 0) {
		circuits_free(s);
		return NULL;
	}
	return s;
}

static void free_link_use(struct circuits *s, struct link_use *ls)
{
	TAILQ_REMOVE(&s->links, ls, all);
	free(ls);
}

void circuits_free(struct circuits *s)
{
	if (!s)
		return;
	s->cfg.ops.on_end_gone = NULL;
	struct record *r;
	while ((r = TAILQ_FIRST(&s->all)))
		circuits_record_end(s, r);
	struct link_use *ls;
	while ((ls = TAILQ_FIRST(&s->links))) {
		link_set_user(ls->link, NULL);
		free_link_use(s, ls);
	}
	heap_done(&s->timers);
	index_done(&s->by_x);
	index_done(&s->by_back);
	index_done(&s->by_ours);
	build_replay_free(s->replay);
	free(s);
}

struct link_use *circuits_link_use(struct circuits *s, struct link *l)
{
	struct link_use *ls = link_user(l);
	if (ls)
		return ls;
	ls = calloc(1, sizeof(*ls));
	if (!ls)
		return NULL;
	ls->link = l;
	TAILQ_INIT(&ls->back);
	TAILQ_INIT(&ls->next);
	TAILQ_INSERT_TAIL(&s->links, ls, all);
	link_set_user(l, ls);
	return ls;
}

/* records */

struct record *circuits_record_new(struct circuits *s, struct link_use *back, struct build *b,
				   uint32_t back_id)
{
	struct record *r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->back = back;
	r->back_id = back_id;
	r->build = b;
	b->record = r;
	TAILQ_INSERT_TAIL(&s->all, r, all);
	TAILQ_INSERT_TAIL(&back->back, r, by_back_link);
	link_hold(back->link, s->now);
	return r;
}

static bool is_pending(enum record_state st)
{
	return st == RECORD_LINKING || st == RECORD_SENT;
}

/* Take a record in this state into the counts (+1) or out of them (-1). */
static void count_state(struct circuits *s, struct record *r, int by)
{
	if (is_pending(r->state))
		s->pending += (uint32_t)by;
	if (r->state == RECORD_LIVE)
		s->live += (uint32_t)by;
	if (is_pending(r->state) || r->state == RECORD_LIVE)
		r->back->circuits += (unsigned)by;
}

void circuits_set_state(struct circuits *s, struct record *r, enum record_state to)
{
	static const unsigned may[] = {
		[RECORD_NEW] = 1 << RECORD_LINKING | 1 << RECORD_SENT | 1 << RECORD_LIVE |
			       1 << RECORD_ANSWERED,
		[RECORD_LINKING] = 1 << RECORD_SENT | 1 << RECORD_ANSWERED,
		[RECORD_SENT] = 1 << RECORD_LIVE | 1 << RECORD_ANSWERED,
		[RECORD_LIVE] = 0,
		[RECORD_ANSWERED] = 0,
	};
	bool legal = may[r->state] & 1u << to;
	assert(legal);
	(void)legal;
	count_state(s, r, -1);
	r->state = to;
	count_state(s, r, +1);
}

void circuits_set_next(struct circuits *s, struct record *r, struct link_use *next)
{
	r->next = next;
	TAILQ_INSERT_TAIL(&next->next, r, by_next_link);
	link_hold(next->link, s->now);
}

static void drop_next(struct circuits *s, struct record *r)
{
	if (!r->next)
		return;
	struct link *l = r->next->link;
	TAILQ_REMOVE(&r->next->next, r, by_next_link);
	r->next = NULL;
	link_release(l, s->now);
}

static void drop_ids(struct circuits *s, struct record *r)
{
	slots_remove(s->cfg.env->circuits, r->forward_id);
	slots_remove(s->cfg.env->circuits, r->backward_id);
	r->forward_id = r->backward_id = 0;
}

void circuits_let_go(struct circuits *s, struct record *r)
{
	index_remove(&s->by_ours, &r->build->by_ours);
	heap_remove(&s->timers, &r->timer);
	drop_ids(s, r);
	drop_next(s, r);
}

static void free_build(struct circuits *s, struct build *b)
{
	index_remove(&s->by_x, &b->by_x);
	index_remove(&s->by_back, &b->by_back);
	index_remove(&s->by_ours, &b->by_ours);
	if (b->forget_at) {
		TAILQ_REMOVE(&s->kept, b, kept);
		s->nkept--;
	}
	wipe(b, sizeof(*b));
	free(b);
}

void circuits_forget_build(struct circuits *s, struct build *b)
{
	struct record *r = b->record;
	if (r->state == RECORD_ANSWERED) {
		circuits_record_end(s, r);
		return;
	}
	r->build = NULL;
	free_build(s, b);
}

/* Out of the workers' sight first, then to the session's owner, then to the grace period. */
static void end_circuit(struct circuits *s, struct record *r)
{
	struct circuit *c = r->c;
	c->control = NULL;
	if (r->end_taken && s->cfg.ops.on_end_gone)
		s->cfg.ops.on_end_gone(s->cfg.ops.arg, c, s->now);
	s->cfg.env->retire(s->cfg.env->arg, c, free_circuit);
}

void circuits_record_end(struct circuits *s, struct record *r)
{
	struct link *back = r->back->link;
	count_state(s, r, -1);
	TAILQ_REMOVE(&s->all, r, all);
	TAILQ_REMOVE(&r->back->back, r, by_back_link);
	heap_remove(&s->timers, &r->timer);
	drop_ids(s, r);
	if (r->build)
		free_build(s, r->build);
	if (r->c)
		end_circuit(s, r);
	drop_next(s, r);
	free(r);
	link_release(back, s->now);
}

/* ends */

void circuits_say_close(struct circuits *s, struct record *r, struct link_use *to, uint8_t why)
{
	uint8_t frame[FRAME_CIRCUIT_CLOSE_BYTES];
	uint32_t id = r->back_id;
	if (to == r->next)
		id = r->state == RECORD_LIVE ? r->c->forward.out_id : r->backward_id;
	store_be32(frame, id);
	frame[4] = why;
	circuits_send(s, to, FRAME_CIRCUIT_CLOSE, frame, sizeof(frame));
}

void circuits_close(struct circuits *s, struct record *r, uint8_t to_back, uint8_t to_next)
{
	if (to_back && r->state != RECORD_ANSWERED)
		circuits_say_close(s, r, r->back, to_back);
	if (to_next && r->next && r->state != RECORD_LINKING)
		circuits_say_close(s, r, r->next, to_next);
	circuits_record_end(s, r);
}

void circuits_close_end(struct circuits *s, struct circuit *c, enum close_reason why, nsec_t now)
{
	s->now = now;
	if (c->control)
		circuits_close(s, c->control, (uint8_t)why, 0);
}

void circuits_close_all(struct circuits *s, enum close_reason why, nsec_t now)
{
	s->now = now;
	struct record *r;
	while ((r = TAILQ_FIRST(&s->all)))
		circuits_close(s, r, (uint8_t)why, (uint8_t)why);
}

void circuits_drain(struct circuits *s, nsec_t now)
{
	s->draining = true;
	circuits_close_all(s, CLOSE_DONE, now);
}

/* frames */

/* A circuit that stands, by our id. It must belong to the link that the frame came in on. */
static bool close_live(struct circuits *s, struct link *l, uint32_t id, uint8_t why)
{
	struct hop_dir *hop = (struct hop_dir *)(void *)slots_find(s->cfg.env->circuits, id);
	if (!hop || hop->in != link_data_of(l))
		return false;
	struct circuit *c = hop->owner;
	if (hop == &c->forward)
		circuits_close(s, c->control, 0, why);
	else
		circuits_close(s, c->control, why, 0);
	return true;
}

/* The neighbour towards the client gives up one that it has no forward id for. */
static bool close_from_back(struct circuits *s, struct link *l, uint32_t id, uint8_t why)
{
	uint64_t key = (uint64_t)link_data_of(l)->slot.id << 32 | id;
	struct index_node *n = index_find(&s->by_back, key, NULL);
	if (!n)
		return false;
	struct build *b = (struct build *)(void *)((char *)n - offsetof(struct build, by_back));
	circuits_close(s, b->record, 0, why);
	return true;
}

/* The next hop gives up before it answered: we answer for it. */
static bool close_from_next(struct circuits *s, struct link *l, uint32_t id)
{
	struct index_node *n = index_find(&s->by_ours, id, NULL);
	if (!n)
		return false;
	struct build *b = (struct build *)(void *)((char *)n - offsetof(struct build, by_ours));
	if (!b->record->next || b->record->next->link != l)
		return false;
	circuits_refuse(s, b->record, BUILD_NEXT_DOWN);
	return true;
}

static void on_close(struct circuits *s, struct link *l, const uint8_t *data)
{
	uint32_t id = load_be32(data);
	uint8_t why = data[4];
	if (why < CLOSE_DONE || why > CLOSE_PROTOCOL) {
		circuits_drop(s, DROP_CTRL_FORMAT);
		return;
	}
	bool ours = link_data_of(l)->initiator;
	if (!close_live(s, l, id, why) &&
	    !(ours ? close_from_next(s, l, id) : close_from_back(s, l, id, why)))
		circuits_drop(s, DROP_CIRCUIT_UNKNOWN);
}

enum legal { ON_THEIRS, ON_OURS, ON_BOTH }; /* links by who sent INIT */

void circuits_on_frame(struct circuits *s, struct link *l, enum frame_type type,
		       const uint8_t *data, size_t n, nsec_t now)
{
	static const struct {
		size_t bytes;
		enum legal legal;
		void (*handle)(struct circuits *s, struct link *l, const uint8_t *data);
	} rows[] = {
		[FRAME_BUILD] = {FRAME_BUILD_BYTES, ON_THEIRS, circuits_on_build},
		[FRAME_BUILD_REPLY] = {FRAME_BUILD_REPLY_BYTES, ON_OURS, circuits_on_reply},
		[FRAME_CIRCUIT_CLOSE] = {FRAME_CIRCUIT_CLOSE_BYTES, ON_BOTH, on_close},
	};
	s->now = now;
	size_t i = (size_t)type;
	bool known = i < sizeof(rows) / sizeof(rows[0]) && rows[i].handle && rows[i].bytes == n;
	enum legal side = link_data_of(l)->initiator ? ON_OURS : ON_THEIRS;
	if (!known || (rows[i].legal != ON_BOTH && rows[i].legal != side)) {
		circuits_drop(s, DROP_CTRL_FORMAT);
		return;
	}
	rows[i].handle(s, l, data);
}

/* links */

void circuits_on_link_up(struct circuits *s, struct link *l, nsec_t now)
{
	s->now = now;
	struct link_use *ls = link_user(l);
	if (!ls)
		return;
	struct record *r;
	TAILQ_FOREACH (r, &ls->next, by_next_link)
		if (r->state == RECORD_LINKING)
			circuits_forward(s, r);
}

/* The link is of no use any more: pending BUILDs get an answer, circuits a CLOSE. */
static void link_gone(struct circuits *s, struct link *l)
{
	struct link_use *ls = link_user(l);
	if (!ls)
		return;
	link_set_user(l, NULL);
	struct record *r;
	while ((r = TAILQ_FIRST(&ls->next)))
		if (r->state == RECORD_LIVE)
			circuits_close(s, r, CLOSE_NEXT_DOWN, 0);
		else
			circuits_refuse(s, r, BUILD_NEXT_DOWN);
	while ((r = TAILQ_FIRST(&ls->back)))
		circuits_close(s, r, 0, CLOSE_DONE);
	free_link_use(s, ls);
}

void circuits_on_link_failed(struct circuits *s, struct link *l, nsec_t now)
{
	s->now = now;
	link_gone(s, l);
}

void circuits_on_link_dead(struct circuits *s, struct link *l, nsec_t now)
{
	s->now = now;
	link_gone(s, l);
}

uint32_t circuits_count(const struct circuits *s)
{
	return s->live + s->pending;
}

uint32_t circuits_pending(const struct circuits *s)
{
	return s->pending;
}
