/* onion/ctrl.c - lists of CTRL frames. See ctrl.h; PROTOCOL.md section 4. */
#include "onion/ctrl.h"
#include <assert.h>
#include <string.h>

static const uint16_t frame_bytes[] = {
	[FRAME_PING] = FRAME_PING_BYTES,
	[FRAME_PONG] = FRAME_PING_BYTES,
	[FRAME_BUILD] = FRAME_BUILD_BYTES,
	[FRAME_BUILD_REPLY] = FRAME_BUILD_REPLY_BYTES,
	[FRAME_CIRCUIT_CLOSE] = FRAME_CIRCUIT_CLOSE_BYTES,
	[FRAME_LINK_CLOSE] = FRAME_LINK_CLOSE_BYTES,
};

size_t ctrl_frame_bytes(unsigned type)
{
	return type < sizeof(frame_bytes) / sizeof(frame_bytes[0]) ? frame_bytes[type] : 0;
}

bool ctrl_next(struct reader *r, struct ctrl_frame *ret)
{
	if (r->left == 0)
		return false;
	uint8_t type = reader_u8(r);
	if (type == FRAME_PAD)
		return false;
	uint16_t n = reader_u16(r);
	const uint8_t *data = reader_take(r, n);
	if (r->bad || ctrl_frame_bytes(type) == 0 || ctrl_frame_bytes(type) != n) {
		reader_fail(r);
		return false;
	}
	*ret = (struct ctrl_frame){(enum frame_type)type, data, n};
	return true;
}

bool ctrl_check(const uint8_t *plain, size_t n)
{
	if (n != CTRL_PLAIN_SMALL && n != CTRL_PLAIN_LARGE)
		return false;
	struct reader r;
	reader_init(&r, plain, n);
	struct ctrl_frame f;
	while (ctrl_next(&r, &f))
		;
	return !r.bad;
}

bool ctrl_put(struct ctrl_list *l, enum frame_type type, const void *data, size_t n)
{
	assert(n == ctrl_frame_bytes(type) && n > 0);
	struct writer w;
	writer_init(&w, l->plain + l->used, sizeof(l->plain) - l->used);
	if (FRAME_HEAD_BYTES + n > w.size)
		return false;
	writer_u8(&w, (uint8_t)type);
	writer_u16(&w, (uint16_t)n);
	writer_put(&w, data, n);
	l->used += w.used;
	return true;
}

size_t ctrl_pad(struct ctrl_list *l)
{
	size_t n = l->used <= CTRL_PLAIN_SMALL ? CTRL_PLAIN_SMALL : CTRL_PLAIN_LARGE;
	memset(l->plain + l->used, FRAME_PAD, n - l->used);
	return n;
}
