/* directory/choice.h - which relays a path goes through (PROTOCOL.md section 5, last paragraph).
 * Pure.
 *
 * Hard rules: the exit is the one named; the first hop of two or more is one of the guards; no two
 * hops with one ID, family, IPv4 /16 or IPv6 /32 (the last two unless the network file says
 * subnet-rule = no); no relay that another live path of this client uses in another place (guard,
 * middle, exit); no relay that failed lately, the exit aside; each hop reachable from the one
 * before it by IPv4 or IPv6, the first from the client; every hop with an onion key for now.
 * Wishes, given up when they leave no path: guards in use before others, another guard and other
 * middles than `differ_from`, neither exits nor own guards as middles. Middles are drawn by weight,
 * none above 4 times the median. The search is exhaustive within CHOICE_STEPS_MAX steps.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/random.h"
#include "directory/directory.h"
#include "directory/guards.h"

#define CHOICE_HOPS_MAX	  8
#define CHOICE_STEPS_MAX  200000 /* of one search; a wish gets a tenth */
#define CHOICE_WEIGHT_CAP 4	 /* times the median */

struct choice_path {
	unsigned hops;
	uint8_t id[CHOICE_HOPS_MAX][32]; /* first hop first */
};

struct choice_request {
	const struct directory *directory;
	uint64_t now_s;
	unsigned hops;			/* 1..8 */
	const uint8_t *exit_id;		/* [32] */
	bool have_v4, have_v6;		/* the client's underlay */
	const struct choice_path *live; /* the client's other paths that carry or may carry data */
	size_t nlive;
	const uint8_t (*failed)[32]; /* relays that failed lately */
	size_t nfailed;
	const struct choice_path *differ_from; /* for a standby path: the primary; NULL else */
};

struct choice_hop {
	const struct relay *relay;
	const struct onion_key *key;
	struct addr addr; /* where the hop before it (or the client) sends to */
};

struct choice {
	unsigned hops;
	struct choice_hop hop[CHOICE_HOPS_MAX]; /* valid as long as the directory */
};

#define CHOICE_RESULT_LIST(X)                                                                      \
	X(OK, "ok", "a path was found")                                                            \
	X(HOPS, "bad-hops", "a path has 1 to 8 hops")                                              \
	X(NO_EXIT, "no-such-exit",                                                                 \
	  "the exit is not in the directory: check its name, or wait until it is listed")          \
	X(NOT_AN_EXIT, "not-an-exit",                                                              \
	  "the relay of that name is listed, but not as an exit: name another")                    \
	X(REVOKED, "exit-revoked", "the authorities revoked this exit: name another")              \
	X(EXIT_KEY, "exit-key",                                                                    \
	  "the exit's onion key has expired: check this machine's clock, or wait")                 \
	X(EXIT_LIVE, "exit-in-use",                                                                \
	  "another path uses the exit as guard or middle: close that path first")                  \
	X(TOO_FEW, "too-few-relays", "there are fewer relays than hops: use fewer hops")           \
	X(GUARDS, "no-guard",                                                                      \
	  "no guard is usable and no more may be sampled for now: wait, or check the network")     \
	X(NO_GUARD_FLAG, "no-guard-listed",                                                        \
	  "the directory lists no relay that may be a first hop besides the exit")                 \
	X(UNDERLAY, "underlay",                                                                    \
	  "no path of relays shares IPv4 or IPv6 all the way from this machine: use fewer hops, "  \
	  "or get the other family")                                                               \
	X(SUBNET, "subnet",                                                                        \
	  "too many relays share an IPv4 /16 or IPv6 /32: use fewer hops, or on a test network "   \
	  "subnet-rule = no")                                                                      \
	X(FAMILY, "family", "too many relays belong to one operator: use fewer hops")              \
	X(LIVE, "live",                                                                            \
	  "the relays left are in use at another place by another path: use fewer hops")           \
	X(FAILED, "failed", "the relays left failed a moment ago: wait")                           \
	X(RULES, "rules", "several rules together leave no path: use fewer hops")                  \
	X(STEPS, "too-hard", "the search for a path was given up: use fewer hops")                 \
	X(NO_MEMORY, "no-memory", "there is no memory to choose a path")

enum choice_result {
#define X(id, code, text) CHOICE_##id,
	CHOICE_RESULT_LIST(X)
#undef X
		CHOICE_RESULT_COUNT
};

const char *choice_result_code(enum choice_result r);
const char *choice_result_text(enum choice_result r);

/* Choose. `guards` may gain a guard (its `changed` is then set); NULL: any relay with the guard
 * flag, for tests. CHOICE_OK with *ret; else a reason, *ret untouched. */
enum choice_result choice_make(const struct choice_request *q, struct guards *guards,
			       const struct rng *rng, struct choice *ret)
	__attribute__((warn_unused_result));
/* The IDs alone, to be kept as `live` and `differ_from`. */
void choice_ids(const struct choice *c, struct choice_path *ret);
