/* onion/circuits.h - a relay's circuits: BUILD, BUILD_REPLY, CIRCUIT_CLOSE, with all limits of section 9.
 *
 * PROTOCOL.md section 5. Control thread only. Publishes struct circuit's two directions for the workers.
 */
#pragma once
#include <stdbool.h>
#include "base/clock.h"
#include "onion/build.h"
#include "onion/links.h"

#define CIRCUITS_MOST              262144
#define CIRCUITS_PER_CLIENT_LINK   64
#define BUILDS_PER_S_CLIENT_LINK   20
#define BUILDS_PER_S_RELAY_LINK    2000
#define BUILDS_PENDING_MOST        4096
#define BUILD_REPLAY_ENTRIES       (1u << 21)
#define BUILD_REPLAY_SECONDS       1200
#define BUILD_REPLY_CACHE_SECONDS  10
#define BUILD_RESENDS_MOST         3
#define BUILD_REPLIES_KEPT_MOST    8192 /* the oldest goes first: to keep them is a courtesy */

struct circuits;

struct circuits_ops {
	void *arg;
	/* Where the relay with this ID answers, from our own consensus (the previous one serves 1 h more). False when
	 * it is unknown there. */
	bool (*find_relay)(void *arg, const uint8_t id[32], struct link_target *ret);
	/* A path ends here. True to take it (we are an exit). h binds its session, res is KDF(seed,"resume"). It is not
	 * in the table yet and may not be closed during the call. */
	bool (*on_end)(void *arg, struct circuit *c, const uint8_t h[32], const uint8_t res[32], nsec_t now);
	/* It is gone, whoever closed it, circuits_close_end() included: forget it now (it is freed after a grace
	 * period). */
	void (*on_end_gone)(void *arg, struct circuit *c, nsec_t now);
	uint64_t (*unix_seconds)(void *arg);
};

struct circuits_config {
	const struct onion_env *env;
	struct links *links;
	struct circuits_ops ops;
	uint8_t id[32];
	const struct onion_keypair *(*onion_key)(void *arg, uint16_t keyid); /* with ops.arg */
	bool is_exit;
	uint32_t circuits_most;  /* CIRCUITS_MOST; tests set less */
	uint32_t pending_most;   /* 0: BUILDS_PENDING_MOST; tests set less */
	uint32_t replies_most;   /* 0: BUILD_REPLIES_KEPT_MOST; tests set less */
	uint32_t replay_entries; /* BUILD_REPLAY_ENTRIES */
};

/* NULL without memory. */
struct circuits *circuits_new(const struct circuits_config *c, nsec_t now);
/* Drop all in silence: nothing is sent, on_end_gone is not called. Before links_free(). NULL is fine. */
void circuits_free(struct circuits *s);
/* From links_ops.on_frame, on_up, on_failed, on_dead. */
void circuits_on_frame(struct circuits *s, struct link *l, enum frame_type type, const uint8_t *data, size_t n,
		       nsec_t now);
void circuits_on_link_up(struct circuits *s, struct link *l, nsec_t now);
void circuits_on_link_failed(struct circuits *s, struct link *l, nsec_t now);
void circuits_on_link_dead(struct circuits *s, struct link *l, nsec_t now);
/* The exit closes one of its own. */
void circuits_close_end(struct circuits *s, struct circuit *c, enum close_reason why, nsec_t now);
/* A session took it (or let go of it): an ungranted end closes after periods->circuit_ungranted_s. */
void circuits_end_granted(struct circuits *s, struct circuit *c, bool granted);
/* Drain (SIGTERM): close all with `done` and answer every new BUILD with overload from here on. */
void circuits_drain(struct circuits *s, nsec_t now);
void circuits_close_all(struct circuits *s, enum close_reason why, nsec_t now);
nsec_t circuits_next_deadline(const struct circuits *s);
void circuits_on_timer(struct circuits *s, nsec_t now);
uint32_t circuits_count(const struct circuits *s);
uint32_t circuits_pending(const struct circuits *s);
