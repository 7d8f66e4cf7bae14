/* onion/link_wheel.c - see link_wheel.h. */
#include "onion/link_wheel.h"
#include <stdbool.h>
#include <string.h>

#define WORDS (LINK_WHEEL_SLOTS / 64)

void link_wheel_init(struct link_wheel *w, nsec_t now)
{
	memset(w, 0, sizeof(*w));
	w->tick = now / LINK_WHEEL_TICK_NSEC;
}

static unsigned slot_of(int64_t tick)
{
	return (unsigned)((uint64_t)tick % LINK_WHEEL_SLOTS);
}

static int64_t tick_at_or_after(nsec_t t)
{
	return t / LINK_WHEEL_TICK_NSEC + (t % LINK_WHEEL_TICK_NSEC > 0);
}

void link_wheel_clear(struct link_wheel *w, struct link_timer *t)
{
	if (!t->at)
		return;
	*t->at = t->next;
	if (t->next)
		t->next->at = t->at;
	t->at = NULL;
	w->count--;
	if (!w->slot[t->slot])
		w->busy[t->slot / 64] &= ~(UINT64_C(1) << t->slot % 64);
}

void link_wheel_set(struct link_wheel *w, struct link_timer *t, nsec_t due, nsec_t now)
{
	link_wheel_clear(w, t);
	if (due == NSEC_NEVER)
		return;
	if (w->count == 0 && now / LINK_WHEEL_TICK_NSEC > w->tick)
		w->tick = now / LINK_WHEEL_TICK_NSEC;
	int64_t tick = tick_at_or_after(due);
	if (tick <= w->tick)
		tick = w->tick + 1;
	if (tick >= w->tick + LINK_WHEEL_SLOTS)
		tick = w->tick + LINK_WHEEL_SLOTS - 1;
	t->slot = slot_of(tick);
	t->next = w->slot[t->slot];
	t->at = &w->slot[t->slot];
	if (t->next)
		t->next->at = &t->next;
	w->slot[t->slot] = t;
	w->busy[t->slot / 64] |= UINT64_C(1) << t->slot % 64;
	w->count++;
}

/* The tick of the first slot that holds something, from w->tick on; false when all are empty. */
static bool first_busy(const struct link_wheel *w, int64_t *ret_tick)
{
	unsigned start = slot_of(w->tick);
	for (unsigned i = 0; i <= WORDS; i++) {
		unsigned word = (start / 64 + i) % WORDS;
		uint64_t bits = w->busy[word];
		if (i == 0)
			bits &= UINT64_MAX << start % 64;
		if (i == WORDS)
			bits &= ~(UINT64_MAX << start % 64);
		if (bits) {
			unsigned slot = word * 64 + (unsigned)__builtin_ctzll(bits);
			*ret_tick = w->tick + (slot + LINK_WHEEL_SLOTS - start) % LINK_WHEEL_SLOTS;
			return true;
		}
	}
	return false;
}

struct link_timer *link_wheel_pop(struct link_wheel *w, nsec_t now)
{
	int64_t end = now / LINK_WHEEL_TICK_NSEC;
	int64_t tick;
	if (first_busy(w, &tick) && tick <= end) {
		w->tick = tick;
		struct link_timer *t = w->slot[slot_of(tick)];
		link_wheel_clear(w, t);
		return t;
	}
	if (end > w->tick)
		w->tick = end;
	return NULL;
}

nsec_t link_wheel_next(const struct link_wheel *w)
{
	int64_t tick;
	return first_busy(w, &tick) ? tick * LINK_WHEEL_TICK_NSEC : NSEC_NEVER;
}
