/* onion/path_set.h - the client's live paths to one exit: primary, standby, successors; rotation and failover.
 *
 * PROTOCOL.md sections 5 to 7. Control thread only. Owns its struct paths' paths and the session_client. The daemon sees
 * this header alone: it chooses hops, judges the grant and points the workers at the active path.
 */
#pragma once
#include <stdbool.h>
#include "base/clock.h"
#include "onion/path.h"
#include "onion/session_client.h"

#define PATH_SILENCE_NSEC     (1 * NSEC_PER_SEC)
#define PATH_PINGS            3
#define PATH_PING_GAP_LEAST   (250 * NSEC_PER_MSEC) /* or twice the round-trip time */
#define STANDBY_PING_LEAST_S  15
#define STANDBY_PING_MOST_S   25
#define PATH_RENEW_LEAST_PCT  60 /* the successor is built at a random 60..80 % of the lifetime */
#define PATH_RENEW_MOST_PCT   80
#define PATH_SET_PATHS_MOST   4

enum path_role { PATH_PRIMARY, PATH_STANDBY };

/* What a new path must keep away from. */
struct path_query {
	enum path_role role;
	unsigned count;                         /* live paths of this set (and others being built) */
	const struct path *live[PATH_SET_PATHS_MOST];
	unsigned attempt;                       /* 0 first; grows with each failure in a row */
};

enum path_set_event {
	PATH_SET_BUILT,     /* path ready; p */
	/* A build or a live path failed; p (NULL: none could be chosen), hop, status: for guard statistics and
	 * avoiding. Not every path ends so: what is replaced, ends in its time or with the uplink goes without a
	 * word, so keep no pointer to it: ask path_set_path(). */
	PATH_SET_FAILED,
	PATH_SET_SWITCHED,  /* another path is primary now; p */
	PATH_SET_LOST,      /* no path at all now */
};

struct path_set_ops {
	void *arg;
	/* Choose hops (the last is the exit). 0, or -errno: -ENOENT no such exit, -EHOSTUNREACH no choice left. */
	int (*choose)(void *arg, const struct path_query *q, struct path_hop hops[HOPS_MAX], unsigned *ret_n);
	void (*on_event)(void *arg, enum path_set_event e, struct path *p, int hop, enum build_status status, nsec_t now);
	/* Workers shall seal on this path from now on; NULL: on none. Called before the old one is retracted: what is
	 * freed after a grace period of the workers that read it. */
	void (*on_active)(void *arg, struct path_data *p, nsec_t now);
	/* GRANT, also of a new session after the exit lost the old one, and UPDATE. False: refused; on_closed follows. */
	bool (*on_grant)(void *arg, const struct msg_grant *g, nsec_t now);
	/* The first AUTH was denied. Nothing is built any more: free the set. */
	void (*on_deny)(void *arg, const struct msg_deny *d, nsec_t now);
	/* A session that was granted is over: closed by the exit, or lost there and denied anew (reason: enum
	 * deny_reason). No path is active and nothing is built any more. */
	void (*on_closed)(void *arg, uint8_t reason, nsec_t now);
	void (*on_refused)(void *arg, const struct msg_refused *m, nsec_t now);
};

struct path_set_config {
	const struct onion_env *env;
	struct paths *paths; /* its path_ops must call path_set_on_ready / _on_gone */
	struct path_set_ops ops;
	uint8_t exit_id[32];
	uint8_t wants;   /* WANT_V4 | WANT_V6 | WANT_DNS */
	uint8_t padding; /* enum padding */
	bool standby;    /* keep a second path (default yes) */
};

struct path_set;

/* NULL without memory. Callbacks never come from here. No callback may free the set: do that from the loop. */
struct path_set *path_set_new(const struct path_set_config *c, nsec_t now);
/* Begin to build the first path. Each path's path_user() is its set. All others are built by path_set_on_timer(): look at
 * path_set_next_deadline() after everything that is told to the set. */
void path_set_start(struct path_set *s, nsec_t now);
/* Frees all its paths (CIRCUIT_CLOSE) and wipes the token's key; on_active(NULL) is called when one was active. */
void path_set_free(struct path_set *s, nsec_t now);
/* The token's seed (NULL: method open) may come later than the first path is asked for, because the CLI derives it while
 * the daemon builds: AUTH waits for it. Once. 0, -EALREADY, -ENOMEM. */
int path_set_token(struct path_set *s, const uint8_t *seed, nsec_t now) __attribute__((warn_unused_result));
/* Tell the exit (session CLOSE) before path_set_free(). */
void path_set_goodbye(struct path_set *s, nsec_t now);

void path_set_on_ready(struct path_set *s, struct path *p, nsec_t now);
void path_set_on_gone(struct path_set *s, struct path *p, int hop, enum build_status status, nsec_t now);
/* A control plain came in on p. */
void path_set_on_plain(struct path_set *s, struct path_data *p, const uint8_t *plain, size_t n, size_t datagram,
		       nsec_t now);
/* The uplink changed: all links are suspect; build anew, keep the session. Call it before links_close_all(): paths that go
 * then are blamed on no relay. New ones are built by the next path_set_on_timer(), which is due at once. */
void path_set_network_changed(struct path_set *s, nsec_t now);
nsec_t path_set_next_deadline(const struct path_set *s);
void path_set_on_timer(struct path_set *s, nsec_t now);

bool path_set_granted(const struct path_set *s);
const struct msg_grant *path_set_grant(const struct path_set *s);
/* For status: paths in order, primary first; NULL behind the last. */
struct path *path_set_path(const struct path_set *s, unsigned i);
enum path_role path_set_role(const struct path_set *s, const struct path *p);
nsec_t path_set_rtt(const struct path_set *s, const struct path *p); /* 0 unknown */
