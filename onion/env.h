/* onion/env.h - what the onion layer asks of whoever runs it: the daemons' engine, the simulator, a test.
 *
 * Everything here is called on the control thread only.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/clock.h"
#include "base/drop.h"
#include "base/random.h"
#include "base/slots.h"

struct aead_ctx;
struct dp_thread;

struct onion_env {
	void *arg;
	/* Send one datagram (copied before it returns). A failure is the environment's to count. */
	void (*send)(void *arg, const struct addr *to, const uint8_t *datagram, size_t n);
	/* Call free_fn(object) when no worker can still hold what was taken out of a table (a grace period). */
	void (*retire)(void *arg, void *object, void (*free_fn)(void *object));
	const struct rng *rng;
	struct aead_ctx *aead; /* the control thread's */
	struct dp_thread *dp;  /* the control thread's, for path_seal() and circuit_seal(): session messages */
	struct drops *drops;   /* the control thread's */
	struct slots *links;   /* of struct link_data, by our link id */
	struct slots *circuits; /* of struct hop_dir, by the circuit id that we chose */
	/* Periods; production values in PERIODS_DEFAULT, shortened by the network file of a test network. */
	const struct periods *periods;
};

struct periods {
	uint32_t path_lifetime_s;     /* 600 */
	uint32_t path_lifetime_max_s; /* 1,200 */
	uint32_t path_grace_s;        /* 30 */
	uint32_t link_renew_s;        /* 3,000: from here on new circuits use the successor */
	uint32_t link_drain_s;        /* 1,230: the old link lives at most that much longer */
	uint32_t link_idle_s;         /* 300: a link without circuits closes */
	uint32_t circuit_ungranted_s; /* 10: a circuit at an exit without GRANT or BOUND */
};
#define PERIODS_DEFAULT                                                                             \
	{                                                                                           \
		.path_lifetime_s = 600, .path_lifetime_max_s = 1200, .path_grace_s = 30,            \
		.link_renew_s = 3000, .link_drain_s = 1230, .link_idle_s = 300,                     \
		.circuit_ungranted_s = 10,                                                          \
	}
