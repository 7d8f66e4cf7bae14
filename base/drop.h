/* base/drop.h - why a packet was refused. Names are what --status and `status --json` show.
 *
 * Every limit and every check that refuses something of the network's has a row here. Counters are
 * per thread (one struct drops each, written by that thread alone) and are added up to be shown.
 */
#pragma once
#include <stdatomic.h>
#include <stdint.h>

#define DROP_LIST(X)                                                                                \
	X(NONE, "none")                                                                             \
	/* datagrams and links */                                                                   \
	X(SIZE, "datagram-size")                                                                    \
	X(LINK_UNKNOWN, "link-unknown")                                                             \
	X(LINK_SOURCE, "link-source")                                                               \
	X(HEADER, "header-bad")                                                                     \
	X(HEADER_TYPE, "header-type")                                                               \
	X(MAC1, "mac1-bad")                                                                         \
	X(MAC2, "mac2-bad")                                                                         \
	X(COOKIE_SENT, "cookie-sent")                                                               \
	X(COOKIE_BAD, "cookie-bad")                                                                 \
	X(INIT_RATE, "init-rate")                                                                   \
	X(INIT_KEYID, "init-keyid")                                                                 \
	X(INIT_OPEN, "init-open")                                                                   \
	X(INIT_REPLAY, "init-replay")                                                               \
	X(INIT_SKEW, "init-skew")                                                                   \
	X(INIT_NET, "init-net")                                                                     \
	X(INIT_VERSION, "init-version")                                                             \
	X(RESP_OPEN, "resp-open")                                                                   \
	X(HALF_OPEN_FULL, "half-open-full")                                                         \
	X(LINKS_FULL, "links-full")                                                                 \
	X(LINKS_PER_SOURCE, "links-per-source")                                                     \
	X(CTRL_OPEN, "ctrl-open")                                                                   \
	X(CTRL_REPLAY, "ctrl-replay")                                                               \
	X(CTRL_FORMAT, "ctrl-format")                                                               \
	X(ROAM_REFUSED, "roam-refused")                                                             \
	/* building */                                                                              \
	X(BUILD_RATE, "build-rate")                                                                 \
	X(BUILD_FORMAT, "build-format")                                                             \
	X(BUILD_KEYID, "build-keyid")                                                               \
	X(BUILD_OPEN, "build-open")                                                                 \
	X(BUILD_REPLAY, "build-replay")                                                             \
	X(BUILD_REPLAY_FULL, "build-replay-full")                                                   \
	X(BUILD_TIME, "build-time")                                                                 \
	X(BUILD_NEXT, "build-next")                                                                 \
	X(BUILD_PENDING_FULL, "build-pending-full")                                                 \
	X(BUILD_REPEAT, "build-repeat")                                                             \
	X(BUILD_REPLY_UNKNOWN, "build-reply-unknown")                                               \
	X(BUILD_REPLY_BAD, "build-reply-bad")                                                       \
	X(CIRCUITS_FULL, "circuits-full")                                                           \
	X(CIRCUITS_PER_LINK, "circuits-per-link")                                                   \
	/* data */                                                                                  \
	X(CIRCUIT_UNKNOWN, "circuit-unknown")                                                       \
	X(CIRCUIT_LINK, "circuit-link")                                                             \
	X(DATA_SIZE, "data-size")                                                                   \
	X(DATA_REPLAY, "data-replay")                                                               \
	X(DATA_AHEAD, "data-ahead")                                                                 \
	X(DATA_OPEN, "data-open")                                                                   \
	X(DATA_KEY_SPENT, "data-key-spent")                                                         \
	X(PLAIN_FORMAT, "plain-format")                                                             \
	/* sessions and inner packets */                                                            \
	X(SESSION_FORMAT, "session-format")                                                         \
	X(SESSION_STATE, "session-state")                                                           \
	X(SESSION_AUTH, "session-auth")                                                             \
	X(SESSION_BIND, "session-bind")                                                             \
	X(SESSION_SEQ, "session-seq")                                                               \
	X(SESSION_FULL, "session-full")                                                             \
	X(INNER_FORMAT, "inner-format")                                                             \
	X(INNER_SOURCE, "inner-source")                                                             \
	X(INNER_DEST, "inner-destination")                                                          \
	X(INNER_POLICY, "inner-policy")                                                             \
	X(INNER_MTU, "inner-mtu")                                                                   \
	X(INNER_TTL, "inner-ttl")                                                                   \
	X(NO_PATH, "no-path")                                                                       \
	X(NO_LEASE, "no-lease")                                                                     \
	/* the host */                                                                              \
	X(QUEUE_FULL, "queue-full")                                                                 \
	X(QUEUE_LATE, "queue-late")                                                                 \
	X(RING_FULL, "ring-full")                                                                   \
	X(POOL_EMPTY, "pool-empty")                                                                 \
	X(NO_MEMORY, "no-memory")                                                                   \
	X(SEND_FAILED, "send-failed")                                                               \
	X(TUN_WRITE, "tun-write")

enum drop {
#define X(id, text) DROP_##id,
	DROP_LIST(X)
#undef X
		DROP_COUNT
};

struct drops {
	_Atomic uint64_t n[DROP_COUNT]; /* written by one thread, read by any */
};

/* The name of a reason; "unknown" for a number that is none. Never NULL. */
const char *drop_name(enum drop d);

/* Count n drops. Only the thread that owns d. */
static inline void drops_add_n(struct drops *d, enum drop why, uint64_t n)
{
	atomic_store_explicit(&d->n[why],
			      atomic_load_explicit(&d->n[why], memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static inline void drops_add(struct drops *d, enum drop why)
{
	drops_add_n(d, why, 1);
}

static inline uint64_t drops_get(const struct drops *d, enum drop why)
{
	return atomic_load_explicit(&d->n[why], memory_order_relaxed);
}
