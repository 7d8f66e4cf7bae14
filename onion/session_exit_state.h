/* onion/session_exit_state.h - what session_exit.c and session_exit_table.c share; nobody else
 * includes it.
 *
 * A circuit that ends here has a record (struct end) from on_end to on_end_gone. A session has a
 * lease and up to SESSION_PATHS_MOST bound ends; packets for the lease go to the one with the
 * highest prio, then the newest BIND.
 */
#pragma once
#include <sys/queue.h>
#include "onion/index.h"
#include "onion/session_exit.h"

#define ANSWER_MOST 256 /* plain; GRANT has 8 + 200 at most */

struct exit_session;

struct end {
	struct index_node by_circuit;
	LIST_ENTRY(end) all;
	struct circuit *circuit;
	uint8_t h[32], res[32];
	uint32_t seq;	  /* of the newest AUTH, BIND or CLOSE that was acted upon */
	uint8_t question; /* its type when its answer is kept, for its repeats; 0: none */
	uint8_t answer[ANSWER_MOST];
	size_t answer_bytes;
	unsigned auths;
	struct exit_session *session; /* NULL until GRANT or BOUND */
	uint32_t prio;
	uint64_t bound; /* order of BINDs; the larger the newer */
	TAILQ_ENTRY(end) of_session;
};

struct exit_session {
	struct index_node by_id, by_token;
	TAILQ_ENTRY(exit_session) all;
	struct session_data *data;
	uint8_t id[SESSION_ID_BYTES];
	uint8_t rs[32];
	bool has_token;
	uint8_t token_pk[32];
	uint8_t padding; /* enum padding, as AUTH asked; for all paths */
	struct msg_grant grant;
	uint64_t expires_unix; /* 0: never */
	nsec_t silent_since;   /* without a path; NSEC_NEVER: it has one */
	nsec_t refused_window; /* REFUSED are counted since then */
	unsigned refused, paths;
	TAILQ_HEAD(, end) ends;
};

struct exit_sessions {
	struct exit_sessions_config config;
	struct index ends, ids, tokens;
	LIST_HEAD(, end) all_ends;
	TAILQ_HEAD(, exit_session) sessions;
	uint32_t count;
	uint64_t binds;
	nsec_t next_tick;
};

/* All of session_exit_table.c: */

/* -ENOMEM; tables_done() also for half-made ones. */
int exit_tables_init(struct exit_sessions *s) __attribute__((warn_unused_result));
void exit_tables_done(struct exit_sessions *s);

/* NULL without memory. */
struct end *exit_end_new(struct exit_sessions *s, struct circuit *c, const uint8_t h[32],
			 const uint8_t res[32]);
struct end *exit_end_find(const struct exit_sessions *s, const struct circuit *c);
void exit_end_free(struct exit_sessions *s, struct end *e, nsec_t now);

/* e carries x from now on. It is not bound to another session; a fifth path takes the place of the
 * one with the lowest prio, the oldest BIND first. */
void exit_bind(struct exit_sessions *s, struct end *e, struct exit_session *x, uint32_t prio,
	       nsec_t now);
/* e carries nothing any more. Nothing when it did not. */
void exit_unbind(struct exit_sessions *s, struct end *e, nsec_t now);

/* A session with a lease, for what e asked; no path is bound yet. NULL: no lease, no memory. */
struct exit_session *exit_session_new(struct exit_sessions *s, const struct end *e,
				      const struct msg_auth *a, nsec_t now);
struct exit_session *exit_session_find(const struct exit_sessions *s,
				       const uint8_t id[SESSION_ID_BYTES]);
/* The next session of this token behind `after` (NULL: the first), or NULL. */
struct exit_session *exit_session_of_token(const struct exit_sessions *s,
					   const uint8_t token_pk[32],
					   const struct exit_session *after);
/* Of those that have no path, the one that has none longest; NULL: all have. */
struct exit_session *exit_session_idlest(const struct exit_sessions *s);
/* Unbind its ends, give its lease back, free it. */
void exit_session_end(struct exit_sessions *s, struct exit_session *x, nsec_t now);
