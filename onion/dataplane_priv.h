/* onion/dataplane_priv.h - what dataplane_receive.c and dataplane_seal.c share; nobody else includes it. */
#pragma once
#include "onion/dataplane.h"

#define DP_RUN 16 /* packets that go through all layers together: 24 KB, which a first-level cache holds */

/* Once a run, and only where it changes: other threads read the cache line. */
static inline void dp_stamp(_Atomic nsec_t *at, nsec_t now)
{
	if (now != 0 && atomic_load_explicit(at, memory_order_relaxed) != now)
		atomic_store_explicit(at, now, memory_order_relaxed);
}

/* Write the DATA headers of what goes out on l, n <= DP_RUN datagrams at d[i], and stamp the link. */
void dp_address(struct dp_thread *t, struct link_data *l, uint32_t circuit_id, const uint64_t ctr[],
		uint8_t *const d[], size_t n);
