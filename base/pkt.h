/* base/pkt.h - a packet with headroom and tailroom, and a pool of such for one thread.
 *
 * A struct pkt describes bytes that lie elsewhere: in a burst that the kernel gave (engine/worker.c makes one
 * for each packet that arrives), or in a pool. A pool is made at start and belongs to one thread, which takes
 * a packet, fills it and puts it back; what crosses to another thread is copied into a ring (base/ring.h).
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define PKT_HEADROOM 64   /* header 20 B, alignment */
#define PKT_ROOM     1728 /* the largest inner packet with all tags (1,452 B), with slack */

#define PKT_IN_BURST (1u << 31) /* in flags: it lies in a burst, not in a pool */

struct pkt {
	uint8_t *data;  /* first byte in use, within room */
	uint32_t len;   /* bytes in use */
	uint32_t flags; /* for the owner's use; 0 when taken */
	struct pkt *next; /* free list, or a list of the owner's */
	uint8_t *room;    /* the bytes around it that may be written */
	uint32_t room_bytes;
};

struct pkt_pool;

/* Make a pool of n packets with PKT_HEADROOM + PKT_ROOM bytes each, aligned to 64 (allocated now, touched when
 * used). NULL when there is no memory. */
struct pkt_pool *pkt_pool_new(size_t n);
void pkt_pool_free(struct pkt_pool *p);
/* Take an empty packet (data at PKT_HEADROOM, len 0); NULL when the pool is empty: the caller counts it. */
struct pkt *pkt_get(struct pkt_pool *p);
/* Give it back to the pool it came from. */
void pkt_put(struct pkt_pool *p, struct pkt *k);
/* Packets that are free now. */
size_t pkt_pool_left(const struct pkt_pool *p);
/* Bytes free before data and after its last byte. */
size_t pkt_headroom(const struct pkt *k);
size_t pkt_tailroom(const struct pkt *k);
