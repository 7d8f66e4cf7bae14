/* net/udp_internal.h - what the parts of a UDP socket share. Only for net/udp*.c. */
#pragma once
#include <netinet/in.h>
#include "net/udp.h"

struct udp {
	int fd;
	struct addr local;
	atomic_uint offloads;	  /* in use, bits of enum udp_offload */
	atomic_bool may_fragment; /* DF is clear */
};

/* Room for an address of either family as the kernel writes it, a quarter of a sockaddr_storage. */
union udp_name {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* Add to a counter that only this thread writes. */
static inline void udp_count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}
