/* daemon/deadline.h - one deadline in libevent for objects that tell their next deadline on the
 * monotonic clock. */
#pragma once
#include "base/clock.h"

struct event_base;
struct deadline;

/* fire(arg) is called at or after the moment set last; once a setting. NULL without memory. */
struct deadline *deadline_new(struct event_base *base, void (*fire)(void *arg), void *arg);
void deadline_free(struct deadline *d);
/* Fire at `at` (NSEC_NEVER: not at all). Cheap when nothing changed. */
void deadline_set(struct deadline *d, nsec_t at, nsec_t now);
