/* onion/path.h - one path of the client: link to the guard, BUILD, its reply, data keys, its end.
 *
 * PROTOCOL.md sections 5 and 6. Control thread only. Publishes struct path_data for the workers. What travels on it
 * (session messages, PINGs) and which path is used is path_set's and session_client's business.
 */
#pragma once
#include <stdbool.h>
#include "base/clock.h"
#include "onion/build.h"
#include "onion/links.h"

#define PATH_RESEND_1_NSEC (1 * NSEC_PER_SEC)
#define PATH_RESEND_2_NSEC (2500 * NSEC_PER_MSEC)
#define PATH_GIVE_UP_NSEC  (6 * NSEC_PER_SEC)
/* A link that is silent for a second is PINGed: with this much more for the PONG. */
#define GUARD_ANSWERS_NSEC (1500 * NSEC_PER_MSEC)

enum path_state { PATH_LINKING, PATH_BUILDING, PATH_READY, PATH_CLOSED };

struct path;

/* One hop, from the directory; the last one is the exit. */
struct path_hop {
	struct link_target target;
};

struct path_ops {
	void *arg;
	/* Keys stand: it may carry packets. */
	void (*on_ready)(void *arg, struct path *p, nsec_t now);
	/* It is over, before or after it was ready: `hop` (0-based, -1 unknown) said `status`, or the link died or
	 * could not be made (hop 0: BUILD_NEXT_DOWN; BUILD_TIME or BUILD_OVERLOAD when the guard said so), or nobody
	 * answered (BUILD_NEXT_DOWN, hop -1), or it was closed from afar or its time and grace are over
	 * (BUILD_NEXT_DOWN, hop -1). Called once; the path is freed by its owner with path_free(), also during the
	 * call; its path_data stays until then. */
	void (*on_gone)(void *arg, struct path *p, int hop, enum build_status status, nsec_t now);
};

struct paths; /* all paths of this client: routes frames and link events to them */

struct paths_config {
	const struct onion_env *env;
	struct links *links;
	struct path_ops ops;
	uint64_t (*unix_seconds)(void *arg); /* with ops.arg */
};

struct paths *paths_new(const struct paths_config *c);
/* Frees all its paths in silence. Before links_free(). NULL is fine. */
void paths_free(struct paths *s);
/* From links_ops. */
void paths_on_frame(struct paths *s, struct link *l, enum frame_type type, const uint8_t *data, size_t n, nsec_t now);
void paths_on_link_up(struct paths *s, struct link *l, nsec_t now);
void paths_on_link_failed(struct paths *s, struct link *l, int why, nsec_t now);
void paths_on_link_dead(struct paths *s, struct link *l, nsec_t now);
nsec_t paths_next_deadline(const struct paths *s);
void paths_on_timer(struct paths *s, nsec_t now);

/* Begin to build. 0, -EINVAL (no hops or too many), -ENOSPC, -EPROTO (a hop's key is none), -ENOMEM. No op is called
 * before it returned. */
int path_build(struct paths *s, const struct path_hop *hops, unsigned n, nsec_t now, struct path **ret)
	__attribute__((warn_unused_result));
/* Send CIRCUIT_CLOSE(done), retract, free. No on_gone. Also for a path that is gone. NULL is fine. */
void path_free(struct path *p, nsec_t now);

enum path_state path_state(const struct path *p);
unsigned path_hops(const struct path *p);
const struct path_hop *path_hop(const struct path *p, unsigned i);
struct path_data *path_data_of(const struct path *p); /* NULL before it is ready */
const uint8_t *path_h(const struct path *p);          /* h of the last hop, 32 B */
const uint8_t *path_resume(const struct path *p);     /* res, 32 B */
nsec_t path_ready_at(const struct path *p);
nsec_t path_built_in(const struct path *p);  /* BUILD to reply */
/* When its lifetime without the grace is over; 0 as soon as a key is so much used that the path is to be rebuilt. */
nsec_t path_expires_at(const struct path *p);
uint16_t path_max_dgram(const struct path *p); /* full size that no hop's word forbids, rounded down */
/* Something verified on the link to the first hop lately: when the path is silent, it is a later hop. */
bool path_guard_answers(const struct path *p, nsec_t now);
uint32_t path_number(const struct path *p);  /* 1, 2, 3 ... for logs */
void *path_user(const struct path *p);
void path_set_user(struct path *p, void *user);
