/* client/client.h - the client daemon's parts; shared by the files of this folder alone.
 *
 * One struct client, on the control thread. What workers read of it is struct inner
 * (client/inner.c).
 *
 *   directory (daemon/dirsync) -> hops.c chooses -> path_set builds, joins -> grant.c judges ->
 * tunnel.c changes the host -> verify.c sees a packet come back -> up.
 */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "client/config.h"
#include "client/ranges.h"
#include "daemon/deadline.h"
#include "daemon/dirsync.h"
#include "directory/choice.h"
#include "directory/guards.h"
#include "engine/engine.h"
#include "net/control.h"
#include "onion/path_set.h"
#include "routing/host.h"
#include "tun/device.h"

struct event;
struct event_base;
struct inner;
struct verify;
struct control_request;

#define EXITS_MOST     8  /* --exit given so often */
#define WAITERS_MOST   8  /* `wait` requests at once */
#define FAILED_MOST    32 /* relays that failed lately, avoided */
#define FAILED_SECONDS 30
#define BUILDS_MOST    3 /* failed in a row, */
#define BUILDS_NSEC                                                                                \
	(4 * NSEC_PER_SEC) /* and so long after the start, before --up says that there is no path: \
			    * a relay may be a second late with the directory */
#define VERIFY_NSEC    (3 * NSEC_PER_SEC)
#define UP_TIMEOUT_S   30
#define SENTENCE_BYTES 512

/* What can go wrong with an attempt; fault.c has the control socket's word for each. */
enum fault {
	FAULT_NONE,
	FAULT_BAD_REQUEST,
	FAULT_NO_DIRECTORY,
	FAULT_BAD_NAME,
	FAULT_NO_EXIT,
	FAULT_NO_PATH,
	FAULT_AUTH_BAD,
	FAULT_AUTH_EXPIRED,
	FAULT_AUTH_QUOTA,
	FAULT_AUTH_IN_USE,
	FAULT_AUTH_FULL,
	FAULT_AUTH_POLICY,
	FAULT_AUTH_VERSION,
	FAULT_NO_FORWARD,
	FAULT_BAD_GRANT,
	FAULT_HOST,
	FAULT_PERMISSION,
	FAULT_TIMEOUT,
	FAULT_CANCELLED,
	FAULT_COUNT
};
const char *fault_word(enum fault f);

enum client_state { CLIENT_OFF, CLIENT_CONNECTING, CLIENT_UP, CLIENT_BLOCKED };

/* Steps that --up shows, in order. */
enum step {
	STEP_DIRECTORY,
	STEP_GUARD,
	STEP_PATH,
	STEP_SESSION,
	STEP_TUN,
	STEP_VERIFIED,
	STEP_COUNT
};

/* What was asked for by `up` or `swap`. */
struct wish {
	unsigned exits;
	struct {
		uint8_t id[32];
		bool has_seed;
		uint8_t seed[32];
	} exit[EXITS_MOST];
	unsigned hops;
	bool open; /* method 0: no token */
	nsec_t timeout;
	struct ranges ranges;
};

/* One exit being used, or being tried. */
struct carrier {
	struct client *client;
	struct path_set *paths;
	uint8_t id[32];
	struct addr address4, address6; /* of the exit, from the directory */
	unsigned hops;
	bool granted;		/* and the host follows */
	bool verified;		/* a packet came back through it */
	bool shut;		/* tunnel_block(): it carries nothing any more */
	uint16_t mtu;		/* of the TUN */
	struct ranges ranges;	/* of the wish that it was made for */
	struct msg_grant grant; /* what of it is used */
	unsigned failures;	/* builds in a row */
	char last_failure[160];
	struct path *first; /* the path that asked for the session; only before it is granted */
};

struct failed_relay {
	uint8_t id[32];
	nsec_t until;
};

struct client {
	struct client_config config;
	struct netconf net;
	struct periods periods;
	struct event_base *base;
	struct engine *engine;
	struct links *links;
	struct paths *paths;
	struct dirsync *dirsync;
	struct guards guards;
	struct host *host;
	struct control *control;
	struct inner *inner;
	struct deadline *deadline; /* links, paths, path sets, the attempt */
	struct event *deferred;	   /* things that must not be done inside a callback */
	struct event *sig_term, *sig_int;

	enum client_state state;
	char blocked_why[SENTENCE_BYTES];
	struct tun *tun;
	bool is_tracked; /* nothing came back while our datagrams were not tracked: since then they
			    are, until the host is set up anew */
	bool host_is_anothers;	 /* the host was changed for `next`, which did not become `carrier`
				    (yet) */
	struct carrier *carrier; /* in use; NULL: off */
	struct carrier *next;	 /* being tried; NULL: no attempt */
	struct wish wish;
	unsigned wish_exit; /* index of the exit that is tried */
	uint64_t attempt;   /* number of the newest attempt; 0: none yet */
	nsec_t attempt_started, attempt_deadline, up_since;
	bool step_done[STEP_COUNT];
	struct verify *verify;
	enum fault fault; /* of the newest attempt, once it failed */
	char sentence[SENTENCE_BYTES];
	bool attempt_over; /* true when none runs */
	bool asked_anew;   /* for a directory that lists the exit */
	bool waits_for_directory;
	struct control_request *waiter[WAITERS_MOST];
	struct failed_relay failed[FAILED_MOST];
	bool must_end_attempt; /* the attempt failed inside a callback: end it from the loop */
	unsigned directory_failures; /* while it waited for one */
};

/* inner.c: the workers' side. */
struct inner *inner_new(void);
void inner_free(struct inner *i);
struct engine_inner_ops inner_ops(struct inner *i);
void inner_bytes(const struct inner *i, uint64_t *ret_up, uint64_t *ret_down);
/* An address that no host of the internet sends from: private, local, loopback, multicast. */
bool inner_is_private(const struct addr *a);
/* Is a in a network of this host's other links? Control thread. */
bool inner_is_local(const struct inner *i, const struct addr *a);
void inner_reset_bytes(struct inner *i);
void inner_set_active(struct inner *i, struct path_data *p);
/* What the lease and the local networks (of this host's other links: netinfo_local_prefixes()) are;
 * replaced as a whole, the old one retired by env. 0 or -ENOMEM. */
int inner_set_lease(struct inner *i, const struct onion_env *env, const struct msg_grant *g,
		    const struct prefix *local, size_t nlocal) __attribute__((warn_unused_result));

/* hops.c: choice of hops, guards, relays that failed. */
/* STATE/guards into c->guards, and back. What fails is logged: the client then lives with new
 * guards. */
void hops_load_guards(struct client *c);
void hops_store_guards(struct client *c);
/* Hops for a path of k that q asks for; the last is the exit. 0, or -errno with a sentence in
 * why[SENTENCE_BYTES]. */
int hops_choose(struct client *c, const struct carrier *k, const struct path_query *q,
		struct path_hop *ret, unsigned *ret_n, char *why)
	__attribute__((warn_unused_result));
/* A build succeeded, or a path failed at `hop` (0-based, -1: unknown): guard statistics, and whom
 * to avoid. */
void hops_on_built(struct client *c, const struct path *p);
void hops_on_failed(struct client *c, const struct path *p, int hop, nsec_t now);

/* grant.c: is this grant one that an honest exit gives? `direct`: what netinfo_direct_prefixes()
 * lists. NULL, or a sentence why not. */
const char *grant_judge(const struct msg_grant *g, const struct prefix *direct, size_t ndirect);

/* verify.c: a packet came back through k. done(arg, ok) once, later, at most VERIFY_NSEC; NULL:
 * no memory, or no socket. */
struct verify *verify_start(struct client *c, const struct carrier *k,
			    void (*done)(void *arg, bool ok), void *arg);
void verify_cancel(struct verify *v);
#define VERIFY_SILENT_ASKS 2 /* unanswered, a third of a second each: tunnel_on_silence() */

/* tunnel.c, tunnel_carrier.c, tunnel_host.c: the state machine. */
/* Begin to bring the wish up, or to swap to it while up; an attempt that runs is cancelled.
 * FAULT_NONE, or why not, with a sentence in err[ROUTING_ERROR_BYTES]. */
enum fault tunnel_up(struct client *c, const struct wish *w, nsec_t now, char *err);
/* The seed of the token's key at that exit, copied. -ENOENT: no attempt waits for it. */
int tunnel_seed(struct client *c, const uint8_t exit_id[32], const uint8_t seed[32], nsec_t now);
/* Take everything down. 0 or -errno with a sentence in err (ROUTING_ERROR_BYTES): what could not be
 * taken back. */
int tunnel_down(struct client *c, nsec_t now, char *err);
void tunnel_on_directory(struct client *c, nsec_t now);
void tunnel_on_directory_failure(struct client *c, nsec_t now);
void tunnel_on_timer(struct client *c, nsec_t now);
nsec_t tunnel_next_deadline(const struct client *c);
void tunnel_on_path_ready(struct client *c, struct path *p, nsec_t now);
void tunnel_on_path_gone(struct client *c, struct path *p, int hop, enum build_status status,
			 nsec_t now);
/* Nothing comes back though the host was set up: does its firewall refuse what is not tracked? */
void tunnel_on_silence(struct client *c);
void tunnel_on_plain(struct client *c, struct path_data *p, const uint8_t *plain, size_t n,
		     size_t datagram, nsec_t now);

/* From the event loop, when something asked for client_defer(). */
void tunnel_deferred(struct client *c, nsec_t now);

/* methods.c: the control socket. */
int methods_open(struct client *c, char *err) __attribute__((warn_unused_result));
void methods_attempt_over(struct client *c); /* answer the waiters */
void methods_step(struct client *c, enum step s, const char *text, nsec_t now);
void methods_state_changed(struct client *c);
json_t *status_json(struct client *c);

/* daemon.c. config and net are read, the AES engine is chosen. Each returns the exit status, all
 * said on stderr. */
int client_run(struct client *c);
int client_cleanup(struct client *c);
void client_rearm(struct client *c, nsec_t now);
void client_defer(struct client *c);
