/* tun/coalesce.c - see tun/coalesce.h.
 *
 * Whether a packet's sums are right is asked late: when it is about to join, and of the first one
 * when the second joins. So what goes alone costs no sum.
 */
#include "tun/coalesce.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/offload.h"
#include "tun/checksum.h"
#include "tun/part.h"

#define FLOW_ENDS 4 /* words of a flow that are addresses */

/* Source, destination; then ports, protocol and version. */
struct flow {
	uint64_t word[FLOW_ENDS + 1];
};

struct item {
	struct flow flow;
	struct part first;
	uint32_t bytes; /* of the packet that it would be now */
	uint16_t packets;
	uint8_t flags;	  /* FIN and PSH of its last packet; from the second on */
	bool first_right; /* the first one's sums */
	bool fixed_id;	  /* all IDs are the first one's; known from the second packet on */
	struct iovec iov[1 + COALESCE_PACKETS_MAX];
};

struct coalesce {
	bool tcp, udp; /* may be made */
	coalesce_emit_fn *emit;
	void *arg;
	unsigned open;
	uint8_t order[COALESCE_FLOWS]; /* items: first the open ones, by age, then the free ones */
	struct item item[COALESCE_FLOWS];
};

struct coalesce *coalesce_new(unsigned offloads, coalesce_emit_fn *emit, void *arg)
{
	struct coalesce *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->emit = emit;
	c->arg = arg;
	for (unsigned i = 0; i < COALESCE_FLOWS; i++)
		c->order[i] = (uint8_t)i;
	coalesce_set_offloads(c, offloads);
	return c;
}

void coalesce_free(struct coalesce *c)
{
	assert(!c || c->open == 0);
	free(c);
}

void coalesce_set_offloads(struct coalesce *c, unsigned offloads)
{
	assert(c->open == 0);
	c->tcp = (offloads & OFFLOAD_CSUM) && (offloads & OFFLOAD_TSO);
	c->udp = (offloads & OFFLOAD_CSUM) && (offloads & OFFLOAD_USO);
}

/* --- flows --- */

static uint64_t word64(const uint8_t *p)
{
	uint64_t w;
	memcpy(&w, p, sizeof(w));
	return w;
}

static struct flow flow_of(const struct ip_view *v)
{
	return (struct flow){{word64(v->src.ip), word64(v->src.ip + 8), word64(v->dst.ip),
			      word64(v->dst.ip + 8),
			      (uint64_t)v->src_port << 32 | (uint64_t)v->dst_port << 16 |
				      (uint64_t)v->protocol << 8 | v->version}};
}

static bool same_ends(const struct flow *a, const struct flow *b)
{
	uint64_t differ = (a->word[FLOW_ENDS] ^ b->word[FLOW_ENDS]) & 0xff; /* the version */
	for (unsigned i = 0; i < FLOW_ENDS; i++)
		differ |= a->word[i] ^ b->word[i];
	return differ == 0;
}

/* Place in c->order of the flow's open item, or -1. */
static int find(const struct coalesce *c, const struct flow *f)
{
	for (unsigned i = 0; i < c->open; i++) {
		const struct flow *has = &c->item[c->order[i]].flow;
		if (has->word[FLOW_ENDS] == f->word[FLOW_ENDS] && same_ends(has, f))
			return (int)i;
	}
	return -1;
}

/* --- out --- */

/* The virtio header of one packet whose checksum is left open. */
static struct virtio_net_hdr open_header(uint16_t start, uint16_t at)
{
	return (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_NONE,
		.csum_start = start,
		.csum_offset = (uint16_t)(at - start),
	};
}

static void emit_alone(struct coalesce *c, uint8_t *p, const struct ip_view *v, bool csum_open)
{
	struct virtio_net_hdr h = {.gso_type = VIRTIO_NET_HDR_GSO_NONE};
	struct iovec iov[2] = {[1] = {p, v->len}};
	if (csum_open) {
		checksum_leave_open(p, v);
		h = open_header(v->l4_offset, (uint16_t)ip_open_checksum_at(v));
	}
	c->emit(c->arg, &h, iov, 2);
}

static uint8_t gso_type(const struct part *first)
{
	if (first->protocol == IP_UDP)
		return VIRTIO_NET_HDR_GSO_UDP_L4;
	bool cwr = part_tcp_flags(first) & PART_TCP_CWR;
	return (uint8_t)((first->p[0] >> 4 == 4 ? VIRTIO_NET_HDR_GSO_TCPV4
						: VIRTIO_NET_HDR_GSO_TCPV6) |
			 (cwr ? VIRTIO_NET_HDR_GSO_ECN : 0));
}

/* Make the first packet's header that of all, and say so in the virtio header. */
static struct virtio_net_hdr seal_item(struct item *it)
{
	struct virtio_net_hdr h = {.gso_type = VIRTIO_NET_HDR_GSO_NONE};
	if (it->packets > 1)
		part_become(&it->first, it->bytes, it->flags);
	else if (it->first.csum_open)
		part_leave_open(&it->first, it->bytes - it->first.l4);
	else
		return h;
	h = open_header(it->first.l4, part_checksum_at(&it->first));
	if (it->packets > 1) {
		h.gso_type = gso_type(&it->first);
		h.gso_size = it->first.payload;
		h.hdr_len = it->first.header;
	}
	return h;
}

/* Emit the item at this place of c->order, and close it. */
static void emit_item(struct coalesce *c, unsigned place)
{
	uint8_t slot = c->order[place];
	struct item *it = &c->item[slot];
	struct virtio_net_hdr h = seal_item(it);
	c->open--;
	memmove(c->order + place, c->order + place + 1, c->open - place);
	c->order[c->open] = slot;
	c->emit(c->arg, &h, it->iov, 1u + it->packets);
}

/* Emit what is open between the two addresses, in this direction. */
static void emit_between(struct coalesce *c, const struct ip_view *v)
{
	struct flow f = flow_of(v);
	for (unsigned i = 0; i < c->open;) {
		if (same_ends(&c->item[c->order[i]].flow, &f))
			emit_item(c, i);
		else
			i++;
	}
}

void coalesce_flush(struct coalesce *c)
{
	while (c->open > 0)
		emit_item(c, 0);
}

/* --- in --- */

static void begin_item(struct coalesce *c, const struct flow *f, const struct part *k)
{
	if (c->open == COALESCE_FLOWS)
		emit_item(c, 0);
	struct item *it = &c->item[c->order[c->open++]];
	it->flow = *f;
	it->first = *k;
	it->bytes = (uint32_t)k->header + k->payload;
	it->packets = 1;
	it->first_right = false;
	it->iov[1] = (struct iovec){k->p, it->bytes};
}

/* Would the headers and lengths of k let it come next? Sets *fixed_id to what the item has then. */
static bool continues(const struct item *it, const struct part *k, bool *fixed_id)
{
	const struct part *first = &it->first;
	if (k->payload > first->payload || it->packets == COALESCE_PACKETS_MAX ||
	    it->bytes + k->payload > FRAME_BYTES_MAX || !part_fits(first, k))
		return false;
	if (k->protocol == IP_TCP && part_seq_step(first, k) != it->bytes - first->header)
		return false;
	uint16_t step = part_id_step(first, k);
	*fixed_id = it->packets == 1 ? step == 0 && part_has_df(k) : it->fixed_id;
	return step == (*fixed_id ? 0 : it->packets);
}

static bool join(struct item *it, const struct part *k)
{
	bool fixed_id;
	if (!continues(it, k, &fixed_id) || !part_sums_are_right(k))
		return false;
	if (!it->first_right)
		it->first_right = part_sums_are_right(&it->first);
	if (!it->first_right)
		return false;
	it->fixed_id = fixed_id;
	it->flags = part_tcp_flags(k) & (PART_TCP_FIN | PART_TCP_PSH);
	it->bytes += k->payload;
	it->iov[++it->packets] = (struct iovec){k->p + k->header, k->payload};
	return true;
}

void coalesce_put(struct coalesce *c, uint8_t *p, const struct ip_view *v, bool csum_open)
{
	if (!v->has_ports || v->is_fragment) {
		emit_between(c, v);
		emit_alone(c, p, v, csum_open);
		return;
	}
	struct flow f = flow_of(v);
	struct part k = part_of(p, v, csum_open);
	enum part_role role = PART_ALONE;
	if (v->protocol == IP_TCP ? c->tcp : c->udp)
		role = part_role(&k, v);
	int place = find(c, &f);
	if (place >= 0) {
		struct item *it = &c->item[c->order[place]];
		if (role != PART_ALONE && join(it, &k)) {
			if (role == PART_LAST || k.payload < it->first.payload)
				emit_item(c, (unsigned)place);
			return;
		}
		emit_item(c, (unsigned)place);
	}
	if (role == PART_ANY)
		begin_item(c, &f, &k);
	else
		emit_alone(c, p, v, csum_open);
}
