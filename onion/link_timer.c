/* onion/link_timer.c - when links are looked at: tries, half-open ones, liveness, idleness, age.
 * PROTOCOL.md section 4.
 *
 * Liveness: "sent" counts from the last time that something verified. Workers leave two stamps a
 * link; they are looked at four times a second while the link has circuits, so an idle link sends
 * nothing. The first send after silence began is not known, only the last one before a look: the
 * second runs from there, never too early.
 */
#include <stddef.h>
#include "onion/link_priv.h"

static nsec_t seconds(uint32_t s)
{
	return s * NSEC_PER_SEC;
}

/* ---- liveness ---- */

static nsec_t last_rx(const struct link *l)
{
	return atomic_load_explicit(&l->data->last_rx, memory_order_relaxed);
}

static nsec_t last_tx(const struct link *l)
{
	return atomic_load_explicit(&l->data->last_tx, memory_order_relaxed);
}

static void note_silence(struct link *l)
{
	nsec_t rx = last_rx(l);
	nsec_t tx = last_tx(l);
	if (l->unanswered != 0 && rx > l->unanswered) {
		l->unanswered = 0;
		l->series = 0;
	}
	if (l->unanswered == 0 && tx > rx)
		l->unanswered = tx;
}

/* How long the last PING of a series may stay unanswered: longer where the way is known to be long.
 */
static nsec_t last_wait(const struct link *l)
{
	nsec_t two_rtt = nsec_min(2 * l->rtt, 2 * NSEC_PER_SEC);
	return two_rtt > LINK_PING_GAP_NSEC ? two_rtt : LINK_PING_GAP_NSEC;
}

static void ping_in_series(struct link *l, nsec_t now)
{
	l->series++;
	l->series_next = now + (l->series < LINK_PINGS ? LINK_PING_GAP_NSEC : last_wait(l));
	link_ping(l, now);
}

/* False when it is dead. */
static bool judge_silence(struct link *l, nsec_t now)
{
	note_silence(l);
	if (l->unanswered == 0)
		return true;
	if (l->series == 0) {
		if (now >= l->unanswered + LINK_SILENCE_NSEC)
			ping_in_series(l, now);
		return true;
	}
	if (now < l->series_next)
		return true;
	if (now > l->series_next + LINK_SILENCE_NSEC)
		l->series = 0; /* we slept, and answers may be waiting: ask again */
	if (l->series == LINK_PINGS)
		return false;
	ping_in_series(l, now);
	return true;
}

void link_probe(struct link *l, nsec_t now)
{
	struct links *s = l->set;
	if (l->state != LINK_UP)
		return;
	links_enter(s, now);
	note_silence(l);
	if (l->series == 0) {
		l->unanswered = now;
		ping_in_series(l, now);
		link_arm(l, now);
	}
	links_leave(s);
}

static nsec_t silence_deadline(const struct link *l, nsec_t now)
{
	nsec_t next = NSEC_NEVER;
	if (l->series > 0)
		next = l->series_next;
	else if (l->unanswered != 0)
		next = l->unanswered + LINK_SILENCE_NSEC;
	if (l->circuits > 0) /* on even times: a few links are looked at together */
		next = nsec_min(next, now - now % LINK_POLL_NSEC + LINK_POLL_NSEC);
	return next;
}

/* ---- age ---- */

/* The side that answered waits longer, so that the initiator, who puts circuits on it, ends it. */
static nsec_t patience(const struct link *l)
{
	return l->initiator ? 0 : LINK_EARLY_NSEC;
}

static nsec_t end_of_life(const struct link *l)
{
	const struct periods *p = l->set->c.env->periods;
	nsec_t renew = l->since + seconds(p->link_renew_s);
	nsec_t end = renew + seconds(p->link_drain_s) + patience(l);
	if (l->circuits > 0)
		return end;
	end = nsec_min(end, l->idle_since + seconds(p->link_idle_s) + patience(l));
	return l->initiator ? nsec_min(end, renew) : end;
}

static void run_up(struct link *l, nsec_t now)
{
	if (now >= end_of_life(l))
		link_close(l, l->circuits > 0 ? CLOSE_EXPIRED : CLOSE_DONE, now);
	else if (!judge_silence(l, now))
		link_end(l, 0, now);
}

/* ---- the timer ---- */

static nsec_t deadline(const struct link *l, nsec_t now)
{
	switch (l->state) {
	case LINK_OPENING:
		return link_opening_deadline(l);
	case LINK_HALF:
		return l->since + seconds(HALF_OPEN_SECONDS);
	case LINK_UP:
		return nsec_min(end_of_life(l), silence_deadline(l, now));
	case LINK_DEAD:
		break;
	}
	return NSEC_NEVER;
}

void link_arm(struct link *l, nsec_t now)
{
	link_wheel_set(&l->set->wheel, &l->timer, deadline(l, now), now);
}

static void run(struct link *l, nsec_t now)
{
	if (l->state == LINK_OPENING)
		link_opening_run(l, now);
	else if (l->state == LINK_UP)
		run_up(l, now);
	else if (l->state == LINK_HALF && now >= deadline(l, now))
		link_end(l, 0, now);
	link_arm(l, now);
}

nsec_t links_next_deadline(const struct links *s)
{
	return link_wheel_next(&s->wheel);
}

void links_on_timer(struct links *s, nsec_t now)
{
	links_enter(s, now);
	struct link_timer *t;
	while ((t = link_wheel_pop(&s->wheel, now)))
		run((struct link *)((char *)t - offsetof(struct link, timer)), now);
	links_leave(s);
}
