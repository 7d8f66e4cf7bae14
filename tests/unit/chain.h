/* tests/unit/chain.h - a client, relays and an exit in a row, each with its own tables and dp_thread; made by hand from
 * seeded keys, without handshakes. Link i joins party i and party i + 1; party 0 is the client.
 */
#pragma once
#include <stdbool.h>
#include "crypto/handshake.h"
#include "onion/dataplane.h"
#include "unit/seeded.h"

#define CHAIN_NOW (5 * NSEC_PER_SEC)

struct party {
	struct addr addr;
	struct slots *links, *circuits;
	struct filler filler;
	struct drops drops;
	struct dp_thread t;
};

struct chain {
	unsigned hops;
	struct seeded seeded;
	struct rng rng;
	struct aead_ctx *aead;
	struct party party[HOPS_MAX + 1];
	struct link_data near[HOPS_MAX], far[HOPS_MAX]; /* link i at party i, at party i + 1 */
	struct circuit circuit[HOPS_MAX];               /* of party i + 1 */
	struct path_data path;
};

struct datagram {
	size_t n;
	uint8_t d[DATAGRAM_MAX + 64];
};

/* Big: take it from the heap. Aborts when anything fails. */
struct chain *chain_new(unsigned hops, uint64_t seed);
void chain_free(struct chain *c);
/* Other keys for hop i (0-based), at both its ends. */
void chain_set_keys(struct chain *c, unsigned i, const struct path_keys *k);

/* Give the datagram to party `to` as if it came over link `link` from its other side. */
void chain_give(struct chain *c, unsigned to, struct datagram *d, struct dp_result *ret);
/* Seal at the client or at the exit. False: refused. */
bool chain_seal_path(struct chain *c, struct datagram *d, const void *plain, size_t n, uint16_t full, enum padding how);
bool chain_seal_circuit(struct chain *c, struct datagram *d, const void *plain, size_t n, uint16_t full,
			enum padding how);
/* The same packet from party `from` (exclusive) on; on[i] gets what travels on link i (may be NULL). Returns the last
 * result: DP_PLAIN at the end, or the drop; *ret_party is where. */
struct dp_result chain_run_forward(struct chain *c, struct datagram *d, unsigned from, struct datagram *on,
				   unsigned *ret_party);
struct dp_result chain_run_backward(struct chain *c, struct datagram *d, unsigned from, struct datagram *on,
				    unsigned *ret_party);
uint64_t chain_dropped(const struct chain *c, unsigned party, enum drop why);
