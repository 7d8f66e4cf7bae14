/* authority/round.h - one round of agreement: votes, signatures. Pure.
 *
 * Each round is for one serial, the second at which it begins by the wall clock. Its duration:
 *	0	everybody posts a vote to everybody
 *	1/4	everybody posts on what it got: who voted twice is found out and does not count
 *	1/2	everybody tallies, signs and posts the signature; who holds k signatures for the
 *		body publishes, and adds those that come later
 *	4/4	who does not hold them has failed, and asks the others for what they have
 * The owner drives it by round_next_ms() and the verbs; with one authority all is in one call.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "directory/vote.h"

enum round_phase { ROUND_VOTE, ROUND_SHOW, ROUND_SIGN, ROUND_DONE, ROUND_FAILED };

struct round {
	const struct netconf *net; /* outlives it */
	uint8_t me;
	uint64_t serial;
	uint64_t begin_ms, duration_ms; /* since 1970 */
	enum round_phase phase;
	struct vote *vote[NETCONF_AUTHORITIES_MAX]; /* owned; by authority */
	uint8_t *bytes[NETCONF_AUTHORITIES_MAX];    /* owned; as they came */
	size_t nbytes[NETCONF_AUTHORITIES_MAX];
	bool two_faced[NETCONF_AUTHORITIES_MAX]; /* voted twice, differently */
	struct consensus *body;			 /* owned; from ROUND_SIGN on */
	bool has_signature[NETCONF_AUTHORITIES_MAX];
	struct vote_signature signature[NETCONF_AUTHORITIES_MAX];
};

void round_init(struct round *r, const struct netconf *net, uint8_t me, uint64_t serial,
		uint64_t duration_ms);
void round_done(struct round *r);
/* When the phase ends (ms since 1970). */
uint64_t round_next_ms(const struct round *r);
/* Take a vote in bytes. DIR_OK; DIR_SAME when it is here; DIR_CONFLICT when its authority voted
 * otherwise before, and then neither counts; DIR_STALE for another serial or when votes are no
 * longer taken; else what vote_parse() says. */
enum dir_result round_take_vote(struct round *r, const uint8_t *p, size_t n)
	__attribute__((warn_unused_result));
/* Take a signature that vote_signature_parse() found good. DIR_CONFLICT when it is for another body
 * than ours. */
enum dir_result round_take_signature(struct round *r, const struct vote_signature *s)
	__attribute__((warn_unused_result));
/* Votes that count. */
unsigned round_votes(const struct round *r);
/* Tally them into r->body. 0; -ENODATA with fewer than a majority of votes, or when no relay is
 * agreed on; -ENOMEM. */
int round_tally(struct round *r) __attribute__((warn_unused_result));
/* Signatures for our body. */
unsigned round_agreeing(const struct round *r);
/* The whole document, signatures included. *ret is the caller's. */
int round_assemble(const struct round *r, uint8_t **ret, size_t *ret_n)
	__attribute__((warn_unused_result));
