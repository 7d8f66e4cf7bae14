/* onion/wire.h - every layout and size of PROTOCOL.md sections 4 to 7, drawn before it is named.
 *
 *  LINK_INIT 192   0 u32 | 1 u8 | ver u8 | keyid u16 | sender_link_id u32 | X 32 | ct 116 | mac1 16 | mac2 16
 *  LINK_RESP 192   rcv_link_id u32 | 2 u8 | ver u8 | 0 u16 | sender_link_id u32 | Y 32 | rt 116 | mac1 16 | 0 16
 *  COOKIE     64   rcv_link_id u32 | 3 u8 | 0 3 | nonce 24 | sealed cookie 32
 *  datagram        link_id u32 | header block 16 | body
 *  CTRL body       AEAD(plain padded to 160 or 900), plain = {type u8 | len u16 | data}...
 *  onion_i   98k   keyid u16 | X 32 | AEAD(req 48 | onion_{i+1})
 *  reply_i   64k   Y 32 | AEAD(rep 16 | reply_{i+1})
 *  control plain   1 u8 | type u8 | len u16 | seq u32 | body
 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "base/plain_type.h"

#define PROTOCOL_VERSION 1

#define AEAD_TAG  16
#define X25519_LEN 32

/* datagrams (bytes of UDP payload) */
#define LINK_ID_BYTES       4
#define HEADER_BYTES        (LINK_ID_BYTES + 16)
#define DATAGRAM_MIN        84
#define DATAGRAM_MAX        1452
#define DATAGRAM_FULL_LEAST 1240 /* smallest of the full sizes: every path carries it */
#define DATAGRAM_FULL_MOST  1440
#define DATAGRAM_FULL_COUNT 4
extern const uint16_t datagram_full_sizes[DATAGRAM_FULL_COUNT]; /* 1240, 1320, 1380, 1440 */

/* links */
#define LINK_TYPE_INIT      1
#define LINK_TYPE_RESP      2
#define LINK_TYPE_COOKIE    3
#define LINK_REQ_BYTES      100
#define LINK_REP_BYTES      100
#define LINK_INIT_BYTES     (4 + 1 + 1 + 2 + 4 + 32 + LINK_REQ_BYTES + 16 + 16 + 16)
#define LINK_RESP_BYTES     LINK_INIT_BYTES
#define LINK_MAC1_OFFSET    160
#define LINK_MAC2_OFFSET    176
#define LINK_COOKIE_BYTES   (4 + 1 + 3 + 24 + 32)
_Static_assert(LINK_INIT_BYTES == 192 && LINK_COOKIE_BYTES == 64, "PROTOCOL.md section 4");

enum link_role { ROLE_CLIENT = 1, ROLE_RELAY = 2, ROLE_AUTHORITY = 3 };
enum link_status { LINK_OK, LINK_SKEW, LINK_FULL, LINK_NET, LINK_VERSION };

/* the header block's type */
#define HEADER_DATA 1
#define HEADER_CTRL 2

/* CTRL */
#define CTRL_PLAIN_SMALL  160
#define CTRL_PLAIN_LARGE  900
#define FRAME_HEAD_BYTES  3
enum frame_type {
	FRAME_PAD,
	FRAME_PING,
	FRAME_PONG,
	FRAME_BUILD,
	FRAME_BUILD_REPLY,
	FRAME_CIRCUIT_CLOSE,
	FRAME_LINK_CLOSE
};
#define FRAME_PING_BYTES          8
#define FRAME_BUILD_BYTES         (4 + 2 + ONION_FIELD_BYTES)
#define FRAME_BUILD_REPLY_BYTES   (4 + 4 + REPLY_FIELD_BYTES)
#define FRAME_CIRCUIT_CLOSE_BYTES 5
#define FRAME_LINK_CLOSE_BYTES    1
enum close_reason { CLOSE_DONE = 1, CLOSE_EXPIRED, CLOSE_OVERLOAD, CLOSE_NEXT_DOWN, CLOSE_PROTOCOL };

/* build onion */
#define HOPS_MAX          8
#define HOPS_DEFAULT      3
#define ONION_FIELD_BYTES 800
#define REPLY_FIELD_BYTES 512
#define ONION_REQ_BYTES   48
#define ONION_HOP_BYTES   (2 + 32 + ONION_REQ_BYTES + AEAD_TAG) /* 98 a hop */
#define ONION_REP_BYTES   16
#define REPLY_HOP_BYTES   (32 + ONION_REP_BYTES + AEAD_TAG) /* 64 a hop */
_Static_assert(ONION_HOP_BYTES == 98 && REPLY_HOP_BYTES == 64, "PROTOCOL.md section 5");
_Static_assert(HOPS_MAX * ONION_HOP_BYTES <= ONION_FIELD_BYTES, "an onion of 8 hops fits");
#define ONION_FLAG_LAST 1
enum build_status {
	BUILD_OK,
	BUILD_OVERLOAD,
	BUILD_NEXT_UNKNOWN,
	BUILD_NEXT_DOWN,
	BUILD_NO_EXIT,
	BUILD_TIME,
	BUILD_PROTOCOL
};

/* data */
#define TAG_SLOTS_LEAST 3 /* S = max(hops, 3) */
#define PLAIN_LEAST     16
enum padding { PAD_BUCKET, PAD_NONE, PAD_FULL };

/* sessions */
#define SESSION_HEAD_BYTES 8
#define SESSION_ID_BYTES   16
enum session_type {
	SESSION_AUTH = 16,
	SESSION_GRANT,
	SESSION_DENY,
	SESSION_BIND,
	SESSION_BOUND,
	SESSION_PING,
	SESSION_PONG,
	SESSION_REFUSED,
	SESSION_UPDATE,
	SESSION_CLOSE
};
enum deny_reason {
	DENY_BAD_TOKEN = 1,
	DENY_EXPIRED,
	DENY_QUOTA,
	DENY_IN_USE,
	DENY_FULL,
	DENY_POLICY,
	DENY_VERSION
};

/* The largest full datagram size <= max_dgram; DATAGRAM_FULL_LEAST when even that is larger. */
uint16_t datagram_full_floor(uint16_t max_dgram);
/* Tag slots of a path of n hops. */
unsigned tag_slots(unsigned hops);
/* Bytes of plain that a datagram of this size carries on a path of that many tag slots. */
size_t plain_bytes(size_t datagram, unsigned slots);
/* What plain of n bytes is padded to: the next of {128, 320, 640, 1024, full}; n itself (at least PLAIN_LEAST) for
 * PAD_NONE; full for PAD_FULL. 0 when n is larger than full. */
size_t padded_bytes(size_t n, size_t full, enum padding how);
