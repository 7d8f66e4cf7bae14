/* daemon/deadline.c - see deadline.h. */
#include "daemon/deadline.h"
#include <event2/event.h>
#include <stdlib.h>

struct deadline {
	struct event *event;
	void (*fire)(void *arg);
	void *arg;
	nsec_t at; /* what the event is set to; NSEC_NEVER: not pending */
};

/* Rounded up to a microsecond. */
static void wait_for(struct deadline *d, nsec_t at, nsec_t now)
{
	nsec_t wait = at > now ? at - now + NSEC_PER_USEC - 1 : 0;
	struct timeval tv = {.tv_sec = wait / NSEC_PER_SEC,
			     .tv_usec = (wait % NSEC_PER_SEC) / NSEC_PER_USEC};

	evtimer_add(d->event, &tv);
}

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct deadline *d = arg;

	(void)fd;
	(void)what;
	/* The loop's clock is coarse, and stands still within a callback: it may be early. */
	if (clock_now() < d->at) {
		wait_for(d, d->at, clock_now());
		return;
	}
	d->at = NSEC_NEVER;
	d->fire(d->arg);
}

struct deadline *deadline_new(struct event_base *base, void (*fire)(void *arg), void *arg)
{
	struct deadline *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->fire = fire;
	d->arg = arg;
	d->at = NSEC_NEVER;
	d->event = evtimer_new(base, on_timeout, d);
	if (!d->event) {
		free(d);
		return NULL;
	}
	return d;
}

void deadline_free(struct deadline *d)
{
	if (!d)
		return;
	event_free(d->event);
	free(d);
}

void deadline_set(struct deadline *d, nsec_t at, nsec_t now)
{
	if (at == d->at)
		return;
	d->at = at;
	if (at == NSEC_NEVER) {
		evtimer_del(d->event);
		return;
	}
	wait_for(d, at, now);
}
