/* tests/gate/packets.h - what applications send: frames of the TUN, made and compared. */
#pragma once
#include <stdbool.h>
#include "tests/gate/kernel.h"
#include "tests/unit/seeded.h"

enum {
	SEGMENTS = 45,	      /* packets of a full frame */
	SEGMENT_BYTES = 1319, /* of TCP: with its 12 bytes of options the path's whole MTU */
	UDP_BYTES = 64,	      /* of a small packet */
};

/* One flow of IPv4 in one direction. */
struct flow {
	struct addr from, to; /* with ports */
	bool tcp;
	bool complete; /* checksums are, as in packets that were forwarded; only of UDP */
	uint16_t id;
	uint32_t seq;
};

/* The flow's next frame: SEGMENTS full packets of TCP in one, or one small packet of UDP. */
void packets_send(struct parcels *s, unsigned round, struct flow *f, struct seeded *rng);
/* Were exactly these packets received, in this order? How they were put together does not matter.
 * Returns how many; exits when they were not. */
size_t packets_check(const struct parcels *sent, const struct parcels *received);
