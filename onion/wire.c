/* onion/wire.c - the sizes of PROTOCOL.md section 6 as functions. See wire.h. */
#include "onion/wire.h"

const uint16_t datagram_full_sizes[DATAGRAM_FULL_COUNT] = {DATAGRAM_FULL_LEAST, 1320, 1380,
							   DATAGRAM_FULL_MOST};

/* What `bucket` pads plain to, below full. */
static const uint16_t buckets[] = {128, 320, 640, 1024};

uint16_t datagram_full_floor(uint16_t max_dgram)
{
	for (unsigned i = DATAGRAM_FULL_COUNT; i-- > 0;) {
		if (datagram_full_sizes[i] <= max_dgram)
			return datagram_full_sizes[i];
	}
	return DATAGRAM_FULL_LEAST;
}

unsigned tag_slots(unsigned hops)
{
	return hops > TAG_SLOTS_LEAST ? hops : TAG_SLOTS_LEAST;
}

size_t plain_bytes(size_t datagram, unsigned slots)
{
	size_t around = HEADER_BYTES + (size_t)slots * AEAD_TAG;
	return datagram > around ? datagram - around : 0;
}

static size_t bucket_of(size_t n, size_t full)
{
	for (size_t i = 0; i < sizeof(buckets) / sizeof(buckets[0]); i++) {
		if (n <= buckets[i])
			return buckets[i] < full ? buckets[i] : full;
	}
	return full;
}

size_t padded_bytes(size_t n, size_t full, enum padding how)
{
	if (n > full || full < PLAIN_LEAST)
		return 0;
	switch (how) {
	case PAD_NONE:
		return n < PLAIN_LEAST ? PLAIN_LEAST : n;
	case PAD_BUCKET:
		return bucket_of(n, full);
	case PAD_FULL:
		break;
	}
	return full;
}
