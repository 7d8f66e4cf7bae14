/* directory/choice_search.h - the search under directory/choice.h: candidates, rules, backtracking.
 * Only for directory/. */
#pragma once
#include "directory/choice.h"

enum role { ROLE_GUARD = 1, ROLE_MIDDLE = 2, ROLE_EXIT = 4 };

/* A relay that could be a hop, and what speaks against it. */
struct candidate {
	const struct relay *relay;
	const struct onion_key *key;
	uint32_t weight;    /* capped, never 0 */
	uint8_t live_roles; /* enum role: what other live paths use it for */
	bool failed;
	bool in_other;	/* a hop of differ_from */
	bool was_guard; /* the guard of differ_from */
	bool in_use;	/* a guard of ours: as a middle it could no longer be one */
};

/* What one search may pass over, and what it shall avoid. */
struct search_rules {
	bool no_underlay, no_subnet, no_family, no_live, no_failed; /* these rules do not count */
	bool avoid_exits, avoid_guards, avoid_other; /* these wishes for middles do */
	unsigned steps;
};

struct search {
	const struct choice_request *q;
	bool subnet_rule;
	struct candidate *all; /* owned: every relay with a key for now */
	size_t n;
	struct candidate *exit;	 /* one of them */
	struct candidate **pool; /* owned: room for n */
	const struct rng *rng;
	bool gave_up; /* some search met its limit of steps */
};

/* Gather the candidates of q's directory. False without memory. s->exit is NULL when the exit has
 * no key. */
bool search_init(struct search *s, const struct choice_request *q, const struct rng *rng);
void search_done(struct search *s);
struct candidate *search_find(const struct search *s, const uint8_t id[32]);
/* One path of q->hops through `guard` (NULL when q->hops is 1) under the rules; false when there is
 * none or the steps ran out (s->gave_up). */
bool search_path(struct search *s, const struct search_rules *rules, const struct candidate *guard,
		 struct choice *ret);
/* Draw one of the n > 0 candidates at `from` by weight; returns its place. */
size_t search_draw(const struct search *s, struct candidate *const *from, size_t n);
