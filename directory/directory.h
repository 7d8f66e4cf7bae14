/* directory/directory.h - a consensus joined with the descriptors that it names: what paths are
 * chosen from.
 *
 * Immutable once made, so that any thread may read it; whoever made it frees it (after a grace
 * period where other threads read).
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "directory/consensus.h"
#include "directory/descriptor.h"

/* What the client and the relay know of one relay. Policies stay encoded: see relay_policy(). */
struct relay {
	uint8_t id[32];
	uint8_t hash[32];
	uint32_t flags, weight; /* the consensus's word */
	struct addr v4, v6;
	uint8_t nkeys;
	struct onion_key key[DESCRIPTOR_KEYS_MAX];
	uint16_t dir_port, max_dgram;
	uint32_t mbit;
	uint8_t family[32];
	uint64_t valid_until; /* of the descriptor */
	char nickname[DESCRIPTOR_NICKNAME_MAX + 1];
	const uint8_t *raw; /* its descriptor's bytes, owned by the directory */
	uint16_t nraw;
};

/* Which relay stands at an address. */
struct relay_at {
	struct addr addr;
	const struct relay *relay;
};

struct directory {
	struct consensus *consensus; /* owned */
	struct params params;	     /* network.conf's with the consensus's on top */
	size_t n;		     /* relays with a descriptor */
	struct relay *relay;	     /* by ID */
	struct relay_at *by_addr;    /* sorted */
	size_t nby_addr;
	size_t missing; /* listed relays whose descriptor has not come */
	uint8_t *blob;	/* {u16 len, descriptor}… as mirrored and cached */
	size_t nblob;
};

/* The most bytes that GET /sispop/1/descriptors may answer for this consensus. */
size_t directory_descriptors_max(const struct consensus *c);
/* Join. `p` holds n bytes of {u16 len, descriptor}…, in any order; those that the consensus does
 * not name by hash are passed over. `old` (may be NULL) lends the descriptors it has, so that a cut
 * or partial answer still serves. Takes c over when it returns DIR_OK (*ret is the caller's), and
 * only then. DIR_CUT when the last descriptor is cut off or one that is named is malformed *and*
 * relays are missing thereby; else a directory with d->missing counted. */
enum dir_result directory_new(struct consensus *c, const struct params *base, const uint8_t *p,
			      size_t n, const struct directory *old, struct directory **ret)
	__attribute__((warn_unused_result));
void directory_free(struct directory *d);
/* NULL when absent. O(log n). */
const struct relay *directory_find(const struct directory *d, const uint8_t id[32]);
/* The relay that stands at this address and port; NULL when none. For "is this link a relay's?".
 * O(log n). Where several claim one address, any of them. */
const struct relay *directory_find_addr(const struct directory *d, const struct addr *a);
/* Its exit policy. False when it has none (n = 0). */
bool relay_policy(const struct relay *r, struct policy *ret);
const struct onion_key *relay_onion_key(const struct relay *r, uint64_t now_s);
/* The address to reach it at from a host with these families, v4 first; NULL when there is none. */
const struct addr *relay_addr(const struct relay *r, bool have_v4, bool have_v6);
/* The same from another relay: a family that both have, v4 first. */
const struct addr *relay_addr_from(const struct relay *to, const struct relay *from);
