/* tests/hostile/test_workers.c - a real engine with several workers on loopback, and neighbours
 * that repeat counters.
 *
 * One circuit is published; the test is both of its neighbours. It sends each counter from 64
 * source ports, which the kernel spreads over all workers' sockets, forward and backward mixed,
 * backward each copy with other bytes, as the worst neighbour would. PROTOCOL.md section 10,
 * property 6: every (key, counter) seals and is delivered once only. Every seal and every judgement
 * is watched by the linker's --wrap. Also run under ThreadSanitizer.
 */
#include "tests/hostile/workers_lab.h"
#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/bytes.h"

/* --- what the linker shows us --- */

static const struct aead_key *_Atomic watched;
static _Atomic uint64_t watched_first;
static _Atomic unsigned seals[NUMBERS];
static _Atomic unsigned judged[ENGINE_WORKERS_MOST], handed_over;

void __real_aead_seal_batch(struct aead_ctx *c, const struct aead_key *k, struct aead_item *it,
			    size_t n);
void __wrap_aead_seal_batch(struct aead_ctx *c, const struct aead_key *k, struct aead_item *it,
			    size_t n);
void __real_dataplane_receive_batch(struct dp_thread *t, struct dp_item *items, size_t n,
				    const struct addr *from, nsec_t now);
void __wrap_dataplane_receive_batch(struct dp_thread *t, struct dp_item *items, size_t n,
				    const struct addr *from, nsec_t now);

void __wrap_aead_seal_batch(struct aead_ctx *c, const struct aead_key *k, struct aead_item *it,
			    size_t n)
{
	for (size_t j = 0; j < n; j++) {
		uint64_t i = (it[j].ctr - watched_first) & COUNTER_MASK;
		if (k == watched && i < sizeof(seals) / sizeof(seals[0]))
			atomic_fetch_add(&seals[i], 1);
	}
	__real_aead_seal_batch(c, k, it, n);
}

void __wrap_dataplane_receive_batch(struct dp_thread *t, struct dp_item *items, size_t n,
				    const struct addr *from, nsec_t now)
{
	__real_dataplane_receive_batch(t, items, n, from, now);
	for (size_t i = 0; i < n; i++)
		if (items[i].r.action == DP_HANDOVER)
			atomic_fetch_add(&handed_over, 1);
		else
			atomic_fetch_add(&judged[t->worker], 1);
}

static void watch(const struct aead_key *k, uint64_t first)
{
	for (unsigned i = 0; i < NUMBERS; i++)
		seals[i] = 0;
	for (unsigned i = 0; i < ENGINE_WORKERS_MOST; i++)
		judged[i] = 0;
	handed_over = 0;
	watched_first = first;
	watched = k;
}

/* Whatever is judged later than these was sent later: each source's last datagram, one counter
 * each. */
static void flush_sources(struct lab *l)
{
	const unsigned first = REPEATED;

	for (unsigned s = 0; s < SOURCES; s++) {
		send_forward(l, s, first + s);
		send_backward(l, s, first + s);
	}
	settle(l, first, first + SOURCES);
	turn(l, 0);
}

/* A round's counters from every source, in an order that differs from source to source. */
static void flood(struct lab *l, unsigned round)
{
	const unsigned first = round * PER_ROUND;

	for (unsigned s = 0; s < SOURCES; s++) {
		for (unsigned j = 0; j < PER_ROUND; j++) {
			unsigned i = first + (j * 5 + s + round) % PER_ROUND;
			send_forward(l, s, i);
			send_backward(l, (s + j) % SOURCES, i);
		}
		if (s == SOURCES / 2)
			move_client(l, round);
		if (s % 8 == 7)
			turn(l, 0);
	}
	settle(l, first, first + PER_ROUND);
}

/* --- tests --- */

static void check_once(const struct lab *l)
{
	for (unsigned i = 0; i < COUNTERS; i++) {
		assert_int_equal(l->forward[i], 1);
		assert_int_equal(l->backward[i], 1);
		assert_int_equal(seals[i], 1);
	}
}

static void relay_with_owners(unsigned workers, unsigned owner_a, unsigned owner_b)
{
	const struct lab_kind kind = {.workers = workers, .owner_a = owner_a, .owner_b = owner_b};
	uint64_t drops[DROP_COUNT];
	struct lab l;

	lab_init(&l, &kind);
	watch(&l.c->kb, FIRST);
	for (unsigned round = 0; round < ROUNDS; round++)
		flood(&l, round);
	flush_sources(&l);
	check_once(&l);
	engine_drops(l.engine, drops);
	/* The attack took place: all workers read, copies were refused by the windows alone. */
	assert_true(handed_over > REPEATED);
	assert_true(judged[owner_a] > REPEATED && judged[owner_b] > REPEATED);
	assert_true(drops[DROP_DATA_REPLAY] > (uint64_t)REPEATED * SOURCES);
	assert_int_equal(drops[DROP_DATA_OPEN] + drops[DROP_HEADER] + drops[DROP_CIRCUIT_LINK], 0);
	assert_true(l.foreign > 0);
	assert_int_equal(l.handshakes + l.ctrls + l.plains, 0);
	send_forward(&l, 0, 0);
	lab_done(&l);
}

static void workers_seal_each_counter_once(void **state)
{
	(void)state;
	relay_with_owners(2, 0, 1);
	relay_with_owners(2, 1, 1);
	relay_with_owners(4, 3, 0);
	relay_with_owners(4, 2, 2);
}

/* An exit: each plain arrives once. Its many answers, sealed on the worker, and what the control
 * thread says meanwhile draw their numbers from one counter, and no number twice. */
#define ANSWERS 32

static _Atomic unsigned delivered[COUNTERS], answers;

static void answer(struct worker *w, struct circuit *c, const struct pkt *k)
{
	struct pkt *copy = worker_get(w);

	if (!copy)
		return;
	memcpy(copy->data, k->data, CONTENT);
	copy->len = CONTENT;
	worker_to_circuit(w, c, copy);
	atomic_fetch_add(&answers, 1);
}

static void echo(void *arg, struct worker *w, struct hop_dir *end, struct pkt *k)
{
	uint32_t i = load_be32(k->data + 1);

	(void)arg;
	for (unsigned j = 0; j < ANSWERS; j++)
		answer(w, end->owner, k);
	worker_put(w, k);
	if (i < COUNTERS)
		atomic_fetch_add(&delivered[i], 1);
}

static void control_says(struct lab *l, unsigned n)
{
	uint8_t d[DATAGRAM_MAX];
	const struct addr *to = atomic_load(&l->a->remote);

	for (unsigned i = 0; i < n; i++) {
		memset(d, 0, sizeof(d));
		size_t bytes = circuit_seal(l->env->dp, l->c, d, CONTENT, 0, PAD_NONE);
		assert_true(bytes > 0);
		l->env->send(l->env->arg, to, d, bytes);
	}
}

/* Send counter i from sources [from, to) until it is delivered. */
static void deliver(struct lab *l, unsigned i, unsigned from, unsigned to)
{
	for (unsigned s = from; s < to; s++)
		send_forward(l, s, i);
	control_says(l, ANSWERS);
	for (int waited = 0; !delivered[i]; waited += AGAIN_MS) {
		assert_true(waited < PATIENCE_MS);
		if (!turn(l, AGAIN_MS) && !delivered[i])
			send_forward(l, from, i);
	}
	turn(l, 0);
}

static void check_delivered(const struct lab *l)
{
	unsigned sealed = 0;

	for (unsigned i = 0; i < COUNTERS; i++)
		assert_int_equal(delivered[i], 1);
	for (unsigned i = 0; i < NUMBERS; i++) {
		assert_true(seals[i] <= 1 && l->backward[i] <= 1);
		sealed += seals[i];
	}
	assert_int_equal(sealed, answers + COUNTERS * ANSWERS);
	assert_true(answers > COUNTERS * ANSWERS / 2);
	assert_true(handed_over > REPEATED);
}

static void exit_with_owner(unsigned workers, unsigned owner)
{
	const struct engine_inner_ops inner = {NULL, echo, NULL};
	const struct lab_kind kind = {.workers = workers, .owner_a = owner, .inner = &inner};
	struct lab l;

	answers = 0;
	for (unsigned i = 0; i < COUNTERS; i++)
		delivered[i] = 0;
	lab_init(&l, &kind);
	watch(&l.c->kb, FIRST);
	for (unsigned i = 0; i < REPEATED; i++)
		deliver(&l, i, 0, SOURCES);
	for (unsigned s = 0; s < SOURCES; s++)
		deliver(&l, REPEATED + s, s, s + 1);
	check_delivered(&l);
	lab_done(&l);
}

static void workers_deliver_each_counter_once(void **state)
{
	(void)state;
	exit_with_owner(2, 1);
	exit_with_owner(4, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(workers_seal_each_counter_once),
		cmocka_unit_test(workers_deliver_each_counter_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
