/* onion/heap.c - see heap.h. */
#include "onion/heap.h"

#include <errno.h>
#include <stdlib.h>

#define ROOM_FIRST 64

static void put(struct heap *h, struct heap_node *n, uint32_t pos)
{
	h->nodes[pos - 1] = n;
	n->pos = pos;
}

static void sift_up(struct heap *h, struct heap_node *n)
{
	uint32_t pos = n->pos;
	for (; pos > 1 && h->nodes[pos / 2 - 1]->at > n->at; pos /= 2)
		put(h, h->nodes[pos / 2 - 1], pos);
	put(h, n, pos);
}

static void sift_down(struct heap *h, struct heap_node *n)
{
	uint32_t pos = n->pos;
	for (;;) {
		uint32_t child = 2 * pos;
		if (child > h->count)
			break;
		if (child < h->count && h->nodes[child]->at < h->nodes[child - 1]->at)
			child++;
		if (h->nodes[child - 1]->at >= n->at)
			break;
		put(h, h->nodes[child - 1], pos);
		pos = child;
	}
	put(h, n, pos);
}

static int grow(struct heap *h)
{
	uint32_t room = h->room ? 2 * h->room : ROOM_FIRST;
	struct heap_node **nodes = reallocarray(h->nodes, room, sizeof(struct heap_node *));
	if (!nodes)
		return -ENOMEM;
	h->nodes = nodes;
	h->room = room;
	return 0;
}

int heap_set(struct heap *h, struct heap_node *n, nsec_t at)
{
	if (!n->pos) {
		if (h->count == h->room && grow(h) < 0)
			return -ENOMEM;
		n->at = at;
		put(h, n, ++h->count);
		sift_up(h, n);
		return 0;
	}
	nsec_t before = n->at;
	n->at = at;
	if (at < before)
		sift_up(h, n);
	else
		sift_down(h, n);
	return 0;
}

void heap_remove(struct heap *h, struct heap_node *n)
{
	if (!n->pos)
		return;
	struct heap_node *last = h->nodes[--h->count];
	uint32_t pos = n->pos;
	n->pos = 0;
	if (last == n)
		return;
	put(h, last, pos);
	sift_up(h, last);
	sift_down(h, last);
}

struct heap_node *heap_first(const struct heap *h)
{
	return h->count ? h->nodes[0] : NULL;
}

void heap_done(struct heap *h)
{
	free(h->nodes);
	*h = (struct heap){0};
}
