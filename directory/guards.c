/* directory/guards.c - persistent guards: order, demotion, sampling limit, and their text. */
#include "directory/guards.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/zbase32.h"

#define FIRST_LINE  "sispopnet-guards 1\n"
#define BUILDS_MASK ((UINT32_C(1) << GUARD_BUILDS) - 1)

void guards_init(struct guards *g)
{
	*g = (struct guards){0};
}

bool guards_has(const struct guards *g, const uint8_t id[32])
{
	unsigned i = 0;
	while (i < g->n && memcmp(g->guard[i].id, id, 32))
		i++;
	return i < g->n;
}

static struct guard *find(struct guards *g, const uint8_t id[32])
{
	for (unsigned i = 0; i < g->n; i++)
		if (!memcmp(g->guard[i].id, id, 32))
			return &g->guard[i];
	return NULL;
}

void guards_tick(struct guards *g, uint64_t now_s)
{
	unsigned kept = 0;
	for (unsigned i = 0; i < g->n; i++)
		if (now_s < g->guard[i].until)
			g->guard[kept++] = g->guard[i];
	g->changed |= kept != g->n;
	g->n = kept;
}

/* A guard that is demoted goes after all that are not; of two that are, the one that works more
 * often goes first. */
static bool goes_before(const struct guard *a, const struct guard *b)
{
	if (a->demoted != b->demoted)
		return b->demoted;
	return a->demoted && __builtin_popcount(a->builds) > __builtin_popcount(b->builds);
}

size_t guards_order(const struct guards *g, const struct directory *d, uint8_t ret[GUARDS_MAX][32],
		    size_t *ret_in_use)
{
	const struct guard *order[GUARDS_MAX];
	size_t n = 0;
	for (unsigned i = 0; i < g->n; i++) {
		const struct relay *r = directory_find(d, g->guard[i].id);
		if (!r || !(r->flags & RELAY_FLAG_GUARD))
			continue;
		size_t at = n++;
		for (; at > 0 && goes_before(&g->guard[i], order[at - 1]); at--)
			order[at] = order[at - 1];
		order[at] = &g->guard[i];
	}
	for (size_t i = 0; i < n; i++)
		memcpy(ret[i], order[i]->id, 32);
	*ret_in_use = n < GUARDS_IN_USE ? n : GUARDS_IN_USE;
	return n;
}

bool guards_may_sample(const struct guards *g, uint64_t now_s)
{
	unsigned lately = 0;
	for (unsigned i = 0; i < g->n; i++)
		lately += g->guard[i].sampled + GUARDS_SAMPLE_SECONDS > now_s;
	return lately < GUARDS_SAMPLED_MAX && g->n < GUARDS_MAX;
}

int guards_add(struct guards *g, const uint8_t id[32], uint64_t now_s, const struct rng *rng)
{
	if (find(g, id))
		return -EEXIST;
	if (!guards_may_sample(g, now_s))
		return -ENOSPC;
	struct guard *new = &g->guard[g->n++];
	*new = (struct guard){.sampled = now_s};
	memcpy(new->id, id, sizeof(new->id));
	new->until = now_s + GUARD_LIFE_MIN_SECONDS +
		     rng_below(rng, GUARD_LIFE_MAX_SECONDS - GUARD_LIFE_MIN_SECONDS + 1);
	g->changed = true;
	return 0;
}

void guards_on_build(struct guards *g, const uint8_t id[32], bool worked)
{
	struct guard *guard = find(g, id);
	if (!guard)
		return;
	g->failures_in_a_row = worked ? 0 : g->failures_in_a_row + 1;
	if (g->failures_in_a_row > GUARDS_OUTAGE_FAILURES)
		return;
	guard->builds = (guard->builds << 1 | worked) & BUILDS_MASK;
	if (guard->nbuilds < GUARD_BUILDS)
		guard->nbuilds++;
	guard->demoted = guard->nbuilds == GUARD_BUILDS &&
			 __builtin_popcount(guard->builds) < GUARD_BUILDS_LEAST_OK;
	g->changed = true;
}

size_t guards_write(struct guards *g, char *out, size_t room)
{
	int n = snprintf(out, room, "%s", FIRST_LINE);
	for (unsigned i = 0; i < g->n && (size_t)n < room; i++) {
		const struct guard *a = &g->guard[i];
		char id[ZBASE32_KEY_CHARS + 1];
		zbase32_encode_key(a->id, id);
		n += snprintf(out + n, room - (size_t)n, "%s %llu %llu %u %u %u\n", id,
			      (unsigned long long)a->sampled, (unsigned long long)a->until,
			      a->nbuilds, a->builds, a->demoted);
	}
	g->changed = false;
	return (size_t)n;
}

/* One decimal number of at most `max` and the one character `end` after it; false else. */
static bool read_number(const char **at, uint64_t max, char end, uint64_t *ret)
{
	char *stop;
	if (**at < '0' || **at > '9')
		return false;
	errno = 0;
	unsigned long long v = strtoull(*at, &stop, 10);
	if (errno || v > max || *stop != end)
		return false;
	*at = stop + 1;
	*ret = v;
	return true;
}

static bool read_guard(const char **at, struct guard *ret)
{
	uint64_t nbuilds, builds, demoted;
	if (strlen(*at) <= ZBASE32_KEY_CHARS || zbase32_decode_key(*at, ret->id) ||
	    (*at)[ZBASE32_KEY_CHARS] != ' ')
		return false;
	*at += ZBASE32_KEY_CHARS + 1;
	if (!read_number(at, INT64_MAX, ' ', &ret->sampled) ||
	    !read_number(at, INT64_MAX, ' ', &ret->until) ||
	    !read_number(at, GUARD_BUILDS, ' ', &nbuilds) ||
	    !read_number(at, (UINT64_C(1) << nbuilds) - 1, ' ', &builds) ||
	    !read_number(at, 1, '\n', &demoted))
		return false;
	ret->nbuilds = (uint8_t)nbuilds;
	ret->builds = (uint32_t)builds;
	ret->demoted = demoted;
	return ret->sampled < ret->until && ret->until - ret->sampled <= GUARD_LIFE_MAX_SECONDS;
}

static bool read_all(const char *at, struct guards *ret)
{
	guards_init(ret);
	if (strncmp(at, FIRST_LINE, strlen(FIRST_LINE)))
		return false;
	for (at += strlen(FIRST_LINE); *at; ret->n++) {
		struct guard a = {0};
		if (ret->n == GUARDS_MAX || !read_guard(&at, &a) || find(ret, a.id))
			return false;
		ret->guard[ret->n] = a;
	}
	return true;
}

int guards_read(const char *text, size_t n, struct guards *ret)
{
	char copy[GUARDS_TEXT_MAX_BYTES + 1];
	struct guards g;
	if (n > GUARDS_TEXT_MAX_BYTES || memchr(text, '\0', n))
		return -EINVAL;
	memcpy(copy, text, n);
	copy[n] = '\0';
	if (!read_all(copy, &g))
		return -EINVAL;
	*ret = g;
	return 0;
}
