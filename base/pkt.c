/* base/pkt.c - the packet pool: one block of memory, a free list, and packets never yet used. See
 * pkt.h.
 *
 * Packets that were never taken are counted, not linked: so the pages of a large pool stay
 * untouched until traffic asks for them.
 */
#include "base/pkt.h"
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

struct stored {
	struct pkt k; /* first: a pool's packet is found by its address */
	uint8_t room[PKT_HEADROOM + PKT_ROOM] __attribute__((aligned(64)));
};

struct pkt_pool {
	struct stored *all;
	size_t size;
	size_t fresh; /* all[fresh..size-1] were never taken */
	size_t left;
	struct pkt *free;
};

struct pkt_pool *pkt_pool_new(size_t n)
{
	if (n == 0 || n > SIZE_MAX / sizeof(struct stored))
		return NULL;
	struct pkt_pool *p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->all = aligned_alloc(_Alignof(struct stored), n * sizeof(struct stored));
	if (!p->all) {
		free(p);
		return NULL;
	}
	p->size = n;
	p->left = n;
	return p;
}

void pkt_pool_free(struct pkt_pool *p)
{
	if (!p)
		return;
	free(p->all);
	free(p);
}

struct pkt *pkt_get(struct pkt_pool *p)
{
	struct pkt *k = p->free;
	if (k)
		p->free = k->next;
	else if (p->fresh < p->size)
		k = &p->all[p->fresh++].k;
	else
		return NULL;
	p->left--;
	k->room = ((struct stored *)k)->room;
	k->room_bytes = PKT_HEADROOM + PKT_ROOM;
	k->data = k->room + PKT_HEADROOM;
	k->len = 0;
	k->flags = 0;
	k->next = NULL;
	return k;
}

void pkt_put(struct pkt_pool *p, struct pkt *k)
{
	assert((struct stored *)k >= p->all && (struct stored *)k < p->all + p->size);
	assert(p->left < p->size);
	k->next = p->free;
	p->free = k;
	p->left++;
}

size_t pkt_pool_left(const struct pkt_pool *p)
{
	return p->left;
}

size_t pkt_headroom(const struct pkt *k)
{
	return (size_t)(k->data - k->room);
}

size_t pkt_tailroom(const struct pkt *k)
{
	return k->room_bytes - pkt_headroom(k) - k->len;
}
