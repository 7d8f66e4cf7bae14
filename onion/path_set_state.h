/* onion/path_set_state.h - what path_set.c and path_set_tend.c share; nobody else includes it.
 *
 * A member moves one way:
 *
 *   BUILDING --ready--> WAITING --AUTH or BIND out--> JOINING --GRANT, BOUND--> BOUND --> RETIRING
 *
 * back to WAITING only when the exit lost the session; FREE from anywhere when the path is gone.
 * WAITING ends when there is a token and nobody else's AUTH is under way.
 */
#pragma once
#include "onion/path_set.h"

#define PATH_SET_MEMBERS (PATH_SET_PATHS_MOST + 4) /* with those that retire */

enum set_state { SET_FREE, SET_BUILDING, SET_WAITING, SET_JOINING, SET_BOUND, SET_RETIRING };

struct set_member {
	enum set_state state;
	struct path *path;
	enum path_role role;
	uint32_t prio; /* at the exit */
	bool suspect;  /* the uplink changed under it: nobody is to blame when it dies */
	nsec_t bound_at;
	bool steady;	 /* it lived long enough to forget earlier failures */
	nsec_t renew_at; /* a successor is built from here on */
	nsec_t retire_at;
	nsec_t idle_ping_at; /* proof of life when nothing else came */
	nsec_t rtt;	     /* 0 unknown */
	unsigned pings;	     /* sent in this probe; 0: no probe */
	nsec_t probed_at;    /* when the probe began */
	nsec_t next_ping;
};

struct path_set {
	struct path_set_config config;
	struct session_client *session; /* NULL until the token is known */
	bool closed; /* denied, closed by the exit, or said goodbye: nothing is built any more */
	bool was_granted;
	struct set_member
		*asking; /* its AUTH is under way; the others wait for the grant and BIND then */
	struct set_member *active; /* what workers seal on */
	struct set_member member[PATH_SET_MEMBERS];
	uint32_t prio; /* the highest given */
	struct set_backoff {
		unsigned failures; /* in a row */
		nsec_t retry_at;   /* no new build before */
	} backoff[2];		   /* by enum path_role */
	nsec_t next_poll;
};

/* path_set.c */
void path_set_event(struct path_set *s, enum path_set_event e, struct path *p, int hop,
		    enum build_status st, nsec_t now);
/* m carries the data from now on: the exit is told by a BIND above all others, and data moves
 * before it answers. */
void path_set_promote(struct path_set *s, struct set_member *m, nsec_t now);
/* Take m out and free its path; another one carries the data when m did. The caller reported why.
 */
void path_set_lose(struct path_set *s, struct set_member *m, nsec_t now);
/* Take m out; it was never active. */
void path_set_remove(struct path_set *s, struct set_member *m, nsec_t now);

/* path_set_tend.c */
/* The bound member that carries the data when the active one (or `but`) cannot: alive before asked
 * for life, then the one that lives longest. NULL: none. */
struct set_member *path_set_spare(const struct path_set *s, const struct set_member *but);
/* All but the active and its spare go, in a moment: what is under way on them still arrives. */
void path_set_retire_surplus(struct path_set *s, nsec_t now);
/* A build, or a path that did not live long, failed: when may the next one of that role be built?
 */
void path_set_back_off(struct path_set *s, enum path_role role, bool at_once, nsec_t now);
/* Did it carry long enough to forget earlier failures? */
bool path_set_is_steady(const struct set_member *m, nsec_t now);
void path_set_plan(struct path_set *s, struct set_member *m);
void path_set_plan_idle_ping(struct path_set *s, struct set_member *m, nsec_t now);
void path_set_probe(struct path_set *s, struct set_member *m, nsec_t now);
/* Build what is missing and may be built now. */
void path_set_fill_up(struct path_set *s, nsec_t now);
