/* tun/plain.c - see tun/plain.h. */
#include "tun/plain.h"
#include <assert.h>
#include <errno.h>
#include "base/bytes.h"

void plain_from_packet(struct pkt *k, const struct ip_view *v)
{
	assert(pkt_headroom(k) >= 1 && k->len >= v->len);
	uint8_t type = PLAIN_PACKET;
	if (k->flags & TUN_PKT_CSUM_OPEN) {
		size_t at = ip_open_checksum_at(v);
		assert(at != 0);
		store_be16(k->data + at, 0);
		type = PLAIN_PACKET_OPEN;
	}
	k->flags &= ~TUN_PKT_CSUM_OPEN;
	k->data--;
	k->data[0] = type;
	k->len = 1u + v->len;
}

int plain_to_packet(struct pkt *k, struct ip_view *ret)
{
	if (k->len < 1)
		return -EBADMSG;
	uint8_t type = k->data[0];
	if (type != PLAIN_PACKET && type != PLAIN_PACKET_OPEN)
		return -EBADMSG;
	struct ip_view v;
	if (ip_parse(k->data + 1, k->len - 1, &v) != 0)
		return -EBADMSG;
	size_t at = ip_open_checksum_at(&v);
	if (type == PLAIN_PACKET_OPEN && (at == 0 || load_be16(k->data + 1 + at) != 0))
		return -EBADMSG;
	k->data++;
	k->len = v.len;
	k->flags &= ~TUN_PKT_CSUM_OPEN;
	if (type == PLAIN_PACKET_OPEN)
		k->flags |= TUN_PKT_CSUM_OPEN;
	*ret = v;
	return 0;
}
