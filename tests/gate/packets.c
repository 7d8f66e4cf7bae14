/* tests/gate/packets.c - see packets.h. */
#include "tests/gate/packets.h"
#include <linux/virtio_net.h>
#include <string.h>
#include "base/bytes.h"
#include "tun/checksum.h"
#include "tun/split.h"

#define IP_HEADER  20
#define TCP_HEADER 32 /* with time stamps */
#define UDP_HEADER 8
#define VNET_BYTES sizeof(struct virtio_net_hdr)

static void put_ip(uint8_t *p, const struct flow *f, size_t n)
{
	uint16_t sum;

	memset(p, 0, IP_HEADER);
	p[0] = 0x45;
	store_be16(p + 2, (uint16_t)n);
	store_be16(p + 4, f->id);
	store_be16(p + 6, 0x4000); /* DF */
	p[8] = 64;
	p[9] = f->tcp ? IP_TCP : IP_UDP;
	memcpy(p + 12, f->from.ip, 4);
	memcpy(p + 16, f->to.ip, 4);
	sum = checksum_fold(checksum_add(0, p, IP_HEADER));
	store_be16(p + 10, (uint16_t)~sum);
}

static void put_tcp(uint8_t *l4, const struct flow *f)
{
	static const uint8_t options[12] = {1, 1, 8, 10, 0, 1, 2, 3, 0, 4, 5, 6};

	memset(l4, 0, TCP_HEADER);
	store_be16(l4, f->from.port);
	store_be16(l4 + 2, f->to.port);
	store_be32(l4 + 4, f->seq);
	store_be32(l4 + 8, 1);
	l4[12] = TCP_HEADER / 4 << 4;
	l4[13] = 0x10; /* ACK */
	store_be16(l4 + 14, 512);
	memcpy(l4 + 20, options, sizeof(options));
}

static void put_udp(uint8_t *l4, const struct flow *f, size_t n)
{
	memset(l4, 0, UDP_HEADER);
	store_be16(l4, f->from.port);
	store_be16(l4 + 2, f->to.port);
	store_be16(l4 + 4, (uint16_t)n);
}

void packets_send(struct parcels *s, unsigned round, struct flow *f, struct seeded *rng)
{
	size_t upper = f->tcp ? TCP_HEADER : UDP_HEADER;
	size_t payload = f->tcp ? (size_t)SEGMENTS * SEGMENT_BYTES : UDP_BYTES;
	size_t n = IP_HEADER + upper + payload;
	uint8_t *frame = parcels_add(s, round, VNET_BYTES + n)->bytes, *p = frame + VNET_BYTES;
	struct virtio_net_hdr h = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.csum_start = IP_HEADER,
		.csum_offset = f->tcp ? 16 : 6,
	};
	struct ip_view v;

	put_ip(p, f, n);
	if (f->tcp)
		put_tcp(p + IP_HEADER, f);
	else
		put_udp(p + IP_HEADER, f, UDP_HEADER + payload);
	seeded_fill(rng, p + IP_HEADER + upper, payload);
	must(!ip_parse(p, n, &v));
	checksum_leave_open(p, &v);
	if (f->tcp) {
		h.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
		h.gso_size = SEGMENT_BYTES;
		h.hdr_len = IP_HEADER + TCP_HEADER;
	} else if (f->complete) {
		checksum_complete(p, &v);
		h = (struct virtio_net_hdr){.flags = VIRTIO_NET_HDR_F_DATA_VALID};
	}
	memcpy(frame, &h, sizeof(h));
	f->id = (uint16_t)(f->id + (f->tcp ? SEGMENTS : 1));
	f->seq += (uint32_t)payload;
}

/* --- comparing --- */

/* Takes frames apart. */
struct cutter {
	const struct parcels *s;
	size_t next; /* parcel */
	struct tun_frame f;
	unsigned i; /* the frame's next packet */
};

/* The next packet, its checksum complete, into to; its length, 0 at the end. */
static size_t cut(struct cutter *c, uint8_t to[1 + FRAME_BYTES_MAX])
{
	struct virtio_net_hdr h;
	struct ip_view v;
	size_t n;

	if (c->i == c->f.packets) {
		const struct parcel *p;

		if (c->next == c->s->n)
			return 0;
		p = &c->s->p[c->next++];
		memcpy(&h, p->bytes, sizeof(h));
		must(!frame_parse(&h, p->bytes + sizeof(h), p->len - sizeof(h), &c->f));
		c->i = 0;
	}
	n = frame_plain(&c->f, c->i++, to) - 1;
	must(!ip_parse(to + 1, n, &v) && v.len == n);
	checksum_complete(to + 1, &v);
	return n;
}

size_t packets_check(const struct parcels *sent, const struct parcels *received)
{
	static uint8_t a[1 + FRAME_BYTES_MAX], b[1 + FRAME_BYTES_MAX];
	struct cutter from = {.s = sent}, to = {.s = received};
	size_t count = 0, n;

	while ((n = cut(&from, a)) != 0) {
		must(cut(&to, b) == n && !memcmp(a + 1, b + 1, n));
		count++;
	}
	must(cut(&to, b) == 0);
	return count;
}
