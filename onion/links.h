/* onion/links.h - all links of one party: handshakes, cookies, CTRL frames, liveness, roaming, renewal, expiry.
 *
 * PROTOCOL.md section 4. Control thread only. Publishes struct link_data for the workers.
 */
#pragma once
#include <stdbool.h>
#include "base/clock.h"
#include "crypto/handshake.h"
#include "onion/dataplane.h"
#include "onion/env.h"

/* Limits of PROTOCOL.md section 9 */
#define LINKS_MOST             65536
#define LINKS_PER_SOURCE_MOST  32 /* per IPv4 /32 or IPv6 /56 */
#define INIT_PER_SOURCE_PER_S  20
#define HALF_OPEN_MOST         4096
#define HALF_OPEN_SECONDS      10
#define CLOCK_SKEW_MINUTES     10
#define INIT_REPLAY_SECONDS    1200
#define INIT_REPLAY_MOST       (1u << 20) /* Xs remembered; when full, INITs are refused */
#define LINK_SILENCE_NSEC      (1 * NSEC_PER_SEC)
#define LINK_PING_GAP_NSEC     (250 * NSEC_PER_MSEC)
#define LINK_PINGS             3

struct links;
struct link; /* opaque; lives until on_dead or on_failed returned and the last link_release() */

/* Whom to open a link to. */
struct link_target {
	uint8_t id[32];
	uint8_t onion_key[32];
	uint16_t keyid;
	struct addr addr;
};

struct links_ops {
	void *arg;
	/* A link that we asked for by links_open() is up, or failed for good (`why`: -ETIMEDOUT, -EPROTO, -EACCES
	 * skew, -EUSERS full, -ENETUNREACH net, -ECANCELED closed by us). The link is gone after a failure. */
	void (*on_up)(void *arg, struct link *l, nsec_t now);
	void (*on_failed)(void *arg, struct link *l, int why, nsec_t now);
	/* A link that was up is dead or closed: its circuits go. Still valid during the call. */
	void (*on_dead)(void *arg, struct link *l, nsec_t now);
	/* A frame that the link layer does not handle itself (BUILD, BUILD_REPLY, CIRCUIT_CLOSE), length checked. */
	void (*on_frame)(void *arg, struct link *l, enum frame_type type, const uint8_t *data, size_t n, nsec_t now);
	/* The ID of the relay whose advertised address (IP and port) this is in our consensus; false for others. */
	bool (*relay_at)(void *arg, const struct addr *a, uint8_t ret_id[32]);
	/* The onion key pair with this keyid, or NULL (responders; a client returns NULL always). */
	const struct onion_keypair *(*onion_key)(void *arg, uint16_t keyid);
	/* Our consensus's serial and wall clock in seconds, for LINK_RESP and the skew check. */
	uint64_t (*consensus_serial)(void *arg);
	uint64_t (*unix_seconds)(void *arg);
};

struct links_config {
	const struct onion_env *env; /* outlives the links */
	struct links_ops ops;
	enum link_role role;
	bool responds;        /* relays answer INIT; others drop it */
	uint8_t id[32];       /* our identity; responders */
	uint32_t net_id;
	uint16_t max_dgram;   /* DATAGRAM_FULL_MOST */
	uint32_t links_most;  /* LINKS_MOST; tests set less */
	uint32_t half_open_most;
	uint32_t inits_per_s_busy; /* above this many INITs a second a cookie is asked for; 0: always */
	uint32_t init_replay_most; /* 0: INIT_REPLAY_MOST; tests set less */
};

/* NULL without memory. */
struct links *links_new(const struct links_config *c, nsec_t now);
/* Drop all in silence: nothing is sent, no op is called. NULL is fine. */
void links_free(struct links *s);

/* A datagram that dataplane_receive() called DP_HANDSHAKE; `worker` read it and becomes the owner. */
void links_on_handshake(struct links *s, const struct addr *from, unsigned worker, const uint8_t *d, size_t n,
			nsec_t now);
/* A CTRL datagram whose header opened on link id `link_id` with counter ctr; body is n bytes, opened in place. */
void links_on_ctrl(struct links *s, uint32_t link_id, const struct addr *from, unsigned worker, uint64_t ctr,
		   uint8_t *body, size_t n, nsec_t now);

/* A DATA datagram verified on link_id and came from another source than the link's remote (dp_result.foreign): ask
 * that source whether the link lives there now. At most one PING a second a link. */
void links_on_foreign_source(struct links *s, uint32_t link_id, const struct addr *from, nsec_t now);

/* Start a handshake. The link may carry nothing until on_up. 0, -ENOSPC, -EPROTO, -ENOMEM. */
int links_open(struct links *s, const struct link_target *t, nsec_t now, struct link **ret)
	__attribute__((warn_unused_result));
/* The newest link that we opened to this relay, which is up or on its way and may take new circuits; or NULL. */
struct link *links_find(struct links *s, const uint8_t id[32]);
/* Queue a frame and send it (with others of the same call batch if any). 0, or -ENOTCONN when it is not up. */
int link_send(struct link *l, enum frame_type type, const void *data, size_t n, nsec_t now)
	__attribute__((warn_unused_result));
/* Close: LINK_CLOSE is sent, on_dead is called (on_failed, -ECANCELED, when it was not up yet). */
void link_close(struct link *l, enum close_reason why, nsec_t now);
/* A circuit begins or ends on it: a link with circuits does not go idle, a drained one ends with the last (by the
 * timer: release calls nobody back). A dead link is freed with its last release. */
void link_hold(struct link *l, nsec_t now);
void link_release(struct link *l, nsec_t now);
/* Ask for proof of life now (a BUILD went unanswered). */
void link_probe(struct link *l, nsec_t now);

bool link_is_up(const struct link *l);
bool link_is_relay(const struct link *l);   /* counts as a relay's, by its confirmed source */
const uint8_t *link_id_of(const struct link *l); /* ID of the other side: initiator's target or a relay's; NULL for clients */
struct link_data *link_data_of(const struct link *l);
struct addr link_remote(const struct link *l);
struct addr link_observed(const struct link *l); /* our address as the responder saw it; family 0 unknown */
uint64_t link_peer_serial(const struct link *l); /* the responder's consensus serial */
uint32_t link_circuits_limit(const struct link *l); /* circuits that the responder lets us open on it; 0 unknown */
nsec_t link_rtt(const struct link *l);           /* last PING or handshake; 0 unknown */
nsec_t link_age(const struct link *l, nsec_t now);
unsigned link_circuits(const struct link *l);
void *link_user(const struct link *l);           /* for circuits.c / path.c */
void link_set_user(struct link *l, void *user);

/* All timers: call links_on_timer() at or after the deadline; NSEC_NEVER when there is none. */
nsec_t links_next_deadline(const struct links *s);
void links_on_timer(struct links *s, nsec_t now);
uint32_t links_count(const struct links *s);
uint32_t links_half_open(const struct links *s);
/* Close all (SIGTERM, network change: a client opens new ones, so that no link id moves with it). */
void links_close_all(struct links *s, enum close_reason why, nsec_t now);
