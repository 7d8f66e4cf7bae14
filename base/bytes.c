/* base/bytes.c - bounded cursors over bytes. See bytes.h. Any thread; a cursor belongs to its
 * caller. */
#include "base/bytes.h"
#include <string.h>

void reader_init(struct reader *r, const void *p, size_t n)
{
	r->at = p;
	r->left = n;
	r->bad = false;
}

void reader_fail(struct reader *r)
{
	r->bad = true;
	r->left = 0; /* so that every later read fails by its length alone */
}

bool reader_done(const struct reader *r)
{
	return !r->bad && r->left == 0;
}

const uint8_t *reader_take(struct reader *r, size_t n)
{
	if (r->bad || n > r->left) {
		reader_fail(r);
		return NULL;
	}
	const uint8_t *p = r->at;
	if (n > 0) /* `at` may be NULL over no bytes */
		r->at += n;
	r->left -= n;
	return p;
}

uint8_t reader_u8(struct reader *r)
{
	const uint8_t *p = reader_take(r, 1);
	return p ? *p : 0;
}

uint16_t reader_u16(struct reader *r)
{
	const uint8_t *p = reader_take(r, 2);
	return p ? load_be16(p) : 0;
}

uint32_t reader_u32(struct reader *r)
{
	const uint8_t *p = reader_take(r, 4);
	return p ? load_be32(p) : 0;
}

uint64_t reader_u64(struct reader *r)
{
	const uint8_t *p = reader_take(r, 8);
	return p ? load_be64(p) : 0;
}

void reader_copy(struct reader *r, void *to, size_t n)
{
	if (n == 0)
		return;
	const uint8_t *p = reader_take(r, n);
	if (p)
		memcpy(to, p, n);
	else
		memset(to, 0, n);
}

struct reader reader_sub(struct reader *r, size_t n)
{
	struct reader sub;
	const uint8_t *p = reader_take(r, n);
	reader_init(&sub, p, r->bad ? 0 : n);
	sub.bad = r->bad;
	return sub;
}

void reader_zero(struct reader *r, size_t n)
{
	const uint8_t *p = reader_take(r, n);
	if (!p)
		return;
	uint8_t seen = 0;
	for (size_t i = 0; i < n; i++)
		seen |= p[i];
	if (seen)
		reader_fail(r);
}

void writer_init(struct writer *w, void *p, size_t size)
{
	w->start = p;
	w->used = 0;
	w->size = size;
	w->bad = false;
}

uint8_t *writer_reserve(struct writer *w, size_t n)
{
	if (w->bad || n > w->size - w->used) {
		w->bad = true;
		return NULL;
	}
	uint8_t *p = w->used > 0 ? w->start + w->used : w->start;
	w->used += n;
	return p;
}

void writer_u8(struct writer *w, uint8_t v)
{
	uint8_t *p = writer_reserve(w, 1);
	if (p)
		*p = v;
}

void writer_u16(struct writer *w, uint16_t v)
{
	uint8_t *p = writer_reserve(w, 2);
	if (p)
		store_be16(p, v);
}

void writer_u32(struct writer *w, uint32_t v)
{
	uint8_t *p = writer_reserve(w, 4);
	if (p)
		store_be32(p, v);
}

void writer_u64(struct writer *w, uint64_t v)
{
	uint8_t *p = writer_reserve(w, 8);
	if (p)
		store_be64(p, v);
}

void writer_put(struct writer *w, const void *from, size_t n)
{
	uint8_t *p = writer_reserve(w, n);
	if (p && n > 0)
		memcpy(p, from, n);
}

void writer_zero(struct writer *w, size_t n)
{
	uint8_t *p = writer_reserve(w, n);
	if (p && n > 0)
		memset(p, 0, n);
}
