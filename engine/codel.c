/* engine/codel.c - see codel.h. RFC 8289 section 5. */
#include "engine/codel.h"

static uint64_t square_root(uint64_t n)
{
	uint64_t r = n, next = (n + 1) / 2;

	while (next < r) {
		r = next;
		next = (r + n / r) / 2;
	}
	return r;
}

/* interval / sqrt(count), with 20 bits behind the point. */
static nsec_t gap(const struct codel_limits *l, uint32_t count)
{
	uint64_t root = square_root((uint64_t)count << 20); /* 2^10 sqrt(count) */
	return (nsec_t)(((uint64_t)l->interval << 10) / root);
}

/* Has the wait been above the target for an interval? */
static bool is_late(struct codel *c, const struct codel_limits *l, nsec_t now, nsec_t waited,
		    bool last)
{
	if (waited < l->target || last) {
		c->above_until = 0;
		return false;
	}
	if (!c->above_until) {
		c->above_until = now + l->interval;
		return false;
	}
	return now >= c->above_until;
}

/* Go on where the last dropping ended when that is not long ago. */
static void begin(struct codel *c, const struct codel_limits *l, nsec_t now)
{
	uint32_t since = c->count - c->last_count;
	bool lately = c->next && now - c->next < 16 * l->interval;

	c->dropping = true;
	c->count = since > 1 && lately ? since : 1;
	c->last_count = c->count;
	c->next = now + gap(l, c->count);
}

bool codel_drops(struct codel *c, const struct codel_limits *l, nsec_t now, nsec_t waited,
		 bool last)
{
	bool late = is_late(c, l, now, waited, last);

	if (!late) {
		c->dropping = false;
		return false;
	}
	if (!c->dropping) {
		begin(c, l, now);
		return true;
	}
	if (now < c->next)
		return false;
	c->count++;
	c->next += gap(l, c->count);
	return true;
}
