/* tests/hostile/workers_lab.c - see workers_lab.h. */
#include "tests/hostile/workers_lab.h"
#include <arpa/inet.h>
#include <event2/event.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/bytes.h"
#include "engine/codel.h"

/* Nothing waits too long here, however busy this machine is: the linker puts this in the place of
 * engine/codel.c, and what is lost is lost for its bytes. */
bool __wrap_codel_drops(struct codel *c, const struct codel_limits *l, nsec_t now, nsec_t waited,
			bool last);

bool __wrap_codel_drops(struct codel *c, const struct codel_limits *l, nsec_t now, nsec_t waited,
			bool last)
{
	(void)c, (void)l, (void)now, (void)waited, (void)last;
	return false;
}

/* --- the engine's callbacks --- */

static void on_handshake(void *arg, const struct addr *from, unsigned worker, const uint8_t *d,
			 size_t n, nsec_t now)
{
	struct lab *l = arg;

	(void)from, (void)worker, (void)d, (void)n, (void)now;
	l->handshakes++;
}

static void on_ctrl(void *arg, uint32_t link_id, const struct addr *from, unsigned worker,
		    uint64_t ctr, uint8_t *body, size_t n, nsec_t now)
{
	struct lab *l = arg;

	(void)link_id, (void)from, (void)worker, (void)ctr, (void)body, (void)n, (void)now;
	l->ctrls++;
}

static void on_foreign(void *arg, uint32_t link_id, const struct addr *from, nsec_t now)
{
	struct lab *l = arg;

	(void)link_id, (void)from, (void)now;
	l->foreign++;
}

static void on_plain(void *arg, uint32_t circuit_id, const uint8_t *plain, size_t n,
		     size_t datagram, nsec_t now)
{
	struct lab *l = arg;

	(void)circuit_id, (void)plain, (void)n, (void)datagram, (void)now;
	l->plains++;
}

/* --- making and ending --- */

static int open_socket(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0),
	    room = 4 * 1024 * 1024;

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	return fd;
}

static struct addr *address_of(int fd)
{
	struct sockaddr_storage ss;
	socklen_t n = sizeof(ss);
	struct addr *a = malloc(sizeof(*a));

	assert_non_null(a);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&ss, &n), 0);
	*a = addr_from_sockaddr((struct sockaddr *)&ss);
	return a;
}

static struct link_data *make_link(struct lab *l, unsigned owner, int remote)
{
	struct link_data *d =
		aligned_alloc(KEY_ALIGN, (sizeof(*d) + KEY_ALIGN - 1) / KEY_ALIGN * KEY_ALIGN);
	uint8_t key[32];

	assert_non_null(d);
	memset(d, 0, sizeof(*d));
	d->owner = (uint16_t)owner;
	d->remote_id = rng_u32(&rng_system);
	d->max_dgram = DATAGRAM_MAX;
	rng_bytes(&rng_system, key, sizeof(key));
	header_key_init(&d->rx, l->aead, key);
	rng_bytes(&rng_system, key, sizeof(key));
	header_key_init(&d->tx, l->aead, key);
	atomic_store(&d->remote, address_of(remote));
	assert_int_equal(slots_add(l->env->links, &d->slot, &rng_system), 0);
	return d;
}

struct circuit *lab_add_circuit(struct lab *l)
{
	const bool last = l->inner;
	struct circuit *c =
		aligned_alloc(KEY_ALIGN, (sizeof(*c) + KEY_ALIGN - 1) / KEY_ALIGN * KEY_ALIGN);
	uint8_t key[32 + 12];

	assert_non_null(c);
	memset(c, 0, sizeof(*c));
	rng_bytes(&rng_system, key, sizeof(key));
	aead_key_init(&c->kf, l->aead, key, key + 32);
	rng_bytes(&rng_system, key, sizeof(key));
	aead_key_init(&c->kb, l->aead, key, key + 32);
	c->last = last;
	c->forward = (struct hop_dir){.kind = last ? HOP_END_FORWARD : HOP_FORWARD,
				      .in = l->a,
				      .out = last ? NULL : l->b,
				      .out_id = NEXT_CID + l->ncircuits,
				      .fill = 0,
				      .key = &c->kf,
				      .offset = OFFSET_F,
				      .owner = c};
	assert_true(l->ncircuits < CIRCUITS_MOST);
	l->circuits[l->ncircuits++] = c;
	assert_int_equal(slots_add(l->env->circuits, &c->forward.slot, &rng_system), 0);
	if (last) {
		c->back_link = l->a;
		c->back_id = CLIENT_CID + l->ncircuits - 1;
		c->db = OFFSET_B;
		c->sealed_first = FIRST;
		c->sealed = FIRST;
		c->full_dgram = DATAGRAM_FULL_LEAST;
		c->padding = PAD_NONE;
		return c;
	}
	c->backward = (struct hop_dir){.kind = HOP_BACKWARD,
				       .in = l->b,
				       .out = l->a,
				       .out_id = CLIENT_CID + l->ncircuits - 1,
				       .fill = 1,
				       .key = &c->kb,
				       .offset = OFFSET_B,
				       .owner = c};
	assert_int_equal(slots_add(l->env->circuits, &c->backward.slot, &rng_system), 0);
	return c;
}

void lab_init(struct lab *l, const struct lab_kind *kind)
{
	struct engine_config c = {
		.workers = kind->workers,
		.offloads_off = kind->offloads_off,
		.underlay4 = true,
		.rng = &rng_system,
		.link_bits = 8,
		.circuit_bits = 8,
		.links_most = 16,
		.circuits_most = 16,
		.pool_packets = 1024,
		.control = {l, on_handshake, on_ctrl, on_foreign, on_plain, NULL}};
	char err[256];

	memset(l, 0, sizeof(*l));
	l->base = event_base_new();
	l->aead = aead_ctx_new();
	assert_true(l->base && l->aead);
	c.base = l->base;
	assert_int_equal(addr_parse_ip("127.0.0.1", &c.bind4), 0);
	l->inner = kind->inner;
	if (kind->inner)
		c.inner = *kind->inner;
	assert_int_equal(engine_new(&c, &l->engine, err), 0);
	l->env = engine_env(l->engine);
	l->engine_addr = c.bind4;
	l->engine_addr.port = engine_port(l->engine, 4);
	for (unsigned i = 0; i < SOURCES; i++)
		l->source[i] = open_socket();
	l->client[0] = open_socket();
	l->client[1] = open_socket();
	l->next = open_socket();
	l->a = make_link(l, kind->owner_a, l->client[0]);
	l->b = make_link(l, kind->owner_b, l->next);
	l->c = lab_add_circuit(l);
}

static void free_link(void *arg)
{
	struct link_data *d = arg;

	free((void *)atomic_load(&d->remote));
	free(d);
}

static void free_circuit(void *arg)
{
	struct circuit *c = arg;

	aead_key_done(&c->kf);
	aead_key_done(&c->kb);
	free(c);
}

/* The workers are still at it when the circuits go. */
void lab_done(struct lab *l)
{
	for (unsigned i = 0; i < l->ncircuits; i++) {
		struct circuit *c = l->circuits[i];

		slots_remove(l->env->circuits, c->forward.slot.id);
		if (!c->last)
			slots_remove(l->env->circuits, c->backward.slot.id);
		l->env->retire(l->env->arg, c, free_circuit);
	}
	slots_remove(l->env->links, l->a->slot.id);
	slots_remove(l->env->links, l->b->slot.id);
	l->env->retire(l->env->arg, l->a, free_link);
	l->env->retire(l->env->arg, l->b, free_link);
	engine_free(l->engine);
	event_base_free(l->base);
	aead_ctx_free(l->aead);
	for (unsigned i = 0; i < SOURCES; i++)
		close(l->source[i]);
	close(l->client[0]);
	close(l->client[1]);
	close(l->next);
}

/* --- the neighbours --- */

static uint64_t counter_of(unsigned i)
{
	return (FIRST + i) & COUNTER_MASK;
}

static void send_from(const struct lab *l, unsigned source, const struct link_data *in,
		      uint32_t circuit, unsigned i, uint8_t *d, size_t n)
{
	const struct header h = {circuit, HEADER_DATA, counter_of(i)};
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(&l->engine_addr, &ss);

	store_be32(d, in->slot.id);
	header_seal(l->aead, &in->rx, &h, d + LINK_ID_BYTES);
	assert_int_equal(sendto(l->source[source], d, n, 0, (struct sockaddr *)&ss, len), n);
}

/* As the client: the same bytes each time, since another body would not verify. */
void send_forward(const struct lab *l, unsigned source, unsigned i)
{
	uint8_t d[HEADER_BYTES + CONTENT + AEAD_TAG_BYTES], *body = d + HEADER_BYTES;

	memset(body, 0, CONTENT);
	body[0] = PLAIN_PACKET;
	store_be32(body + 1, i);
	aead_seal(l->aead, &l->c->kf, counter_of(i), body, CONTENT, body + CONTENT);
	send_from(l, source, l->a, l->c->forward.slot.id, i, d, sizeof(d));
}

/* As the next relay: other bytes each time. */
void send_backward(const struct lab *l, unsigned source, unsigned i)
{
	uint8_t d[HEADER_BYTES + CONTENT + AEAD_TAG_BYTES], *body = d + HEADER_BYTES;

	memset(body, (int)source, CONTENT + AEAD_TAG_BYTES);
	store_be32(body, i);
	send_from(l, source, l->b, l->c->backward.slot.id, i, d, sizeof(d));
}

/* Take what arrived at fd, headers opened with `key`, and count it by counter less offset. */
static void take(struct lab *l, int fd, const struct link_data *out, uint32_t circuit,
		 uint64_t offset, unsigned counts[NUMBERS])
{
	uint8_t d[2048];
	struct header h;
	ssize_t n;

	while ((n = recv(fd, d, sizeof(d), 0)) > 0) {
		assert_true(n > HEADER_BYTES);
		assert_int_equal(load_be32(d), out->remote_id);
		assert_true(header_open(l->aead, &out->tx, d + LINK_ID_BYTES, &h));
		assert_int_equal(h.circuit_id, circuit);
		uint64_t i = (h.ctr - offset - FIRST) & COUNTER_MASK;
		assert_true(i < NUMBERS);
		counts[i]++;
	}
}

/* Let the control thread work and take what came, for at most ms. False: nothing came. */
bool turn(struct lab *l, int ms)
{
	struct pollfd p[3] = {
		{l->client[0], POLLIN, 0}, {l->client[1], POLLIN, 0}, {l->next, POLLIN, 0}};

	bool came = poll(p, 3, ms) > 0;

	take(l, l->client[0], l->a, CLIENT_CID, OFFSET_B, l->backward);
	take(l, l->client[1], l->a, CLIENT_CID, OFFSET_B, l->backward);
	take(l, l->next, l->b, NEXT_CID, OFFSET_F, l->forward);
	event_base_loop(l->base, EVLOOP_NONBLOCK);
	return came;
}

static unsigned missing(const struct lab *l, unsigned from, unsigned to)
{
	unsigned n = 0;

	for (unsigned i = from; i < to; i++)
		n += (l->forward[i] == 0) + (l->backward[i] == 0);
	return n;
}

/* Until counters [from, to) arrived in both directions. What a full socket buffer lost is sent
 * again: another copy. */
void settle(struct lab *l, unsigned from, unsigned to)
{
	int waited = 0;

	turn(l, 0);
	while (missing(l, from, to)) {
		if (turn(l, AGAIN_MS))
			continue;
		waited += AGAIN_MS;
		assert_true(waited < PATIENCE_MS);
		for (unsigned i = from; i < to; i++) {
			if (!l->forward[i])
				send_forward(l, i % SOURCES, i);
			if (!l->backward[i])
				send_backward(l, i % SOURCES, i);
		}
	}
}

/* The client's link moves to its other address while workers send there. */
void move_client(struct lab *l, unsigned round)
{
	const struct addr *old = atomic_exchange_explicit(
		&l->a->remote, address_of(l->client[round % 2]), memory_order_acq_rel);

	l->env->retire(l->env->arg, (void *)old, free);
}
