/* onion/link_source.c - see link_source.h. The rate is a virtual scheduling algorithm (ITU-T I.371,
 * GCRA): one time a source, no counting. */
#include "onion/link_source.h"
#include <stdlib.h>
#include <sys/queue.h>
#include "onion/links.h"

#define CHAINS	  65536
#define INIT_GAP  (NSEC_PER_SEC / INIT_PER_SOURCE_PER_S)
#define INIT_LEAD ((INIT_PER_SOURCE_PER_S - 1) * INIT_GAP) /* how far a burst may run ahead */

struct source {
	LIST_ENTRY(source) chain;
	TAILQ_ENTRY(source) idle; /* while it holds no link */
	uint64_t prefix;
	unsigned links;
	nsec_t next_init[2]; /* when an even pace would have the next one; [1]: with a cookie */
};

struct link_sources {
	uint64_t multiply, add; /* of the hash: strangers choose prefixes, not chains */
	unsigned count, idle_count;
	TAILQ_HEAD(, source) idle; /* quiet longest first */
	LIST_HEAD(, source) chains[CHAINS];
};

struct link_sources *link_sources_new(const struct rng *rng)
{
	struct link_sources *t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->multiply = rng_u64(rng) | 1;
	t->add = rng_u64(rng);
	TAILQ_INIT(&t->idle);
	return t;
}

static void drop_source(struct link_sources *t, struct source *s)
{
	LIST_REMOVE(s, chain);
	if (s->links == 0) {
		TAILQ_REMOVE(&t->idle, s, idle);
		t->idle_count--;
	}
	t->count--;
	free(s);
}

void link_sources_free(struct link_sources *t)
{
	if (!t)
		return;
	for (unsigned i = 0; i < CHAINS; i++)
		while (!LIST_EMPTY(&t->chains[i]))
			drop_source(t, LIST_FIRST(&t->chains[i]));
	free(t);
}

/* The family and the first 32 or 56 bits. */
static uint64_t prefix_of(const struct addr *a)
{
	uint64_t p = a->family;
	for (unsigned i = 0; i < (a->family == 4 ? 4 : 7); i++)
		p = p << 8 | a->ip[i];
	return p;
}

static unsigned chain_of(const struct link_sources *t, uint64_t prefix)
{
	return (unsigned)((prefix * t->multiply + t->add) >> 48) % CHAINS;
}

static struct source *find(const struct link_sources *t, uint64_t prefix)
{
	struct source *s;
	LIST_FOREACH (s, &t->chains[chain_of(t, prefix)], chain) {
		if (s->prefix == prefix)
			return s;
	}
	return NULL;
}

/* A new source without links, or NULL. */
static struct source *add(struct link_sources *t, uint64_t prefix)
{
	struct source *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->prefix = prefix;
	LIST_INSERT_HEAD(&t->chains[chain_of(t, prefix)], s, chain);
	TAILQ_INSERT_TAIL(&t->idle, s, idle);
	t->idle_count++;
	t->count++;
	return s;
}

/* Make room for one more without links. False when the rate of all of them still counts. */
static bool make_room(struct link_sources *t, nsec_t now)
{
	if (t->idle_count < LINK_SOURCES_IDLE_MOST)
		return true;
	struct source *oldest = TAILQ_FIRST(&t->idle);
	if (oldest->next_init[0] > now || oldest->next_init[1] > now)
		return false;
	drop_source(t, oldest);
	return true;
}

bool link_source_init(struct link_sources *t, const struct addr *a, bool proven, nsec_t now)
{
	uint64_t prefix = prefix_of(a);
	struct source *s = find(t, prefix);
	if (!s && make_room(t, now))
		s = add(t, prefix);
	nsec_t *next = s ? &s->next_init[proven] : NULL;
	if (!next || *next > now + INIT_LEAD)
		return false;
	*next = (*next > now ? *next : now) + INIT_GAP;
	if (s->links == 0) {
		TAILQ_REMOVE(&t->idle, s, idle);
		TAILQ_INSERT_TAIL(&t->idle, s, idle);
	}
	return true;
}

unsigned link_source_links(const struct link_sources *t, const struct addr *a)
{
	const struct source *s = find(t, prefix_of(a));
	return s ? s->links : 0;
}

bool link_source_take(struct link_sources *t, const struct addr *a)
{
	uint64_t prefix = prefix_of(a);
	struct source *s = find(t, prefix);
	if (!s)
		s = add(t, prefix);
	if (!s || s->links >= LINKS_PER_SOURCE_MOST)
		return false;
	if (s->links++ == 0) {
		TAILQ_REMOVE(&t->idle, s, idle);
		t->idle_count--;
	}
	return true;
}

void link_source_give(struct link_sources *t, const struct addr *a)
{
	struct source *s = find(t, prefix_of(a));
	if (!s || s->links == 0 || --s->links > 0)
		return;
	TAILQ_INSERT_TAIL(&t->idle, s, idle);
	if (++t->idle_count > LINK_SOURCES_IDLE_MOST)
		drop_source(t, s);
}

unsigned link_sources_count(const struct link_sources *t)
{
	return t->count;
}
