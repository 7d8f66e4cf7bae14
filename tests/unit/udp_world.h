/* tests/unit/udp_world.h - a UDP writer and the readers that it sends to, over loopback, beside a
 * slow model of what must arrive and in how many messages. */
#pragma once
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include "net/udp.h"
#include "seeded.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define WAIT_MS	     2000
#define DESTINATIONS 3
#define PUT_MAX	     256 /* datagrams of one flush */

static inline struct addr loopback(uint8_t family)
{
	struct addr a;
	assert_int_equal(addr_parse_ip(family == 4 ? "127.0.0.1" : "::1", &a), 0);
	return a;
}

static inline struct udp *open_udp(uint8_t family, unsigned without)
{
	struct udp_config c = {.bind = loopback(family), .without = without};
	struct udp *u;
	int err = udp_open(&c, &u);
	if (err != 0)
		fail_msg("udp_open: %s", strerror(-err));
	return u;
}

/* Offloads that this kernel has. */
static inline unsigned kernel_offloads(void)
{
	struct udp *u = open_udp(4, 0);
	unsigned has = udp_offloads(u);
	udp_close(u);
	return has;
}

static inline void wait_readable(const struct udp *u)
{
	struct pollfd p = {.fd = udp_fd(u), .events = POLLIN};
	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
}

struct expected {
	const uint8_t *bytes;
	size_t n;
	unsigned to;
};

struct udp_world {
	struct udp *from, *at[DESTINATIONS];
	struct udp_writer *writer;
	struct udp_reader *readers[DESTINATIONS];
	struct addr to[DESTINATIONS];
	uint8_t *memory; /* the bytes of what was put */
	size_t used;
	struct expected put[PUT_MAX]; /* since the last flush */
	size_t n;
};

#define WORLD_BYTES (512 * 1024)

static inline struct udp_world world_open(uint8_t family, unsigned without)
{
	struct udp_world w = {.from = open_udp(family, without), .memory = malloc(WORLD_BYTES)};
	assert_non_null(w.memory);
	w.writer = udp_writer_new(w.from);
	assert_non_null(w.writer);
	for (unsigned i = 0; i < DESTINATIONS; i++) {
		w.at[i] = open_udp(family, without);
		w.readers[i] = udp_reader_new(w.at[i]);
		assert_non_null(w.readers[i]);
		w.to[i] = udp_local(w.at[i]);
	}
	return w;
}

static inline void world_close(struct udp_world *w)
{
	for (unsigned i = 0; i < DESTINATIONS; i++) {
		udp_reader_free(w->readers[i]);
		udp_close(w->at[i]);
	}
	udp_writer_free(w->writer);
	udp_close(w->from);
	free(w->memory);
}

/* Put n bytes that no other datagram has, `gap` bytes behind the one before. */
static inline void world_put(struct udp_world *w, struct seeded *s, unsigned to, size_t n,
			     size_t gap)
{
	assert_true(w->n < PUT_MAX && w->used + gap + n <= WORLD_BYTES);
	uint8_t *at = w->memory + w->used + gap;
	w->used += gap + n;
	seeded_fill(s, at, n);
	w->put[w->n++] = (struct expected){at, n, to};
	struct addr passing = w->to[to]; /* the writer must have copied it */
	udp_writer_put(w->writer, at, n, &passing);
	memset(&passing, 0xee, sizeof(passing));
}

/* The next datagram that reader `to` must see, from index i on; an empty one is never seen. */
static inline size_t world_next(const struct udp_world *w, unsigned to, size_t i)
{
	while (i < w->n && (w->put[i].to != to || w->put[i].n == 0))
		i++;
	return i;
}

/* Compare a burst with what must come next; returns where to go on. Spoils its bytes and headroom,
 * as an owner may. */
static inline size_t world_check_burst(const struct udp_world *w, const struct udp_burst *b,
				       unsigned to, size_t i)
{
	struct addr from = udp_local(w->from);
	assert_true(addr_equal(&b->from, &from));
	assert_true(b->len > 0 && b->segment > 0 && b->segment <= b->len);
	for (uint32_t off = 0; off < b->len; off += b->segment) {
		uint32_t n = b->len - off < b->segment ? b->len - off : b->segment;
		i = world_next(w, to, i);
		if (i == w->n)
			fail_msg("a datagram of %u bytes that nobody sent", n);
		if (n != w->put[i].n)
			fail_msg("datagram %zu: %u bytes in place of %zu", i, n, w->put[i].n);
		assert_memory_equal(b->data + off, w->put[i].bytes, n);
		i++;
	}
	memset(b->data - UDP_BURST_HEADROOM, 0xee, UDP_BURST_HEADROOM + b->len);
	return i;
}

/* Each reader gets what was put for it, whole, in order, once, and no more; forget it then. */
static inline void world_check(struct udp_world *w)
{
	for (unsigned to = 0; to < DESTINATIONS; to++) {
		const struct udp_burst *b;
		size_t i = world_next(w, to, 0);
		while (i < w->n) {
			wait_readable(w->at[to]);
			int n = udp_reader_receive(w->readers[to], UDP_BATCH, &b);
			assert_true(n >= 0);
			for (int k = 0; k < n; k++)
				i = world_check_burst(w, &b[k], to, i);
			i = world_next(w, to, i);
		}
		assert_int_equal(udp_reader_receive(w->readers[to], UDP_BATCH, &b), 0);
	}
	w->n = w->used = 0;
}

/* How many messages the datagrams put since the last flush make: the rule of udp.h word for word.
 */
static inline size_t world_model_messages(const struct udp_world *w, uint8_t family, bool gso)
{
	struct {
		unsigned to;
		size_t segment, bytes, count;
		bool ended;
	} m[PUT_MAX];
	size_t headers = family == 4 ? 28 : 48;
	size_t n = 0;
	size_t first = 0; /* messages before it have gone: 64 at a time */
	for (size_t i = 0; i < w->n; i++) {
		const struct expected *e = &w->put[i];
		size_t j = n;
		while (j > first && n - j < 8 && m[j - 1].to != e->to)
			j--;
		bool joins = gso && j > first && n - j < 8 && !m[j - 1].ended && e->n > 0 &&
			     e->n <= m[j - 1].segment && m[j - 1].bytes + e->n <= 65535 - headers &&
			     m[j - 1].bytes + e->n + headers <= 64 * m[j - 1].segment;
		if (joins) {
			m[j - 1].bytes += e->n;
			m[j - 1].ended = e->n < m[j - 1].segment;
			continue;
		}
		if (n - first == 64)
			first = n;
		m[n].to = e->to;
		m[n].segment = m[n].bytes = e->n;
		m[n++].ended = false;
	}
	return n;
}

/* Put a random sequence of n datagrams: sizes and destinations that stay for a while, then change.
 */
static inline void world_put_random(struct udp_world *w, struct seeded *s, size_t n)
{
	static const size_t sizes[] = {0, 1, 2, 47, 64, 128, 196, 500, 1240, 1440, 2000};
	size_t size = 1440;
	unsigned to = 0;
	for (size_t i = 0; i < n; i++) {
		uint64_t r = seeded_u64(s);
		if (r % 4 == 0)
			size = sizes[(r >> 8) % (sizeof(sizes) / sizeof(sizes[0]))];
		if ((r >> 16) % 3 == 0)
			to = (unsigned)((r >> 24) % DESTINATIONS);
		size_t shorter = (r >> 32) % 16 == 0 ? size / 3 : 0;
		world_put(w, s, to, size - shorter, (r >> 40) % 4 == 0 ? 1 + (r >> 48) % 70 : 0);
	}
	for (to = 0; to < DESTINATIONS; to++)
		world_put(w, s, to, 9, 0);
}
