/* onion/circuits_time.c - what time does to circuits: pending ones answered, old ones closed, idle
 * ones first out. */
#include "onion/circuits_state.h"

#include <stddef.h>
#include <stdlib.h>

#define IDLE_NSEC (CIRCUIT_IDLE_SECONDS * NSEC_PER_SEC)

/* limits */

static uint64_t traffic(const struct circuit *c)
{
	uint64_t n = atomic_load_explicit(&c->forward.count, memory_order_relaxed);
	return n + atomic_load_explicit(c->last ? &c->sealed : &c->backward.count,
					memory_order_relaxed);
}

/* Idle: as many datagrams as at the last look, and that was CIRCUIT_IDLE_SECONDS ago or more. */
static bool is_idle(struct circuits *s, struct record *r)
{
	uint64_t n = traffic(r->c);
	if (n != r->idle_count) {
		r->idle_count = n;
		r->idle_since = s->now;
	}
	return s->now - r->idle_since >= IDLE_NSEC;
}

static bool is_full(const struct circuits *s)
{
	return (uint64_t)(s->live + s->pending) * 10 >= (uint64_t)s->cfg.circuits_most * 9;
}

bool circuits_make_room(struct circuits *s)
{
	for (unsigned i = 0; i < IDLE_LOOKS_PER_BUILD && is_full(s); i++) {
		struct record *r = TAILQ_FIRST(&s->all);
		if (!r)
			break;
		TAILQ_REMOVE(&s->all, r, all);
		TAILQ_INSERT_TAIL(&s->all, r, all);
		if (r->state == RECORD_LIVE && is_idle(s, r))
			circuits_close(s, r, CLOSE_OVERLOAD, CLOSE_OVERLOAD);
	}
	return !is_full(s);
}

/* timers */

void circuits_set_live_timer(struct circuits *s, struct record *r)
{
	if (heap_set(&s->timers, &r->timer, nsec_min(r->expires, r->ungranted_at)) < 0)
		abort(); /* it stands in the heap since its BUILD: a move needs no memory */
}

void circuits_end_granted(struct circuits *s, struct circuit *c, bool granted)
{
	struct record *r = c->control;
	if (!r)
		return;
	/* Nobody says what time it is: when let go, it is due at once, and on_due() starts to wait.
	 */
	r->start_waiting = !granted;
	r->ungranted_at = granted ? NSEC_NEVER : s->now;
	if (r->state == RECORD_LIVE)
		circuits_set_live_timer(s, r);
}

static struct record *record_of_timer(struct heap_node *n)
{
	return (struct record *)(void *)((char *)n - offsetof(struct record, timer));
}

/* The end was let go: its wait for another session starts now. */
static void start_waiting(struct circuits *s, struct record *r)
{
	r->start_waiting = false;
	r->ungranted_at = s->now + s->cfg.env->periods->circuit_ungranted_s * NSEC_PER_SEC;
	circuits_set_live_timer(s, r);
}

static void on_due(struct circuits *s, struct record *r)
{
	if (r->state == RECORD_LIVE) {
		if (r->start_waiting && r->expires > s->now)
			start_waiting(s, r);
		else
			circuits_close(s, r, CLOSE_EXPIRED, CLOSE_EXPIRED);
		return;
	}
	if (r->state == RECORD_SENT)
		circuits_say_close(s, r, r->next, CLOSE_DONE);
	circuits_refuse(s, r, BUILD_NEXT_DOWN);
}

nsec_t circuits_next_deadline(const struct circuits *s)
{
	nsec_t at = build_replay_next_deadline(s->replay);
	if (heap_first(&s->timers))
		at = nsec_min(at, heap_first(&s->timers)->at);
	if (TAILQ_FIRST(&s->kept))
		at = nsec_min(at, TAILQ_FIRST(&s->kept)->forget_at);
	return at;
}

void circuits_on_timer(struct circuits *s, nsec_t now)
{
	s->now = now;
	struct heap_node *n;
	while ((n = heap_first(&s->timers)) && n->at <= now)
		on_due(s, record_of_timer(n));
	struct build *b;
	while ((b = TAILQ_FIRST(&s->kept)) && b->forget_at <= now)
		circuits_forget_build(s, b);
	build_replay_expire(s->replay, now);
}
