/* onion/link_init.h - the handshake datagrams of links as bytes: LINK_INIT, LINK_RESP, COOKIE and
 * what two of them seal (req, rep). PROTOCOL.md section 4.
 *
 * Pure layouts. Parsers take a whole datagram and return false for another length, another type, or
 * non-zero bytes where the paper says zero; they verify nothing. Writers cannot fail. mac1 covers
 * the first LINK_MAC1_OFFSET bytes, mac2 the first LINK_MAC2_OFFSET.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "crypto/cookie.h"
#include "onion/wire.h"

#define LINK_CT_BYTES (LINK_REQ_BYTES + AEAD_TAG)
#define LINK_RT_BYTES (LINK_REP_BYTES + AEAD_TAG)

struct link_init {
	uint8_t version; /* any: the responder answers LINK_VERSION */
	uint16_t keyid;
	uint32_t sender_id; /* never 0 */
	uint8_t x[X25519_LEN];
	uint8_t ct[LINK_CT_BYTES];
};

struct link_resp {
	uint32_t receiver_id; /* of INIT's sender; never 0 */
	uint8_t version;
	uint32_t sender_id; /* never 0 */
	uint8_t y[X25519_LEN];
	uint8_t rt[LINK_RT_BYTES];
};

struct link_cookie {
	uint32_t receiver_id;
	uint8_t nonce[COOKIE_NONCE_BYTES];
	uint8_t sealed[COOKIE_SEALED_BYTES];
};

/* Sealed in an INIT. */
struct link_req {
	uint32_t net_id;
	uint32_t time_min;  /* the initiator's clock, minutes since 1970 */
	uint16_t max_dgram; /* at least DATAGRAM_FULL_LEAST */
	enum link_role role;
};

/* Sealed in a RESP. */
struct link_rep {
	enum link_status status;
	uint8_t version_most;
	uint16_t max_dgram;   /* at least DATAGRAM_FULL_LEAST */
	uint64_t time_s;      /* the responder's clock, seconds since 1970 */
	struct addr observed; /* where the INIT came from, as the responder saw it */
	uint64_t serial;      /* of the responder's consensus */
	uint32_t circuits_limit;
	uint32_t init_id; /* INIT's sender_link_id */
	uint32_t resp_id; /* RESP's sender_link_id */
};

bool link_init_parse(const uint8_t *d, size_t n, struct link_init *ret)
	__attribute__((warn_unused_result));
bool link_resp_parse(const uint8_t *d, size_t n, struct link_resp *ret)
	__attribute__((warn_unused_result));
bool link_cookie_parse(const uint8_t *d, size_t n, struct link_cookie *ret)
	__attribute__((warn_unused_result));
bool link_req_parse(const uint8_t plain[LINK_REQ_BYTES], struct link_req *ret)
	__attribute__((warn_unused_result));
bool link_rep_parse(const uint8_t plain[LINK_REP_BYTES], struct link_rep *ret)
	__attribute__((warn_unused_result));

/* Write a whole datagram with mac1 under the responder's id; mac2 (INIT) stays zero. */
void link_init_write(uint8_t d[LINK_INIT_BYTES], const struct link_init *m, const uint8_t id[32]);
void link_resp_write(uint8_t d[LINK_RESP_BYTES], const struct link_resp *m, const uint8_t id[32]);
void link_cookie_write(uint8_t d[LINK_COOKIE_BYTES], const struct link_cookie *m);
void link_req_write(uint8_t plain[LINK_REQ_BYTES], const struct link_req *m);
void link_rep_write(uint8_t plain[LINK_REP_BYTES], const struct link_rep *m);
