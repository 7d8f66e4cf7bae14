/* client/ranges.c - see client/ranges.h. */
#include "client/ranges.h"
#include <errno.h>
#include <stdio.h>

static bool has(const struct ranges *r, const struct prefix *p)
{
	for (size_t i = 0; i < r->n; i++) {
		if (r->range[i].len == p->len && r->range[i].addr.family == p->addr.family &&
		    addr_equal_ip(&r->range[i].addr, &p->addr))
			return true;
	}
	return false;
}

int ranges_add(struct ranges *r, const char *text, char *err)
{
	struct prefix p;

	if (prefix_parse(text, &p)) {
		snprintf(
			err, RANGES_SENTENCE_BYTES,
			"\"%.60s\" is no range: write a network like 192.0.2.0/24 or 2001:db8::/32, with no "
			"bit set beyond its length",
			text);
		return -EINVAL;
	}
	if (has(r, &p))
		return 0;
	if (r->n == RANGES_MOST) {
		snprintf(err, RANGES_SENTENCE_BYTES,
			 "at most %d ranges can be given: join some into a wider one", RANGES_MOST);
		return -ENOSPC;
	}
	r->range[r->n++] = p;
	return 0;
}

bool ranges_equal(const struct ranges *a, const struct ranges *b)
{
	for (size_t i = 0; i < a->n; i++)
		if (!has(b, &a->range[i]))
			return false;
	return a->n == b->n;
}
