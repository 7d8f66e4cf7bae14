/* directory/choice_search.c - candidates and the backtracking search for the middles of a path.
 *
 * Middles that go well with guard and exit are put into an order drawn by weight; the first set
 * that goes well together in that order is the path. Where all share one IP family their order does
 * not matter to the rules, so only sets are tried; else every order of them.
 */
#include "directory/choice_search.h"
#include <stdlib.h>
#include <string.h>
#include "base/addr.h"

#define SUBNET_V4_BITS 16
#define SUBNET_V6_BITS 32
#define WEIGHTED_DRAWS 64 /* the first of an order are drawn by weight, the rest evenly */
#define MIDDLES_MAX    (CHOICE_HOPS_MAX - 2)

static int by_weight(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

/* No weight above 4 times the median, none 0: one that lies about its speed gains little. */
static bool cap_weights(struct search *s)
{
	if (!s->n)
		return true;
	uint32_t *w = malloc(s->n * sizeof(*w));
	if (!w)
		return false;
	for (size_t i = 0; i < s->n; i++)
		w[i] = s->all[i].relay->weight;
	qsort(w, s->n, sizeof(*w), by_weight);
	uint64_t cap = (uint64_t)w[(s->n - 1) / 2] * CHOICE_WEIGHT_CAP;
	free(w);
	for (size_t i = 0; i < s->n; i++) {
		uint32_t weight = s->all[i].relay->weight;
		weight = weight > cap ? (uint32_t)cap : weight;
		s->all[i].weight = weight ? weight : 1;
	}
	return true;
}

struct candidate *search_find(const struct search *s, const uint8_t id[32])
{
	size_t lo = 0, hi = s->n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int order = memcmp(s->all[mid].relay->id, id, 32);
		if (!order)
			return &s->all[mid];
		if (order < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

static enum role role_at(unsigned place, unsigned hops)
{
	if (place + 1 == hops)
		return ROLE_EXIT;
	return place ? ROLE_MIDDLE : ROLE_GUARD;
}

static void mark(struct search *s)
{
	const struct choice_request *q = s->q;
	struct candidate *c;
	for (size_t i = 0; i < q->nlive; i++)
		for (unsigned h = 0; h < q->live[i].hops && h < CHOICE_HOPS_MAX; h++)
			if ((c = search_find(s, q->live[i].id[h])))
				c->live_roles |= role_at(h, q->live[i].hops);
	for (size_t i = 0; i < q->nfailed; i++)
		if ((c = search_find(s, q->failed[i])))
			c->failed = true;
	const struct choice_path *other = q->differ_from;
	for (unsigned h = 0; other && h + 1 < other->hops && h < CHOICE_HOPS_MAX; h++) {
		if ((c = search_find(s, other->id[h]))) {
			c->in_other = true;
			c->was_guard = h == 0;
		}
	}
}

bool search_init(struct search *s, const struct choice_request *q, const struct rng *rng)
{
	const struct directory *d = q->directory;
	*s = (struct search){.q = q, .rng = rng, .subnet_rule = d->params.v[PARAM_SUBNET_RULE]};
	s->all = calloc(d->n ? d->n : 1, sizeof(*s->all));
	s->pool = calloc(d->n ? d->n : 1, sizeof(*s->pool));
	if (!s->all || !s->pool) {
		search_done(s);
		return false;
	}
	for (size_t i = 0; i < d->n; i++) {
		const struct onion_key *key = relay_onion_key(&d->relay[i], q->now_s);
		if (key)
			s->all[s->n++] = (struct candidate){.relay = &d->relay[i], .key = key};
	}
	if (!cap_weights(s)) {
		search_done(s);
		return false;
	}
	mark(s);
	s->exit = search_find(s, q->exit_id);
	return true;
}

void search_done(struct search *s)
{
	free(s->all);
	free(s->pool);
	s->all = NULL;
	s->pool = NULL;
}

size_t search_draw(const struct search *s, struct candidate *const *from, size_t n)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < n; i++)
		sum += from[i]->weight;
	uint64_t at = rng_below(s->rng, sum);
	size_t i = 0;
	for (; at >= from[i]->weight; i++)
		at -= from[i]->weight;
	return i;
}

static bool share_subnet(const struct relay *a, const struct relay *b)
{
	return (a->v4.family && addr_same_subnet(&a->v4, &b->v4, SUBNET_V4_BITS)) ||
	       (a->v6.family && addr_same_subnet(&a->v6, &b->v6, SUBNET_V6_BITS));
}

static bool share_family(const struct relay *a, const struct relay *b)
{
	static const uint8_t none[32];
	return memcmp(a->family, none, 32) != 0 && memcmp(a->family, b->family, 32) == 0;
}

/* May the two stand on one path? */
static bool go_together(const struct search *s, const struct search_rules *rules,
			const struct candidate *a, const struct candidate *b)
{
	if (a == b)
		return false;
	if (!rules->no_family && share_family(a->relay, b->relay))
		return false;
	return !s->subnet_rule || rules->no_subnet || !share_subnet(a->relay, b->relay);
}

/* May this one stand in this role at all? The exit is the user's word, failed or not. */
static bool may_be(const struct search_rules *rules, const struct candidate *c, enum role role)
{
	if (!rules->no_live && (c->live_roles & ~role))
		return false;
	return role == ROLE_EXIT || rules->no_failed || !c->failed;
}

static bool can_send(const struct search_rules *rules, const struct candidate *from,
		     const struct candidate *to)
{
	return rules->no_underlay || relay_addr_from(to->relay, from->relay);
}

static bool client_can_send(const struct search *s, const struct search_rules *rules,
			    const struct candidate *to)
{
	return rules->no_underlay || relay_addr(to->relay, s->q->have_v4, s->q->have_v6);
}

/* Put those that go well with guard and exit into s->pool, in an order drawn by weight; returns how
 * many. */
static size_t make_pool(struct search *s, const struct search_rules *rules,
			const struct candidate *guard)
{
	size_t n = 0;
	for (size_t i = 0; i < s->n; i++) {
		struct candidate *c = &s->all[i];
		if (!may_be(rules, c, ROLE_MIDDLE) || !go_together(s, rules, c, guard) ||
		    !go_together(s, rules, c, s->exit))
			continue;
		if ((rules->avoid_exits && (c->relay->flags & RELAY_FLAG_EXIT)) ||
		    (rules->avoid_guards && c->in_use) || (rules->avoid_other && c->in_other))
			continue;
		s->pool[n++] = c;
	}
	for (size_t i = 0; i + 1 < n; i++) {
		size_t at = i < WEIGHTED_DRAWS ? search_draw(s, s->pool + i, n - i)
					       : rng_below(s->rng, n - i);
		struct candidate *c = s->pool[i + at];
		s->pool[i + at] = s->pool[i];
		s->pool[i] = c;
	}
	return n;
}

/* True when any order of these relays can send along the path. */
static bool order_is_free(const struct search *s, const struct candidate *guard, size_t n)
{
	bool v4 = guard->relay->v4.family && s->exit->relay->v4.family;
	bool v6 = guard->relay->v6.family && s->exit->relay->v6.family;
	for (size_t i = 0; i < n; i++) {
		v4 = v4 && s->pool[i]->relay->v4.family;
		v6 = v6 && s->pool[i]->relay->v6.family;
	}
	return v4 || v6;
}

/* Does the candidate at pool[pick[d]] go well with those before it? */
static bool fits(const struct search *s, const struct search_rules *rules,
		 const struct candidate *guard, const size_t *pick, unsigned d, unsigned middles)
{
	const struct candidate *c = s->pool[pick[d]];
	for (unsigned i = 0; i < d; i++)
		if (!go_together(s, rules, c, s->pool[pick[i]]))
			return false;
	if (!can_send(rules, d ? s->pool[pick[d - 1]] : guard, c))
		return false;
	return d + 1 < middles || can_send(rules, c, s->exit);
}

/* Find `middles` places of the pool that go well together. A walk over all sets (or orders), depth
 * first. */
static bool pick_middles(struct search *s, const struct search_rules *rules,
			 const struct candidate *guard, unsigned middles, size_t *pick)
{
	size_t n = make_pool(s, rules, guard);
	if (n < middles)
		return false;
	bool sets = order_is_free(s, guard, n);
	unsigned d = 0, steps = 0;
	pick[0] = 0;
	for (;;) {
		while (pick[d] < n && !fits(s, rules, guard, pick, d, middles) &&
		       steps++ < rules->steps)
			pick[d]++;
		if (steps++ >= rules->steps) {
			s->gave_up = true;
			return false;
		}
		if (pick[d] < n) {
			if (++d == middles)
				return true;
			pick[d] = sets ? pick[d - 1] + 1 : 0;
		} else if (d-- == 0) {
			return false;
		} else {
			pick[d]++;
		}
	}
}

static void fill(const struct search *s, const struct candidate *const *hop, struct choice *ret)
{
	*ret = (struct choice){.hops = s->q->hops};
	for (unsigned i = 0; i < ret->hops; i++) {
		const struct addr *a = i ? relay_addr_from(hop[i]->relay, hop[i - 1]->relay)
					 : relay_addr(hop[i]->relay, s->q->have_v4, s->q->have_v6);
		ret->hop[i].relay = hop[i]->relay;
		ret->hop[i].key = hop[i]->key;
		if (a) /* NULL only when a search passes over that rule, to say which one it is */
			ret->hop[i].addr = *a;
	}
}

bool search_path(struct search *s, const struct search_rules *rules, const struct candidate *guard,
		 struct choice *ret)
{
	const struct candidate *hop[CHOICE_HOPS_MAX];
	unsigned hops = s->q->hops;
	size_t pick[MIDDLES_MAX + 1];
	const struct candidate *first = hops == 1 ? s->exit : guard;
	if (!may_be(rules, s->exit, ROLE_EXIT) || !client_can_send(s, rules, first))
		return false;
	hop[0] = first;
	hop[hops - 1] = s->exit;
	if (hops > 1 &&
	    (!may_be(rules, guard, ROLE_GUARD) || !go_together(s, rules, guard, s->exit)))
		return false;
	if (hops == 2 && !can_send(rules, guard, s->exit))
		return false;
	if (hops > 2 && !pick_middles(s, rules, guard, hops - 2, pick))
		return false;
	for (unsigned i = 1; i + 1 < hops; i++)
		hop[i] = s->pool[pick[i - 1]];
	fill(s, hop, ret);
	return true;
}
