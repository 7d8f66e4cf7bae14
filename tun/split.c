/* tun/split.c - see tun/split.h. */
#include "tun/split.h"
#include <errno.h>
#include <string.h>
#include "base/bytes.h"
#include "base/plain_type.h"
#include "tun/checksum.h"

#define UDP_HEADER_BYTES 8

/* Where fields stand in their header. */
enum { IPV4_LENGTH = 2, IPV4_ID = 4, IPV4_CHECKSUM = 10, IPV6_PAYLOAD = 4 };
enum { TCP_SEQ = 4, TCP_OFFSET = 12, TCP_FLAGS = 13, TCP_CHECKSUM = 16 };
enum { UDP_LENGTH = 4, UDP_CHECKSUM = 6 };
enum { TCP_FIN = 0x01, TCP_PSH = 0x08, TCP_CWR = 0x80 };

static size_t checksum_offset(const struct ip_view *v)
{
	return v->protocol == IP_TCP ? TCP_CHECKSUM : UDP_CHECKSUM;
}

/* One packet. `len` is what was read, which may be more than the packet. */
static int parse_single(const struct virtio_net_hdr *h, size_t len, struct tun_frame *f)
{
	f->packets = 1;
	if (!(h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM))
		return 0;
	size_t start = h->csum_start;
	size_t at = start + h->csum_offset;
	if (at + 2 > len)
		return -EBADMSG;
	if (f->len == len && f->view.l4_offset == start && ip_open_checksum_at(&f->view) == at) {
		f->csum_open = true;
		return 0;
	}
	/* No plain of type 3 could carry it so. Whatever field this was, the view is of what stands
	 * there now. */
	checksum_close(f->data, len, start, at);
	if (ip_parse(f->data, len, &f->view) != 0)
		return -EBADMSG;
	f->len = f->view.len;
	return 0;
}

/* Is this the packet that a frame of this type begins with? */
static bool type_fits(uint8_t type, const struct ip_view *v)
{
	if (!v->has_ports || v->is_fragment)
		return false;
	switch (type) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
	case VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN:
		return v->version == 4 && v->protocol == IP_TCP;
	case VIRTIO_NET_HDR_GSO_TCPV6:
	case VIRTIO_NET_HDR_GSO_TCPV6 | VIRTIO_NET_HDR_GSO_ECN:
		return v->version == 6 && v->protocol == IP_TCP;
	case VIRTIO_NET_HDR_GSO_UDP_L4:
		return v->protocol == IP_UDP;
	default:
		return false;
	}
}

/* Bytes of TCP or UDP header; 0 when UDP's own length is another than the packet's. */
static size_t upper_header_bytes(const uint8_t *data, const struct ip_view *v)
{
	const uint8_t *l4 = data + v->l4_offset;
	if (v->protocol == IP_TCP)
		return (size_t)(l4[TCP_OFFSET] >> 4) * 4;
	return load_be16(l4 + UDP_LENGTH) == v->len - v->l4_offset ? UDP_HEADER_BYTES : 0;
}

static int parse_segmented(const struct virtio_net_hdr *h, size_t len, struct tun_frame *f)
{
	const struct ip_view *v = &f->view;
	if (!type_fits(h->gso_type, v) || f->len != len || h->gso_size == 0)
		return -EBADMSG;
	if ((h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) &&
	    (h->csum_start != v->l4_offset || h->csum_offset != checksum_offset(v)))
		return -EBADMSG;
	size_t upper = upper_header_bytes(f->data, v);
	if (upper == 0)
		return -EBADMSG;
	size_t header = v->l4_offset + upper;
	size_t payload = len - header; /* ip_parse() saw that the header is within the packet */
	if (payload <= h->gso_size)
		return parse_single(h, len, f);
	f->csum_open = ip_open_checksum_at(v) != 0;
	f->header = (uint16_t)header;
	f->payload = h->gso_size;
	f->packets = (uint16_t)((payload + h->gso_size - 1) / h->gso_size);
	return 0;
}

int frame_parse(const struct virtio_net_hdr *h, uint8_t *data, size_t len, struct tun_frame *ret)
{
	struct tun_frame f;
	if (len > FRAME_BYTES_MAX)
		return -EMSGSIZE;
	memset(&f, 0, sizeof(f));
	if (ip_parse(data, len, &f.view) != 0)
		return -EBADMSG;
	f.data = data;
	f.len = f.view.len;
	int rc = h->gso_type == VIRTIO_NET_HDR_GSO_NONE ? parse_single(h, len, &f)
							: parse_segmented(h, len, &f);
	if (rc == 0)
		*ret = f;
	return rc;
}

size_t frame_packet_bytes(const struct tun_frame *f, unsigned i)
{
	if (i + 1u < f->packets)
		return (size_t)f->header + f->payload;
	return f->len - (size_t)i * f->payload;
}

/* Packet i's own values in the copied IP header; n bytes in all. */
static void fix_ip(const struct tun_frame *f, unsigned i, uint8_t *p, size_t n)
{
	if (f->view.version == 6) {
		store_be16(p + IPV6_PAYLOAD, (uint16_t)(n - 40));
		return;
	}
	store_be16(p + IPV4_LENGTH, (uint16_t)n);
	store_be16(p + IPV4_ID, (uint16_t)(load_be16(p + IPV4_ID) + i));
	store_be16(p + IPV4_CHECKSUM, 0);
	size_t header = (size_t)(p[0] & 15) * 4;
	uint16_t sum = header == 20 ? checksum_ipv4(p) : checksum_fold(checksum_add(0, p, header));
	store_be16(p + IPV4_CHECKSUM, (uint16_t)~sum);
}

/* And in the copied TCP or UDP header at l4, n bytes with what follows. The checksum stays open. */
static void fix_upper(const struct tun_frame *f, unsigned i, uint8_t *l4, size_t n)
{
	store_be16(l4 + checksum_offset(&f->view), 0);
	if (f->view.protocol == IP_UDP) {
		store_be16(l4 + UDP_LENGTH, (uint16_t)n);
		return;
	}
	store_be32(l4 + TCP_SEQ, load_be32(l4 + TCP_SEQ) + i * f->payload);
	if (i + 1u < f->packets)
		l4[TCP_FLAGS] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
	if (i > 0)
		l4[TCP_FLAGS] &= (uint8_t)~TCP_CWR;
}

/* Behind extension headers the whole sum goes into the field. */
static void complete_upper(const struct tun_frame *f, uint8_t *p, size_t n)
{
	struct ip_view v = f->view;
	v.len = (uint16_t)n;
	checksum_complete(p, &v);
}

size_t frame_plain(const struct tun_frame *f, unsigned i, uint8_t *to)
{
	uint8_t *p = to + 1;
	size_t n = frame_packet_bytes(f, i);
	to[0] = f->csum_open ? PLAIN_PACKET_OPEN : PLAIN_PACKET;
	if (f->packets == 1) {
		memcpy(p, f->data, n);
		if (f->csum_open)
			store_be16(p + ip_open_checksum_at(&f->view), 0);
		return 1 + n;
	}
	memcpy(p, f->data, f->header);
	memcpy(p + f->header, f->data + f->header + (size_t)i * f->payload, n - f->header);
	fix_ip(f, i, p, n);
	fix_upper(f, i, p + f->view.l4_offset, n - f->view.l4_offset);
	if (!f->csum_open)
		complete_upper(f, p, n);
	return 1 + n;
}
