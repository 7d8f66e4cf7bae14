/* directory/choice.c - which guard to try and which wishes to give up, and which rule left no path.
 */
#include "directory/choice.h"
#include <stdlib.h>
#include <string.h>
#include "directory/choice_search.h"

static const struct {
	const char *code, *text;
} rows[CHOICE_RESULT_COUNT] = {
#define X(id, code, text) [CHOICE_##id] = {code, text},
	CHOICE_RESULT_LIST(X)
#undef X
};

const char *choice_result_code(enum choice_result r)
{
	return (size_t)r < CHOICE_RESULT_COUNT ? rows[r].code : "unknown";
}

const char *choice_result_text(enum choice_result r)
{
	return (size_t)r < CHOICE_RESULT_COUNT ? rows[r].text : "unknown result";
}

void choice_ids(const struct choice *c, struct choice_path *ret)
{
	*ret = (struct choice_path){.hops = c->hops};
	for (unsigned i = 0; i < c->hops; i++)
		memcpy(ret->id[i], c->hop[i].relay->id, 32);
}

/* Through one guard: first with all wishes, then with fewer. Only the last word may be "given up".
 */
static bool try_guard(struct search *s, const struct candidate *guard, struct choice *ret)
{
	static const struct search_rules wishes[] = {
		{.avoid_exits = true, .avoid_guards = true, .avoid_other = true},
		{.avoid_guards = true, .avoid_other = true},
		{.avoid_exits = true, .avoid_guards = true},
		{.avoid_guards = true},
	};
	bool gave_up = s->gave_up;
	for (size_t i = 0; i < sizeof(wishes) / sizeof(wishes[0]); i++) {
		struct search_rules rules = wishes[i];
		rules.steps = CHOICE_STEPS_MAX / 10;
		if (search_path(s, &rules, guard, ret))
			return true;
	}
	s->gave_up = gave_up;
	const struct search_rules all = {.steps = CHOICE_STEPS_MAX};
	return search_path(s, &all, guard, ret);
}

/* Through any relay that may be a guard, drawn by weight, those without an exit first: how one is
 * sampled. Those in `known` are left out. With `rules` given: is there a path at all? */
static bool try_any(struct search *s, const struct search_rules *rules, const struct guards *known,
		    struct choice *ret)
{
	struct candidate **list = calloc(s->n ? s->n : 1, sizeof(struct candidate *));
	bool found = false;
	for (int exits = 0; list && exits < 2 && !found; exits++) {
		size_t n = 0;
		for (size_t i = 0; i < s->n; i++) {
			uint32_t flags = s->all[i].relay->flags;
			if ((flags & RELAY_FLAG_GUARD) && !(flags & RELAY_FLAG_EXIT) == !exits &&
			    !(known && guards_has(known, s->all[i].relay->id)))
				list[n++] = &s->all[i];
		}
		while (n && !found) {
			size_t at = search_draw(s, list, n);
			found = rules ? search_path(s, rules, list[at], ret)
				      : try_guard(s, list[at], ret);
			list[at] = list[--n];
		}
	}
	free(list);
	return found;
}

/* Sample guards until as many are in use as shall be, as far as limit and directory allow. Each is
 * one through which this very path could go. */
static void fill_guards(struct search *s, struct guards *g)
{
	uint8_t order[GUARDS_MAX][32];
	size_t in_use;
	struct choice c;
	while (guards_order(g, s->q->directory, order, &in_use) < GUARDS_IN_USE &&
	       guards_may_sample(g, s->q->now_s)) {
		if (!try_any(s, NULL, g, &c) ||
		    guards_add(g, c.hop[0].relay->id, s->q->now_s, s->rng))
			return;
	}
}

/* Those in use come first, in random order, so that traffic is spread over them. */
static void shuffle(const struct rng *rng, uint8_t ids[][32], size_t n)
{
	for (size_t i = n; i > 1; i--) {
		size_t at = rng_below(rng, i);
		uint8_t id[32];
		memcpy(id, ids[at], 32);
		memcpy(ids[at], ids[i - 1], 32);
		memcpy(ids[i - 1], id, 32);
	}
}

/* One pass over the sampled guards: those that are the other path's guard, or those that are not.
 */
static bool try_sampled(struct search *s, uint8_t order[][32], size_t n, bool same,
			struct choice *ret)
{
	for (size_t i = 0; i < n; i++) {
		const struct candidate *c = search_find(s, order[i]);
		if (c && c->was_guard == same && try_guard(s, c, ret))
			return true;
	}
	return false;
}

static bool choose(struct search *s, struct guards *g, struct choice *ret)
{
	uint8_t order[GUARDS_MAX][32];
	size_t in_use;
	if (s->q->hops == 1)
		return try_guard(s, NULL, ret);
	if (!g)
		return try_any(s, NULL, NULL, ret);
	guards_tick(g, s->q->now_s);
	fill_guards(s, g);
	size_t n = guards_order(g, s->q->directory, order, &in_use);
	for (size_t i = 0; i < in_use; i++) {
		struct candidate *c = search_find(s, order[i]);
		if (c)
			c->in_use = true;
	}
	shuffle(s->rng, order, in_use);
	if (try_sampled(s, order, n, false, ret) || try_sampled(s, order, n, true, ret))
		return true;
	if (!guards_may_sample(g, s->q->now_s) || !try_any(s, NULL, g, ret))
		return false;
	return guards_add(g, ret->hop[0].relay->id, s->q->now_s, s->rng) == 0;
}

static bool is_possible(struct search *s, const struct search_rules *rules)
{
	struct choice c;
	return s->q->hops == 1 ? search_path(s, rules, NULL, &c) : try_any(s, rules, NULL, &c);
}

static bool has_guard(const struct search *s)
{
	for (size_t i = 0; i < s->n; i++)
		if (&s->all[i] != s->exit && (s->all[i].relay->flags & RELAY_FLAG_GUARD))
			return true;
	return false;
}

/* Leave out one rule after the other: the first without which there is a path is the one to name.
 */
static enum choice_result why_not(struct search *s)
{
	const unsigned steps = CHOICE_STEPS_MAX / 10;
	const struct {
		enum choice_result why;
		struct search_rules rules;
	} tries[] = {
		{CHOICE_GUARDS, {.steps = steps}},
		{CHOICE_FAILED, {.no_failed = true, .steps = steps}},
		{CHOICE_LIVE, {.no_live = true, .steps = steps}},
		{CHOICE_SUBNET, {.no_subnet = true, .steps = steps}},
		{CHOICE_FAMILY, {.no_family = true, .steps = steps}},
		{CHOICE_UNDERLAY, {.no_underlay = true, .steps = steps}},
	};
	if (s->n < s->q->hops)
		return CHOICE_TOO_FEW;
	if (s->q->hops > 1 && !has_guard(s))
		return CHOICE_NO_GUARD_FLAG;
	if (s->gave_up)
		return CHOICE_STEPS;
	for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++)
		if (is_possible(s, &tries[i].rules))
			return tries[i].why;
	return CHOICE_RULES;
}

/* What can be said of the exit before any search. */
static enum choice_result judge_exit(const struct choice_request *q)
{
	const struct relay *exit = directory_find(q->directory, q->exit_id);
	if (consensus_is_revoked(q->directory->consensus, q->exit_id))
		return CHOICE_REVOKED;
	if (!exit)
		return CHOICE_NO_EXIT;
	if (!(exit->flags & RELAY_FLAG_EXIT))
		return CHOICE_NOT_AN_EXIT;
	return relay_onion_key(exit, q->now_s) ? CHOICE_OK : CHOICE_EXIT_KEY;
}

enum choice_result choice_make(const struct choice_request *q, struct guards *guards,
			       const struct rng *rng, struct choice *ret)
{
	if (q->hops < 1 || q->hops > CHOICE_HOPS_MAX)
		return CHOICE_HOPS;
	enum choice_result result = judge_exit(q);
	if (result != CHOICE_OK)
		return result;
	struct search s;
	struct choice c;
	if (!search_init(&s, q, rng))
		return CHOICE_NO_MEMORY;
	if (s.exit->live_roles & ~ROLE_EXIT)
		result = CHOICE_EXIT_LIVE;
	else if (choose(&s, guards, &c))
		*ret = c;
	else
		result = why_not(&s);
	search_done(&s);
	return result;
}
