/* client/ranges.h - the destinations that alone go through the tunnel (`--range`); none:
 * everything. Shared by the daemon and the command line. Plain values. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "base/addr.h"

#define RANGES_MOST	      16 /* of routing/host.h: HOST_RANGES_MAX */
#define RANGES_SENTENCE_BYTES 200

struct ranges {
	size_t n;
	struct prefix range[RANGES_MOST];
};

/* Add "10.0.0.0/8", "2001:db8::/32" or a bare address; one that is there already is not added
 * again. 0; -EINVAL it is no range, -ENOSPC there are RANGES_MOST already: with one sentence in
 * err[RANGES_SENTENCE_BYTES], *r untouched. */
int ranges_add(struct ranges *r, const char *text, char *err) __attribute__((warn_unused_result));
/* The same ranges, in whatever order. */
bool ranges_equal(const struct ranges *a, const struct ranges *b);
