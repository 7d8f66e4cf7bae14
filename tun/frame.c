/* tun/frame.c - see tun/frame.h. */
#include "tun/frame.h"
#include <string.h>
#include "base/bytes.h"
#include "tun/checksum.h"

size_t frame_bytes(const struct tun_frame *f)
{
	return f->len + (size_t)(f->packets - 1) * f->header;
}

/* The header that stands for one packet less, `payload` further on. */
static void move_header(const struct tun_frame *f, uint8_t *p)
{
	memmove(p, f->data, f->header);
	if (f->view.version == 4)
		store_be16(p + 4, (uint16_t)(load_be16(p + 4) + 1)); /* ID */
	if (f->view.protocol == IP_TCP) {
		uint8_t *seq = p + f->view.l4_offset + 4;
		store_be32(seq, load_be32(seq) + f->payload);
	}
}

/* One packet is left, and its header is used as it is. */
static void finish_single(struct tun_frame *f)
{
	uint8_t *p = f->data;

	f->header = f->payload = 0;
	if (f->view.version == 4) {
		store_be16(p + 2, f->view.len);
		store_be16(p + 10, 0);
		store_be16(p + 10,
			   (uint16_t)~checksum_fold(checksum_add(0, p, (size_t)(p[0] & 15) * 4)));
	} else {
		store_be16(p + 4, (uint16_t)(f->view.len - 40));
	}
	if (f->view.protocol == IP_UDP)
		store_be16(p + f->view.l4_offset + 4, (uint16_t)(f->view.len - f->view.l4_offset));
	if (!f->csum_open)
		checksum_complete(p, &f->view);
}

bool frame_drop_first(struct tun_frame *f)
{
	if (f->packets == 1)
		return false;
	move_header(f, f->data + f->payload);
	f->data += f->payload;
	f->len -= f->payload;
	f->view.len = (uint16_t)(f->view.len - f->payload);
	if (--f->packets == 1)
		finish_single(f);
	return true;
}
