/* daemon/dirsync.h - keeps a daemon's directory: disk cache, fetch, verify, refresh. PROTOCOL.md
 * section 8.
 *
 * Client and relay alike. The cache is STATE/consensus and STATE/descriptors, written whole or not
 * at all. The last good consensus stays whatever arrives. Control thread only.
 */
#pragma once
#include <stdbool.h>
#include "base/clock.h"
#include "directory/directory.h"
#include "directory/netconf.h"

struct event_base;
struct dirsync;

#define DIRSYNC_ERROR_BYTES  384
#define DIRSYNC_TIMEOUT_S    8 /* one fetch as a whole */
#define DIRSYNC_DIRECT_AFTER 3 /* failures through the tunnel before it goes direct again */
#define DIRSYNC_MISSING_MOST_PCT                                                                   \
	25 /* of the traffic may go by relays whose descriptors are missing */
#define DIRSYNC_RETRY_LEAST_MS                                                                     \
	500 /* doubles up to DIRSYNC_RETRY_MOST_MS until there is a new directory */
#define DIRSYNC_RETRY_MOST_MS 30000

struct dirsync_ops {
	void *arg;
	/* Another directory serves from now on, or the same with more descriptors. The one before
	 * it lives on as dirsync_previous(), the one before that is freed already. */
	void (*on_directory)(void *arg, const struct directory *d, nsec_t now);
	/* A fetch or the cache was refused: dirsync_error() tells why. For waiting --up requests.
	 */
	void (*on_failure)(void *arg, nsec_t now);
	/* A refresh ended with what we have: there is nothing newer. May be NULL. */
	void (*on_unchanged)(void *arg, nsec_t now);
	/* Name of the TUN to reach `to` through, or NULL: direct. May be NULL. */
	const char *(*tunnel)(void *arg, const struct addr *to);
};

struct dirsync_config {
	struct event_base *base;
	const struct netconf *net; /* outlives it */
	const char *state;	   /* folder, 0700 */
	uint32_t mark;		   /* SO_MARK of direct fetches; 0 none */
	const struct rng *rng;
	struct dirsync_ops ops;
	unsigned retry_least_ms; /* 0: DIRSYNC_RETRY_LEAST_MS; tests set less */
	bool relay; /* refresh when fresh_until passes (a mirror), not in the client's spread-out
		       window */
};

/* Make it; nothing is read yet. NULL without memory. */
struct dirsync *dirsync_new(const struct dirsync_config *c, nsec_t now);
/* Read the cache (no error when there is none; on_directory() is called for a good one), then fetch
 * when due. */
void dirsync_start(struct dirsync *s, nsec_t now);
void dirsync_free(struct dirsync *s);
/* The directory that is valid now; NULL when there is none. Stays until the next on_directory() has
 * returned. */
const struct directory *dirsync_current(struct dirsync *s, nsec_t now);
/* The one before it, while it may still serve (PARAM_CONSENSUS_PREVIOUS), or NULL: relays link to
 * relays of both. */
const struct directory *dirsync_previous(struct dirsync *s, nsec_t now);
/* Seconds since 1970 to put into handshakes: our clock, or the consensus's when ours lies outside
 * (section 5). */
uint64_t dirsync_unix_seconds(struct dirsync *s, nsec_t now);
/* Fetch now unless a fetch is under way. */
void dirsync_refresh(struct dirsync *s, nsec_t now);
/* Why there is no valid directory: one sentence. Never NULL. And the reason's name, for logs and
 * JSON. */
const char *dirsync_error(const struct dirsync *s);
enum dir_result dirsync_result(const struct dirsync *s);
/* The bytes to mirror; NULL when there is none. */
const uint8_t *dirsync_consensus_bytes(struct dirsync *s, size_t *ret_n);
const uint8_t *dirsync_descriptor_bytes(struct dirsync *s, size_t *ret_n);
