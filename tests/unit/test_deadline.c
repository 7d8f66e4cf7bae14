/* tests/unit/test_deadline.c - one deadline in libevent: never early, once a setting. */
#include "daemon/deadline.h"
#include <event2/event.h>
#include <stdbool.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define MS NSEC_PER_MSEC

struct fixture {
	struct event_base *base;
	struct deadline *d;
	unsigned fired;
	nsec_t at;
	nsec_t again; /* set anew from within, so much later; 0: not */
};

static void on_fire(void *arg)
{
	struct fixture *f = arg;
	f->fired++;
	f->at = clock_now();
	if (f->again) {
		nsec_t next = f->at + f->again;
		f->again = 0;
		deadline_set(f->d, next, f->at);
	}
}

static void on_guard(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	*(bool *)arg = true;
}

/* Turn the loop for that long, or until it fired so often. */
static void run(struct fixture *f, nsec_t most, unsigned fired)
{
	const struct timeval tv = {0, most / NSEC_PER_USEC};
	bool late = false;
	struct event *guard = evtimer_new(f->base, on_guard, &late);
	evtimer_add(guard, &tv);
	while (!late && f->fired < fired)
		event_base_loop(f->base, EVLOOP_ONCE);
	event_free(guard);
}

static void with(struct fixture *f)
{
	*f = (struct fixture){.base = event_base_new()};
	assert_non_null(f->base);
	f->d = deadline_new(f->base, on_fire, f);
	assert_non_null(f->d);
}

static void done(struct fixture *f)
{
	deadline_free(f->d);
	event_base_free(f->base);
}

static void deadline_is_never_early(void **state)
{
	struct fixture f;
	(void)state;
	with(&f);
	for (unsigned i = 0; i < 12; i++) {
		nsec_t now = clock_now(), at = now + (nsec_t)(i * 1300) * NSEC_PER_USEC;
		deadline_set(f.d, at, now);
		run(&f, 500 * MS, i + 1);
		assert_int_equal(f.fired, i + 1);
		assert_true(f.at >= at);
		assert_true(f.at < at + 200 * MS);
	}
	run(&f, 5 * MS, 99);
	assert_int_equal(f.fired, 12); /* once a setting */
	done(&f);
}

static void deadline_in_the_past_fires_at_once(void **state)
{
	struct fixture f;
	(void)state;
	with(&f);
	nsec_t now = clock_now();
	deadline_set(f.d, now - 5 * NSEC_PER_SEC, now);
	assert_int_equal(f.fired, 0); /* from the loop, not from within */
	run(&f, 500 * MS, 1);
	assert_int_equal(f.fired, 1);
	done(&f);
}

static void deadline_moves(void **state)
{
	struct fixture f;
	(void)state;
	with(&f);
	nsec_t now = clock_now();
	deadline_set(f.d, now + 60 * NSEC_PER_SEC, now);
	deadline_set(f.d, now + 2 * MS, now); /* earlier */
	run(&f, 500 * MS, 1);
	assert_int_equal(f.fired, 1);
	now = clock_now();
	deadline_set(f.d, now + 2 * MS, now);
	deadline_set(f.d, now + 60 * NSEC_PER_SEC, now); /* later */
	run(&f, 15 * MS, 2);
	assert_int_equal(f.fired, 1);
	deadline_set(f.d, NSEC_NEVER, now);
	deadline_set(f.d, now + 1 * MS, now);
	deadline_set(f.d, NSEC_NEVER, now); /* not at all */
	run(&f, 15 * MS, 2);
	assert_int_equal(f.fired, 1);
	done(&f);
}

static void deadline_can_be_set_from_within(void **state)
{
	struct fixture f;
	(void)state;
	with(&f);
	nsec_t now = clock_now();
	f.again = 3 * MS;
	deadline_set(f.d, now + MS, now);
	run(&f, 500 * MS, 2);
	assert_int_equal(f.fired, 2);
	assert_true(f.at >= now + 4 * MS);
	done(&f);
	deadline_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(deadline_is_never_early),
		cmocka_unit_test(deadline_in_the_past_fires_at_once),
		cmocka_unit_test(deadline_moves),
		cmocka_unit_test(deadline_can_be_set_from_within),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
