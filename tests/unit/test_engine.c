/* tests/unit/test_engine.c - what workers bring to the control thread, and what a flood leaves of
 * it. */
#include <arpa/inet.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/bytes.h"
#include "engine/engine.h"
#include "engine/engine_internal.h"

#define LINK_ID	   0x01020304u
#define FLOOD	   (3 * CONTROL_RING_CELLS)
#define BURST	   64 /* what a socket's buffer surely holds */
#define GIVE_UP_NS (5 * NSEC_PER_SEC)
#define CTRL_BYTES (HEADER_BYTES + 176)

struct fixture {
	struct event_base *base;
	struct engine *engine;
	struct link_data link;
	struct addr remote;
	int fd;
	unsigned handshakes, ctrls;
};

static void on_handshake(void *arg, const struct addr *from, unsigned worker, const uint8_t *d,
			 size_t n, nsec_t now)
{
	struct fixture *f = arg;
	(void)from, (void)worker, (void)d, (void)n, (void)now;
	f->handshakes++;
}

static void on_ctrl(void *arg, uint32_t link_id, const struct addr *from, unsigned worker,
		    uint64_t ctr, uint8_t *body, size_t n, nsec_t now)
{
	struct fixture *f = arg;
	(void)from, (void)worker, (void)ctr, (void)body, (void)n, (void)now;
	assert_int_equal(link_id, f->link.slot.id);
	f->ctrls++;
}

static void on_foreign(void *arg, uint32_t link_id, const struct addr *from, nsec_t now)
{
	(void)arg, (void)link_id, (void)from, (void)now;
}

static void on_plain(void *arg, uint32_t circuit_id, const uint8_t *plain, size_t n,
		     size_t datagram, nsec_t now)
{
	(void)arg, (void)circuit_id, (void)plain, (void)n, (void)datagram, (void)now;
}

static struct addr loopback(uint16_t port)
{
	static const uint8_t ip[4] = {127, 0, 0, 1};
	return addr_from_ip(ip, 4, port);
}

/* A link whose other side is our socket. */
static void publish_link(struct fixture *f)
{
	static const uint8_t key[32] = {1};
	const struct onion_env *env = engine_env(f->engine);
	struct sockaddr_in own;
	socklen_t n = sizeof(own);
	assert_int_equal(getsockname(f->fd, (struct sockaddr *)&own, &n), 0);
	f->remote = loopback(ntohs(own.sin_port));
	f->link.remote_id = LINK_ID;
	f->link.max_dgram = DATAGRAM_FULL_MOST;
	f->link.fixed = true;
	header_key_init(&f->link.rx, env->aead, key);
	header_key_init(&f->link.tx, env->aead, key);
	atomic_init(&f->link.remote, &f->remote);
	assert_int_equal(slots_add(env->links, &f->link.slot, env->rng), 0);
	f->link.remote_id = f->link.slot.id; /* what we write with its tx key comes back to it */
}

static void open_all(struct fixture *f)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	char err[256];
	memset(f, 0, sizeof(*f));
	f->base = event_base_new();
	assert_non_null(f->base);
	const struct engine_config c = {
		.base = f->base,
		.workers = 1,
		.bind4 = loopback(0),
		.underlay4 = true,
		.rng = &rng_system,
		.control = {f, on_handshake, on_ctrl, on_foreign, on_plain, NULL},
		.link_bits = 8,
		.circuit_bits = 8,
		.links_most = 16,
		.circuits_most = 16,
		.pool_packets = 256,
	};
	assert_int_equal(aead_engine_choose("openssl"), 0);
	assert_int_equal(engine_new(&c, &f->engine, err), 0);
	f->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(f->fd >= 0);
	assert_int_equal(bind(f->fd, (struct sockaddr *)&any, sizeof(any)), 0);
	publish_link(f);
}

static void close_all(struct fixture *f)
{
	slots_remove(engine_env(f->engine)->links, f->link.slot.id);
	engine_free(f->engine);
	event_base_free(f->base);
	close(f->fd);
}

static void send_one(struct fixture *f, const uint8_t *d, size_t n)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(engine_port(f->engine, 4)),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	assert_int_equal(sendto(f->fd, d, n, 0, (struct sockaddr *)&to, sizeof(to)), n);
}

static uint64_t refused(struct fixture *f)
{
	uint64_t drops[DROP_COUNT];
	engine_drops(f->engine, drops);
	return drops[DROP_RING_FULL];
}

/* The worker took all of them: they wait, or the ring had no room. */
static void wait_for(struct fixture *f, size_t waiting_and_refused)
{
	nsec_t end = clock_now() + GIVE_UP_NS;
	while (ring_used(f->engine->control_ring) + refused(f) < waiting_and_refused)
		assert_true(clock_now() < end);
}

static void engine_keeps_room_for_ctrl_in_a_flood_of_inits(void **state)
{
	(void)state;
	struct fixture f;
	open_all(&f);
	uint8_t init[LINK_INIT_BYTES] = {[LINK_ID_BYTES] = LINK_TYPE_INIT};
	for (unsigned i = 1; i <= FLOOD; i++) { /* the control thread is busy elsewhere */
		send_one(&f, init, sizeof(init));
		if (i % BURST == 0)
			wait_for(&f, i);
	}
	assert_int_equal(ring_used(f.engine->control_ring), CONTROL_RING_CELLS / 2);
	uint8_t ctrl[CTRL_BYTES] = {0};
	for (unsigned i = 0; i < BURST; i++) {
		const struct header h = {0, HEADER_CTRL, i};
		datagram_header(engine_env(f.engine)->aead, &f.link, &h, ctrl);
		send_one(&f, ctrl, sizeof(ctrl));
	}
	wait_for(&f, FLOOD + BURST);
	nsec_t end = clock_now() + GIVE_UP_NS;
	while (f.ctrls < BURST && clock_now() < end)
		event_base_loop(f.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	assert_int_equal(f.ctrls, BURST);
	assert_int_equal(f.handshakes, CONTROL_RING_CELLS / 2);
	close_all(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(engine_keeps_room_for_ctrl_in_a_flood_of_inits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
