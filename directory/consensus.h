/* directory/consensus.h - the signed list of relays (PROTOCOL.md section 8): parse, verify, accept,
 * write, sign.
 *
 * A consensus on the heap is immutable and keeps its bytes. A client or relay calls
 * consensus_accept() for what it fetched and for what it finds on disk, writes c->bytes to disk,
 * and hands it to directory_new().
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/clock.h"
#include "crypto/sign.h"
#include "directory/netconf.h"
#include "directory/result.h"

#define CONSENSUS_RELAYS_MAX   65535
#define CONSENSUS_PARAMS_MAX   256
#define CONSENSUS_REVOKED_MAX  4096
#define CONSENSUS_SKEW_SECONDS 600 /* valid_after may lie so far ahead of our clock */
#define CONSENSUS_RELAY_BYTES  (32 + 32 + 4 + 4)
#define CONSENSUS_BODY_MAX_BYTES                                                                   \
	(4 + 4 + 8 + 8 + 8 + 8 + 2 + CONSENSUS_PARAMS_MAX * 6 + 2 +                                \
	 (size_t)CONSENSUS_RELAYS_MAX * CONSENSUS_RELAY_BYTES + 2 + 2 +                            \
	 CONSENSUS_REVOKED_MAX * 32)
#define CONSENSUS_MAX_BYTES                                                                        \
	(CONSENSUS_BODY_MAX_BYTES + 1 + NETCONF_AUTHORITIES_MAX * (1 + SIGN_BYTES))

struct consensus_param {
	uint16_t id;
	uint32_t value;
};

struct consensus_relay {
	uint8_t id[32];
	uint8_t hash[32]; /* of its descriptor */
	uint32_t flags;	  /* RELAY_FLAG_… as the authorities voted */
	uint32_t weight;  /* share of the traffic, about Mbit/s */
};

struct consensus_signature {
	uint8_t authority; /* number in struct netconf */
	uint8_t sig[SIGN_BYTES];
};

struct consensus {
	uint32_t net_id;
	uint64_t serial; /* = valid_after: seconds never repeat, whatever the interval */
	uint64_t valid_after, fresh_until, valid_until; /* seconds since 1970 */
	uint16_t nparams;
	uint16_t nrelays;
	uint16_t nrevoked;
	uint8_t nsignatures;
	struct consensus_param *param; /* by id */
	struct consensus_relay *relay; /* by ID, none of them revoked */
	uint8_t (*revoked)[32];	       /* by ID */
	struct consensus_signature signature[NETCONF_AUTHORITIES_MAX]; /* by authority */
	uint8_t body_hash[32]; /* H(all before the signatures): what is signed, and what the serial
				  stands for */
	uint8_t *bytes;	       /* the document as it came; NULL in one that was not parsed */
	size_t nbytes, nbody;
};

#define CONSENSUS_NO_CLOCK 0 /* for now_s: judge all but the times */

/* Decode and verify what came from disk or network: format, net id, k signatures of distinct pinned
 * keys, order against `have` (NULL: none), times at now_s. DIR_OK with *ret, the caller's to free;
 * else a reason, *ret untouched. DIR_SAME: it is `have`, nothing to do. Signatures that do not
 * verify are passed over when k others do. A client whose clock is behind gets DIR_FUTURE; k
 * signatures prove it, so it may call again with CONSENSUS_NO_CLOCK and then live by
 * consensus_clock(). An expired cache is read with CONSENSUS_NO_CLOCK too, to be `have`. */
enum dir_result consensus_accept(const struct netconf *net, const struct consensus *have,
				 uint64_t now_s, const uint8_t *p, size_t n, struct consensus **ret)
	__attribute__((warn_unused_result));
/* Decode alone: nothing verified but the format. For the authority, `show` and the fuzzer. */
enum dir_result consensus_parse(const uint8_t *p, size_t n, struct consensus **ret)
	__attribute__((warn_unused_result));
void consensus_free(struct consensus *c);
/* Signatures of distinct pinned keys that verify. *ret_bad (may be NULL): those that do not. */
unsigned consensus_signed_by(const struct consensus *c, const struct netconf *net,
			     unsigned *ret_bad);

bool consensus_is_fresh(const struct consensus *c, uint64_t now_s);
bool consensus_is_valid(const struct consensus *c, uint64_t now_s);
/* The time to put into handshakes: wall_s where it lies in valid_after - 10 min .. valid_until,
 * else valid_after plus the monotonic time since the consensus was fetched (PROTOCOL.md section 5).
 */
uint64_t consensus_clock(const struct consensus *c, uint64_t wall_s, nsec_t since_fetched);
/* When to fetch the next one: a random moment within one fresh period after fresh_until, and before
 * half of the time from there to valid_until has passed, so that clients neither come at once nor
 * late. After now_s always. */
uint64_t consensus_next_fetch(const struct consensus *c, uint64_t now_s, const struct rng *rng);
/* NULL when the ID is not listed. O(log n). */
const struct consensus_relay *consensus_find(const struct consensus *c, const uint8_t id[32]);
bool consensus_is_revoked(const struct consensus *c, const uint8_t id[32]);
/* `base` (network.conf's) with what the consensus says on top. */
void consensus_params(const struct consensus *c, const struct params *base, struct params *ret);

/* Write the body, or body and signatures, of c's fields into *ret (heap, the caller's) . 0, -EINVAL
 * when a field breaks the format (order, counts), -ENOMEM. */
int consensus_write(const struct consensus *c, bool with_signatures, uint8_t **ret, size_t *ret_n)
	__attribute__((warn_unused_result));
/* Sign or verify a body's hash as one authority. sign: 0 or what sign_message() returns. */
int consensus_sign(const uint8_t body_hash[32], const struct sign_keypair *key,
		   uint8_t out[SIGN_BYTES]) __attribute__((warn_unused_result));
bool consensus_verify(const uint8_t body_hash[32], const uint8_t key[32],
		      const uint8_t sig[SIGN_BYTES]) __attribute__((warn_unused_result));
