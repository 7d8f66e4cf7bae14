/* onion/build.h - the build onion of PROTOCOL.md section 5, made and opened: bytes in, bytes out.
 *
 * The client makes an onion for 1..8 hops and later opens the reply. A relay peels one layer and seals one
 * layer of reply. Fields are always 800 and 512 B on the wire; what follows the onion is random.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/random.h"
#include "crypto/handshake.h"
#include "onion/wire.h"

/* One hop as the client knows it from the directory. */
struct build_hop {
	uint8_t id[32];
	uint8_t onion_key[32];
	uint16_t keyid;
};

struct build_client {
	unsigned hops;
	struct hs hs[HOPS_MAX];
};

/* Write the field[800] for these hops (1..HOPS_MAX). *ret_len is the onion's length (98 * hops).
 * -EINVAL for a bad count, -EPROTO for a hop whose key is none. b is wiped by build_client_done(). */
int build_onion(struct build_client *b, const struct build_hop *hops, unsigned n, uint16_t lifetime_s,
		uint32_t time_min, const struct rng *rng, uint8_t field[ONION_FIELD_BYTES], uint16_t *ret_len)
	__attribute__((warn_unused_result));

struct build_answer {
	enum build_status status;            /* of the first hop that did not say ok; BUILD_OK when all did */
	unsigned failed_hop;                 /* its index, 0-based; = hops when all are ok */
	uint16_t max_dgram[HOPS_MAX];
	uint32_t lifetime_s[HOPS_MAX];
	struct path_keys keys[HOPS_MAX];     /* valid up to failed_hop (exclusive); wipe after use */
	uint8_t h_last[32];                  /* h of the last hop when all are ok */
};

/* Open the reply. False when any layer does not verify (drop it, wait on: it was not from those hops).
 * A hop that reports a failure ends the reading. */
bool build_open_reply(struct build_client *b, const uint8_t field[REPLY_FIELD_BYTES], struct build_answer *ret)
	__attribute__((warn_unused_result));
void build_client_done(struct build_client *b);
void build_answer_done(struct build_answer *a);

/* What a relay reads in its layer. */
struct build_request {
	bool last;
	uint8_t fill;
	uint16_t lifetime_s;
	uint32_t time_min;
	uint8_t id_next[32];
	uint16_t inner_len;  /* 98 * hops behind this one */
	uint8_t x[32];
	uint8_t field[ONION_FIELD_BYTES]; /* the onion for the next hop, with fresh random behind it */
};

enum peel { PEEL_OK, PEEL_FORMAT, PEEL_KEYID, PEEL_OPEN };

/* keyid and X of an onion without opening it; false when onion_len is impossible (not a multiple of 98 in 98..784). */
bool build_peek(const uint8_t field[ONION_FIELD_BYTES], uint16_t onion_len, uint16_t *ret_keyid, uint8_t ret_x[32])
	__attribute__((warn_unused_result));
/* Open our layer. hs is ready for hs_reply_start() after PEEL_OK and PEEL_FORMAT. PEEL_KEYID: key is NULL. PEEL_OPEN: an
 * impossible onion_len, or it does not verify. PEEL_FORMAT: it verified, but its fields contradict each other (a last
 * hop with an inner onion, wrong inner_len, fill + hops left not in 3..8, non-zero reserved bytes, unknown flags);
 * ret->field is then not written. */
enum peel build_peel(struct hs *hs, const uint8_t id[32], const struct onion_keypair *key,
		     const uint8_t field[ONION_FIELD_BYTES], uint16_t onion_len, const struct rng *rng,
		     struct build_request *ret);
/* Seal our layer of the reply around inner (64 * (hops_left - 1) bytes, or NULL: random bytes, for a failure),
 * fill the field[512] up with random bytes. hops_left counts this hop. hs must have seen hs_reply_start() with y. */
void build_seal_reply(struct hs *hs, const uint8_t y[32], enum build_status status, uint16_t max_dgram,
		      uint32_t lifetime_s, const uint8_t *inner, unsigned hops_left, const struct rng *rng,
		      uint8_t field[REPLY_FIELD_BYTES]);
