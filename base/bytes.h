/* base/bytes.h - bounded cursors: read and write big-endian fields, turn bad once and stay bad.
 *
 * A parser makes one reader over what it got, reads field by field without looking back, and asks
 * reader_done() once at the end. No read goes past the end: it returns zero and turns the reader bad.
 * The idea is OpenSSH's sshbuf without its memory.
 */
#pragma once
#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct reader {
	const uint8_t *at; /* next byte to read; owned by the caller */
	size_t left;       /* bytes that remain */
	bool bad;          /* a read went past the end, or reader_fail() was called */
};

struct writer {
	uint8_t *start; /* owned by the caller */
	size_t used;    /* bytes written */
	size_t size;    /* bytes that start holds */
	bool bad;       /* a write did not fit; nothing of it was written */
};

/* Start to read the n bytes at p, which must outlive the reader and all it hands out. */
void reader_init(struct reader *r, const void *p, size_t n);
/* Read one big-endian number; 0 and bad when too few bytes remain. */
uint8_t reader_u8(struct reader *r);
uint16_t reader_u16(struct reader *r);
uint32_t reader_u32(struct reader *r);
uint64_t reader_u64(struct reader *r);
/* Copy n bytes to `to`; when they are not there, zero `to` and turn bad. */
void reader_copy(struct reader *r, void *to, size_t n);
/* Return a pointer to the next n bytes and step over them; NULL and bad when they are not there. */
const uint8_t *reader_take(struct reader *r, size_t n);
/* Cut the next n bytes off into a reader of their own (bad and empty when they are not there). */
struct reader reader_sub(struct reader *r, size_t n);
/* Step over n bytes that all must be zero, else turn bad. */
void reader_zero(struct reader *r, size_t n);
/* Turn bad: the caller saw a value that the format forbids. */
void reader_fail(struct reader *r);
/* True when all was read, to the last byte, and nothing was bad. */
bool reader_done(const struct reader *r);

/* Start to write into the size bytes at p. */
void writer_init(struct writer *w, void *p, size_t size);
void writer_u8(struct writer *w, uint8_t v);
void writer_u16(struct writer *w, uint16_t v);
void writer_u32(struct writer *w, uint32_t v);
void writer_u64(struct writer *w, uint64_t v);
void writer_put(struct writer *w, const void *from, size_t n);
void writer_zero(struct writer *w, size_t n);
/* Reserve n bytes and return where they start (NULL and bad when they do not fit). */
uint8_t *writer_reserve(struct writer *w, size_t n);

/* Unaligned big-endian numbers in place, for layouts of fixed size whose length was checked. */
static inline uint16_t load_be16(const void *p)
{
	uint16_t v;
	memcpy(&v, p, sizeof(v));
	return be16toh(v);
}

static inline uint32_t load_be32(const void *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof(v));
	return be32toh(v);
}

static inline uint64_t load_be64(const void *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof(v));
	return be64toh(v);
}

static inline void store_be16(void *p, uint16_t v)
{
	v = htobe16(v);
	memcpy(p, &v, sizeof(v));
}

static inline void store_be32(void *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, sizeof(v));
}

static inline void store_be64(void *p, uint64_t v)
{
	v = htobe64(v);
	memcpy(p, &v, sizeof(v));
}
