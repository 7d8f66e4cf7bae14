/* directory/descriptor.h - a relay's signed word about itself (PROTOCOL.md section 8). Plain
 * values. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "crypto/sign.h"
#include "directory/policy.h"

#define DESCRIPTOR_MAX_BYTES	     2048
#define DESCRIPTOR_KEYS_MAX	     4
#define DESCRIPTOR_NICKNAME_MAX	     20
#define DESCRIPTOR_CONTACT_MAX	     100
#define DESCRIPTOR_VALID_MAX_SECONDS (14 * 86400) /* valid_until - published */
#define DESCRIPTOR_SKEW_SECONDS	     600  /* `published` may lie so far ahead of our clock */
#define DESCRIPTOR_DGRAM_MIN	     1240 /* max_dgram: the least and the most full datagram */
#define DESCRIPTOR_DGRAM_MAX	     1452

#define RELAY_FLAG_GUARD	     0x1u /* may be a first hop */
#define RELAY_FLAG_EXIT		     0x2u /* has an exit policy that accepts something */
#define RELAY_FLAGS_KNOWN	     (RELAY_FLAG_GUARD | RELAY_FLAG_EXIT)

struct onion_key {
	uint16_t keyid;
	uint8_t public_key[32];
	uint64_t from, to; /* seconds since 1970: valid when from <= now < to */
};

struct descriptor {
	uint8_t id[32];
	uint64_t published, valid_until; /* seconds since 1970 */
	uint8_t nkeys;			 /* 1..DESCRIPTOR_KEYS_MAX, keyids distinct */
	struct onion_key key[DESCRIPTOR_KEYS_MAX];
	uint32_t flags;	    /* RELAY_FLAG_…; unknown bits are kept */
	struct addr v4, v6; /* where links go to; family 0: none; at least one stands */
	uint16_t dir_port;  /* HTTP mirror of the directory; 0: none */
	uint16_t max_dgram; /* largest datagram on its links, bytes of UDP payload */
	uint32_t mbit;	    /* what it offers, Mbit/s */
	uint8_t family[32]; /* relays of one operator share it; all zero: none */
	struct policy policy;
	char nickname[DESCRIPTOR_NICKNAME_MAX + 1]; /* printable ASCII, may be empty */
	char contact[DESCRIPTOR_CONTACT_MAX + 1];   /* printable ASCII, may be empty */
};

/* Decode the n bytes at p and verify the signature. 0; -EBADMSG when the format or a limit is
 * broken; -EKEYREJECTED when it does not verify. *ret is untouched after a failure. Times are not
 * judged. */
int descriptor_parse(const uint8_t *p, size_t n, struct descriptor *ret)
	__attribute__((warn_unused_result));
/* As descriptor_parse without the signature: for bytes whose hash stands in a verified consensus.
 */
int descriptor_parse_known(const uint8_t *p, size_t n, struct descriptor *ret)
	__attribute__((warn_unused_result));
/* Encode and sign with the relay's identity into out[room]; d->id is not read: the key's own goes
 * in. 0; -EINVAL when d breaks a limit of the format; -EMSGSIZE when it is longer than room or
 * DESCRIPTOR_MAX_BYTES; or what sign_message() returns. */
int descriptor_write(const struct descriptor *d, const struct sign_keypair *id, uint8_t *out,
		     size_t room, size_t *ret_n) __attribute__((warn_unused_result));
/* H over all bytes, signature included: what the consensus lists. */
void descriptor_hash(const uint8_t *p, size_t n, uint8_t out[32]);
/* published - 10 min <= now < valid_until */
bool descriptor_is_valid_at(const struct descriptor *d, uint64_t now_s);
/* The key with the newest `from` <= now that is not past its `to`; NULL when there is none. */
const struct onion_key *onion_key_current(const struct onion_key *key, size_t n, uint64_t now_s);
const struct onion_key *descriptor_onion_key(const struct descriptor *d, uint64_t now_s);
