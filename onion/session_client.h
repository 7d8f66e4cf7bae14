/* onion/session_client.h - the client's half of the session: AUTH, BIND, PINGs, and what the exit answers.
 *
 * PROTOCOL.md section 7. Control thread only. path_set.c owns it and tells it about paths; it sends on them.
 * The client does not trust the exit: a grant is judged by the caller before it counts.
 */
#pragma once
#include <stdbool.h>
#include "base/clock.h"
#include "onion/path.h"
#include "onion/session_msg.h"

struct session_client;

struct session_client_ops {
	void *arg;
	/* A first GRANT or an UPDATE. False: refused (lease, DNS or MTU that no honest exit gives): session over. */
	bool (*on_grant)(void *arg, const struct msg_grant *g, nsec_t now);
	void (*on_deny)(void *arg, const struct msg_deny *d, nsec_t now);
	/* CLOSE from the exit (reason: enum deny_reason), or a grant that on_grant refused (CLOSE_PROTOCOL). */
	void (*on_closed)(void *arg, uint8_t reason, nsec_t now);
	/* The exit knows path p as one of this session's (after GRANT on it, or BOUND). */
	void (*on_bound)(void *arg, struct path *p, uint32_t prio, nsec_t now);
	/* BOUND with status 1: the exit lost the session, there is no grant any more. The caller decides which path
	 * asks anew: session_client_join(). */
	void (*on_unknown)(void *arg, struct path *p, nsec_t now);
	/* A PING of ours came back on p after rtt; datagram is the size that it proved. */
	void (*on_pong)(void *arg, struct path *p, nsec_t rtt, size_t datagram, nsec_t now);
	/* No answer to AUTH or BIND on p after all repeats. */
	void (*on_silent)(void *arg, struct path *p, nsec_t now);
	void (*on_refused)(void *arg, const struct msg_refused *m, nsec_t now);
};

struct session_client_config {
	const struct onion_env *env;
	struct session_client_ops ops;
	uint8_t exit_id[32];
	bool has_token;
	uint8_t token_seed[32]; /* copied, wiped on free */
	uint8_t wants;
	uint8_t padding; /* enum padding */
};

/* NULL without memory. Callbacks may call session_client_join, _leave and _ping; not _free. */
struct session_client *session_client_new(const struct session_client_config *c);
void session_client_free(struct session_client *s);
/* AUTH on p when there is no session, else BIND at prio. One AUTH at a time: the caller sees to it. Repeats after 1, 2, 4 s
 * with the same seq, each at a smaller full size than the one before (docs/PROTOCOL.md: the answer has the size of the
 * question, so it proves both ways); at the path's size once that is proven. */
void session_client_join(struct session_client *s, struct path *p, uint32_t prio, nsec_t now);
/* Ask for life on p, which has joined: a datagram of full_dgram bytes, or a small one for 0. Four are remembered. */
void session_client_ping(struct session_client *s, struct path *p, uint16_t full_dgram, nsec_t now);
/* p goes away: forget it. */
void session_client_leave(struct session_client *s, struct path *p);
/* A control plain that came in on p in a datagram of `datagram` bytes. */
void session_client_on_plain(struct session_client *s, struct path *p, const uint8_t *plain, size_t n,
			     size_t datagram, nsec_t now);
/* Tell the exit that we go (CLOSE done) on p. */
void session_client_close(struct session_client *s, struct path *p, nsec_t now);
bool session_client_granted(const struct session_client *s);
const struct msg_grant *session_client_grant(const struct session_client *s); /* NULL before */
nsec_t session_client_next_deadline(const struct session_client *s);
void session_client_on_timer(struct session_client *s, nsec_t now);
