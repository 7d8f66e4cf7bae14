/* exit/inner.c - see inner.h. Worker threads, inside an RCU read-side section. */
#include "exit/inner.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "onion/wire.h"
#include "tun/device.h"
#include "tun/icmp.h"
#include "tun/ip.h"
#include "tun/split.h"
#include "tun/plain.h"

#define ECHO_REQUEST4 8
#define ECHO_REQUEST6 128

_Static_assert(ICMP_ANSWER_BYTES_MAX <= PKT_ROOM, "an answer fits into a packet");

static size_t meter_bytes(const struct inner *x)
{
	return leases_capacity(x->leases) * sizeof(struct inner_meter);
}

int inner_init(struct inner *x, struct leases *l)
{
	memset(x, 0, sizeof(*x));
	x->leases = l;
	x->own[0] = leases_own(l, 4);
	x->own[1] = leases_own(l, 6);
	x->meter = mmap(NULL, meter_bytes(x), PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (x->meter == MAP_FAILED) {
		x->meter = NULL;
		return -ENOMEM;
	}
	return 0;
}

void inner_done(struct inner *x)
{
	if (x->meter)
		munmap(x->meter, meter_bytes(x));
	x->meter = NULL;
}

/* --- parts --- */

/* One more answer now? The generic cell rate algorithm (ITU-T I.371) on one number; whoever loses
 * the race against another worker does not answer. */
static bool may_answer(_Atomic nsec_t *due, nsec_t now)
{
	const nsec_t gap = NSEC_PER_SEC / INNER_ANSWERS_PER_S;
	nsec_t was = atomic_load_explicit(due, memory_order_relaxed);
	nsec_t at = was > now ? was : now;

	if (at - now > gap * (INNER_ANSWERS_BURST - 1))
		return false;
	return atomic_compare_exchange_strong_explicit(due, &was, at + gap, memory_order_relaxed,
						       memory_order_relaxed);
}

static void count_packets(_Atomic uint64_t *packets, _Atomic uint64_t *bytes, unsigned count,
			  size_t n)
{
	atomic_fetch_add_explicit(packets, count, memory_order_relaxed);
	atomic_fetch_add_explicit(bytes, n, memory_order_relaxed);
}

static bool is_echo_request(const struct pkt *k, const struct ip_view *v)
{
	if (v->fragment_offset)
		return false;
	return (v->version == 4 && v->protocol == IP_ICMP &&
		k->data[v->l4_offset] == ECHO_REQUEST4) ||
	       (v->version == 6 && v->protocol == IP_ICMPV6 &&
		k->data[v->l4_offset] == ECHO_REQUEST6);
}

/* --- a packet that may not go on --- */

/* Answer by ICMP through the circuit that it came on. */
static void send_prohibited(struct inner *x, struct worker *w, struct circuit *c,
			    const struct pkt *k, const struct ip_view *v)
{
	struct pkt *answer = worker_get(w);
	struct ip_view about;

	if (!answer)
		return;
	answer->len = (uint32_t)icmp_prohibited(k->data, v, &x->own[v->version == 6], answer->data);
	if (!answer->len || ip_parse(answer->data, answer->len, &about)) {
		worker_put(w, answer);
		return;
	}
	plain_from_packet(answer, &about);
	worker_to_circuit(w, c, answer);
}

static void note_refused(struct worker *w, const struct circuit *c, const struct ip_view *v)
{
	struct inner_note note;

	memset(&note, 0, sizeof(note)); /* the gaps too: it is copied as bytes */
	note.circuit_id = c->forward.slot.id;
	note.protocol = v->protocol;
	note.addr = v->dst;
	note.addr.port = v->dst_port;
	worker_note(
		w, &note,
		sizeof(note)); /* a full ring is counted there; the ICMP answer is out already */
}

static void refuse(struct inner *x, struct worker *w, struct circuit *c, struct session_data *s,
		   struct pkt *k, const struct ip_view *v, enum drop why)
{
	if (may_answer(&x->meter[s->lease_index].refusals, worker_now(w))) {
		send_prohibited(x, w, c, k, v);
		note_refused(w, c, v);
	}
	worker_drop(w, k, why);
}

/* --- from the client --- */

static bool is_from_lease(const struct session_data *s, const struct ip_view *v)
{
	const struct addr *lease = v->version == 6 ? &s->lease6 : &s->lease4;

	/* addr_equal_ip() in line: what follows an IPv4 address is zero. Family 0, no lease, equals
	 * none. */
	return lease->family == v->src.family &&
	       memcmp(lease->ip, v->src.ip, sizeof(lease->ip)) == 0;
}

static void pass(struct worker *w, struct session_data *s, struct pkt *k, const struct ip_view *v)
{
	count_packets(&s->packets_up, &s->bytes_up, 1, k->len);
	worker_to_tun(w, k, v); /* the kernel counts the TTL down and says when it ran out */
}

void inner_from_onion(void *arg, struct worker *w, struct hop_dir *end, struct pkt *k)
{
	struct inner *x = arg;
	struct circuit *c = end->owner;
	struct session_data *s = atomic_load_explicit(&c->session, memory_order_acquire);
	const struct rules *rules = atomic_load_explicit(&x->rules, memory_order_acquire);
	struct ip_view v;

	if (!s || !rules) {
		worker_drop(w, k, DROP_SESSION_STATE);
		return;
	}
	if (plain_to_packet(k, &v)) {
		worker_drop(w, k, DROP_INNER_FORMAT);
		return;
	}
	if (!is_from_lease(s, &v)) {
		worker_drop(w, k, DROP_INNER_SOURCE);
		return;
	}
	atomic_store_explicit(&s->last_rx, worker_now(w), memory_order_relaxed);
	switch (rules_judge(rules, &v)) {
	case RULES_PASS:
		pass(w, s, k, &v);
		break;
	case RULES_OWN:
		if (is_echo_request(k, &v))
			pass(w, s, k, &v);
		else
			refuse(x, w, c, s, k, &v, DROP_INNER_DEST);
		break;
	case RULES_CLOSED:
		refuse(x, w, c, s, k, &v, DROP_INNER_DEST);
		break;
	case RULES_POLICY:
		refuse(x, w, c, s, k, &v, DROP_INNER_POLICY);
		break;
	}
}

/* --- to the client --- */

/* Tell whoever sent k: back into the TUN, where the kernel knows which connection it is about. As
 * if the client itself had said so: what comes out of the TUN with an address of this host, such as
 * our inner one, the kernel takes for a lie. */
static void send_too_big(struct worker *w, const struct tun_frame *f, unsigned mtu)
{
	struct pkt *answer = worker_get(w);
	struct ip_view about;

	if (!answer)
		return;
	answer->len = (uint32_t)icmp_too_big(f->data, &f->view, (uint16_t)mtu, &f->view.dst,
					     answer->data);
	if (answer->len && !ip_parse(answer->data, answer->len, &about))
		worker_to_tun(w, answer, &about);
	else
		worker_put(w, answer);
}

static unsigned mtu_of(const struct circuit *c)
{
	/* fill_n is S - 1 at the last hop (PROTOCOL.md section 6). */
	return inner_mtu(atomic_load_explicit(&c->full_dgram, memory_order_relaxed),
			 c->forward.fill + 1u);
}

void inner_from_tun(void *arg, struct worker *w, const struct tun_frame *f)
{
	struct inner *x = arg;
	struct session_data *s;
	struct circuit *c;

	s = leases_find(x->leases, &f->view.dst);
	c = s ? atomic_load_explicit(&s->active, memory_order_acquire) : NULL;
	if (!c) {
		worker_drop_frame(w, f, s ? DROP_NO_PATH : DROP_NO_LEASE);
		return;
	}
	if (frame_packet_bytes(f, 0) > mtu_of(c)) {
		if (may_answer(&x->meter[s->lease_index].too_big, worker_now(w)))
			send_too_big(w, f, mtu_of(c));
		worker_drop_frame(w, f, DROP_INNER_MTU);
		return;
	}
	count_packets(&s->packets_down, &s->bytes_down, f->packets, frame_bytes(f));
	worker_frame_to_circuit(w, c, f);
}
