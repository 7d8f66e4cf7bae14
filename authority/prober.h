/* authority/prober.h - link handshakes with many relays at once, over two UDP sockets, on the
 * libevent loop. */
#pragma once
#include <stdint.h>
#include "authority/probe.h"
#include "authority/relays.h"

#define PROBES_MAX    256 /* at once; further ones wait for their turn */
#define PROBES_NEW    128 /* of those, of relays that never answered */
#define PROBE_TRIES   3
#define PROBE_WAIT_MS 1000 /* after the first try, then twice as long each time */

struct event_base;
struct prober;

/* The test of the relay `id` at `at` ended. `status` is enum link_status of a relay that refused,
 * else 0. */
typedef void probe_done_fn(void *arg, const uint8_t id[32], const struct addr *at,
			   enum reach result, uint8_t status);

/* 0 or -errno. One family may be missing on this host. */
int prober_open(struct event_base *base, uint32_t net_id, const struct rng *rng,
		probe_done_fn *done, void *arg, struct prober **ret)
	__attribute__((warn_unused_result));
void prober_close(struct prober *p);
/* Start to test one address. `is_new`: it never answered; anybody can make up such, and they must
 * not keep the others from being tested. `done` is called once, later or at once. 0, or -EBUSY
 * beyond PROBES_MAX or PROBES_NEW: try later. */
int prober_start(struct prober *p, const uint8_t id[32], const struct onion_key *key,
		 const struct addr *a, bool is_new) __attribute__((warn_unused_result));
