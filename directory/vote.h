/* directory/vote.h - how authorities agree: a vote each, one tally that all reach alike, a
 * signature each.
 *
 * vote      : "SPV1" | u32 net_id | u64 serial | u8 authority | params u16 n {u16, u32}
 *             | relays u16 n, by ID {ID, H(descriptor), u32 flags, u32 weight}
 *             | revoked u16 n, by ID {ID} | sig over "sispop1 vote" | H(all before)
 * signature : "SPS1" | u32 net_id | u64 serial | u8 authority | H(body)[32]
 *             | sig over "sispop1 cons" | H(body)
 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "directory/consensus.h"

#define VOTE_MAX_BYTES                                                                             \
	(4 + 4 + 8 + 1 + 2 + CONSENSUS_PARAMS_MAX * 6 + 2 +                                        \
	 (size_t)CONSENSUS_RELAYS_MAX * CONSENSUS_RELAY_BYTES + 2 + CONSENSUS_REVOKED_MAX * 32 +   \
	 SIGN_BYTES)
#define VOTE_SIGNATURE_BYTES (4 + 4 + 8 + 1 + 32 + SIGN_BYTES)

struct vote {
	uint64_t serial; /* of the consensus it is for */
	uint8_t authority;
	uint16_t nparams, nrelays, nrevoked;
	struct consensus_param *param; /* all three sorted, as in struct consensus */
	struct consensus_relay *relay;
	uint8_t (*revoked)[32];
	uint8_t hash[32]; /* H(all before the signature): two votes are one vote when equal */
};

struct vote_signature {
	uint64_t serial;
	uint8_t authority;
	uint8_t body_hash[32];
	uint8_t sig[SIGN_BYTES];
};

/* Decode and verify against the pinned keys. DIR_OK with *ret (heap, the caller's) or a reason. */
enum dir_result vote_parse(const struct netconf *net, const uint8_t *p, size_t n, struct vote **ret)
	__attribute__((warn_unused_result));
void vote_free(struct vote *v);
/* Encode v's fields and sign; sets v->hash. *ret is heap, the caller's. 0, -EINVAL, -ENOMEM or
 * sign_message()'s. */
int vote_write(struct vote *v, const struct netconf *net, const struct sign_keypair *key,
	       uint8_t **ret, size_t *ret_n) __attribute__((warn_unused_result));

enum dir_result vote_signature_parse(const struct netconf *net, const uint8_t *p, size_t n,
				     struct vote_signature *ret)
	__attribute__((warn_unused_result));
void vote_signature_write(const struct vote_signature *s, const struct netconf *net,
			  uint8_t out[VOTE_SIGNATURE_BYTES]);

/* The consensus without signatures that these votes (distinct authorities, one serial; NULL entries
 * are skipped) make: a relay when more than half of all net->n voted one H for it and as many did
 * not revoke it; a flag when more than half of those who voted that H set it; weight and params the
 * lower median. The same votes in any order give the same bytes. *ret is the caller's. 0, -ENOMEM.
 */
int vote_tally(const struct netconf *net, struct vote *const *votes, size_t n, uint64_t serial,
	       struct consensus **ret) __attribute__((warn_unused_result));
