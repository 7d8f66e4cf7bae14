/* onion/session_msg.h - the exit session's messages as bytes: PROTOCOL.md section 7.
 *
 * One plain struct a message, a parser and a writer each. Writers return the bytes written, 0 when the room is too
 * small. Parsers take the body behind the 8-byte head and return false for anything too short, too long or unknown.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/addr.h"
#include "crypto/sign.h"
#include "onion/wire.h"

struct session_head {
	uint8_t type;
	uint16_t len;
	uint32_t seq;
};

enum { AUTH_OPEN = 0, AUTH_TOKEN = 1 };
enum { WANT_V4 = 1, WANT_V6 = 2, WANT_DNS = 4 };

struct msg_auth {
	uint8_t method, wants, padding;
	uint8_t token_pk[32];
	uint8_t sig[SIGN_BYTES];
};
struct msg_grant {
	uint8_t session_id[SESSION_ID_BYTES];
	struct addr lease4, lease6; /* family 0: none */
	uint8_t ndns;
	struct addr dns[3];
	uint16_t mtu;
	uint32_t up_kbps, down_kbps; /* 0: no limit */
	uint64_t quota_left;         /* bytes; UINT64_MAX: no quota */
	uint32_t idle_s, expires_s;  /* expires_s UINT32_MAX: never */
	uint8_t max_paths;
	uint8_t policy_hash[32];
};
struct msg_deny {
	uint8_t reason; /* enum deny_reason */
	uint32_t retry_s;
};
struct msg_bind {
	uint8_t session_id[SESSION_ID_BYTES];
	uint32_t prio;
	uint8_t mac[32];
};
struct msg_bound {
	uint8_t status; /* 0 ok, 1 unknown session */
	uint32_t prio;
};
struct msg_refused {
	uint8_t protocol;
	struct addr addr; /* with port */
};

/* Split plain (its first byte is PLAIN_CONTROL) into head and body; what follows the body is padding. */
bool session_head_parse(const uint8_t *plain, size_t n, struct session_head *ret, const uint8_t **ret_body)
	__attribute__((warn_unused_result));
/* Write plain: head and body. Returns the bytes written, or 0. */
size_t session_write(uint8_t *plain, size_t room, uint8_t type, uint32_t seq, const void *body, size_t body_bytes);

bool msg_auth_parse(const uint8_t *b, size_t n, struct msg_auth *ret) __attribute__((warn_unused_result));
bool msg_grant_parse(const uint8_t *b, size_t n, struct msg_grant *ret) __attribute__((warn_unused_result));
bool msg_deny_parse(const uint8_t *b, size_t n, struct msg_deny *ret) __attribute__((warn_unused_result));
bool msg_bind_parse(const uint8_t *b, size_t n, struct msg_bind *ret) __attribute__((warn_unused_result));
bool msg_bound_parse(const uint8_t *b, size_t n, struct msg_bound *ret) __attribute__((warn_unused_result));
bool msg_refused_parse(const uint8_t *b, size_t n, struct msg_refused *ret) __attribute__((warn_unused_result));
size_t msg_auth_write(uint8_t *b, size_t room, const struct msg_auth *m);
size_t msg_grant_write(uint8_t *b, size_t room, const struct msg_grant *m);
size_t msg_deny_write(uint8_t *b, size_t room, const struct msg_deny *m);
size_t msg_bind_write(uint8_t *b, size_t room, const struct msg_bind *m);
size_t msg_bound_write(uint8_t *b, size_t room, const struct msg_bound *m);
size_t msg_refused_write(uint8_t *b, size_t room, const struct msg_refused *m);

/* Fill in sig: Ed25519("sispop1 auth" | ID of the exit | h | method | wants | padding | token_pk). And check it. */
int msg_auth_sign(struct msg_auth *m, const struct sign_keypair *token, const uint8_t exit_id[32],
		  const uint8_t h[32]) __attribute__((warn_unused_result));
bool msg_auth_verify(const struct msg_auth *m, const uint8_t exit_id[32], const uint8_t h[32])
	__attribute__((warn_unused_result));
/* rs = KDF(res of the path that sent AUTH, "session", session_id, 32); mac of a BIND under it. */
void session_secret(const uint8_t res[32], const uint8_t session_id[SESSION_ID_BYTES], uint8_t ret_rs[32]);
void msg_bind_mac(const uint8_t rs[32], const uint8_t exit_id[32], const uint8_t h[32], uint32_t seq, uint32_t prio,
		  uint8_t ret[32]);
