/* onion/session_exit.h - the exit's sessions: AUTH, BIND, PING, CLOSE and their answers. PROTOCOL.md section 7.
 *
 * Control thread only, but for struct session_data, which workers read under RCU. Who may have a session, and which
 * lease it gets, is asked of the caller (exit/ in the daemon, a table in the simulator).
 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include "base/clock.h"
#include "onion/circuits.h"
#include "onion/session_msg.h"

#define SESSIONS_MOST            16384
#define SESSION_PATHS_MOST       4
#define SESSION_TOKEN_MOST       4  /* sessions of one token, unless its account says otherwise */
#define SESSION_AUTHS_MOST       3  /* on one circuit */
#define SESSION_IDLE_SECONDS     300

/* One session as workers see it: found by lease, and from a circuit's `session`. */
struct session_data {
	uint32_t lease_index;          /* the caller's number of the lease */
	struct addr lease4, lease6;    /* family 0: none */
	_Atomic(struct circuit *) active; /* where packets for the lease go; NULL: nowhere now */
	_Atomic uint64_t bytes_up, bytes_down, packets_up, packets_down; /* inner; up = from the client */
	_Atomic nsec_t last_rx;
	void *control;                 /* struct exit_session; the control thread's alone */
};

/* What an account says. */
struct token_verdict {
	uint8_t deny;           /* 0: granted, else enum deny_reason */
	uint32_t retry_s;       /* with deny */
	uint32_t max_sessions;  /* 0: SESSION_TOKEN_MOST */
	uint64_t expires_unix;  /* 0: never */
	uint32_t up_kbps, down_kbps;
	uint64_t quota_left;    /* UINT64_MAX: none */
};

struct exit_sessions_ops {
	void *arg;
	/* May the holder of this token key (NULL: method open) have a session? Same work whatever the answer. */
	void (*judge)(void *arg, const uint8_t *token_pk, struct token_verdict *ret);
	/* Give s a lease (lease_index, lease4 and lease6 as wanted: WANT_V4 | WANT_V6) and publish s for the workers;
	 * -ENOSPC when there is none. lease_drop retracts it (s is freed after a grace period). */
	int (*lease)(void *arg, struct session_data *s, uint8_t wants);
	void (*lease_drop)(void *arg, struct session_data *s);
	uint64_t (*unix_seconds)(void *arg);
};

struct exit_sessions_config {
	const struct onion_env *env;
	struct circuits *circuits;
	struct exit_sessions_ops ops;
	uint8_t id[32];
	struct addr dns[3];
	uint8_t ndns;
	uint8_t policy_hash[32];
	uint32_t sessions_most; /* SESSIONS_MOST; tests set less */
	uint32_t idle_s;        /* SESSION_IDLE_SECONDS */
};

struct exit_sessions;

/* NULL without memory. */
struct exit_sessions *exit_sessions_new(const struct exit_sessions_config *c, nsec_t now);
/* Ends all in silence, gives their leases back. Before circuits_free(). NULL is fine. */
void exit_sessions_free(struct exit_sessions *s);
/* From circuits_ops. on_end: always takes the circuit. */
bool exit_sessions_on_end(struct exit_sessions *s, struct circuit *c, const uint8_t h[32], const uint8_t res[32],
			  nsec_t now);
void exit_sessions_on_end_gone(struct exit_sessions *s, struct circuit *c, nsec_t now);
/* A control plain (first byte PLAIN_CONTROL) that came in on c in a datagram of `datagram` bytes. */
void exit_sessions_on_plain(struct exit_sessions *s, struct circuit *c, const uint8_t *plain, size_t n,
			    size_t datagram, nsec_t now);
/* Policy refused a packet of c: tell the client (REFUSED; at most 10 a second for one session). */
void exit_sessions_refuse(struct exit_sessions *s, struct circuit *c, const struct msg_refused *m, nsec_t now);
/* The account was revoked or ran out: its sessions get CLOSE(reason) and end. */
void exit_sessions_revoke(struct exit_sessions *s, const uint8_t token_pk[32], enum deny_reason why, nsec_t now);
/* The exit ends: no CLOSE, so that clients keep their wish and ask anew when it is back. */
void exit_sessions_close_all(struct exit_sessions *s, nsec_t now);
nsec_t exit_sessions_next_deadline(const struct exit_sessions *s);
void exit_sessions_on_timer(struct exit_sessions *s, nsec_t now);
uint32_t exit_sessions_count(const struct exit_sessions *s);
