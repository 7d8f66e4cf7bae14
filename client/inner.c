/* client/inner.c - inner packets on the client's workers: from the TUN to the active path, and back
 * with care.
 *
 * Reads two pointers under RCU: the active path and the lease. The exit is not trusted: what comes
 * in must be for our lease, and from an address that is neither private, nor local, nor our own.
 * The granted DNS servers are let through whatever their address, and so are ICMP errors (an exit
 * answers a refused packet from its inner address). Local is a network that this host has an
 * address in. One that it only has a route to is not: with ranges, hosts there are reached through
 * the tunnel where a longer range names them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "client/client.h"
#include "tun/icmp.h"
#include "tun/ip.h"
#include "tun/split.h"
#include "tun/plain.h"

/* A network, for comparing: addr.ip under the mask. */
struct network {
	struct addr addr;
	uint64_t mask[2]; /* in the order of the bytes */
};

struct lease {
	struct addr lease4, lease6, dns[3];
	unsigned ndns;
	size_t nlocal;
	struct network local[]; /* of this host's other links */
};

struct inner {
	_Atomic(struct path_data *) active;
	_Atomic(struct lease *) lease;
	_Atomic uint64_t bytes_up, bytes_down; /* since inner_reset_bytes() */
};

struct inner *inner_new(void)
{
	return calloc(1, sizeof(struct inner));
}

void inner_free(struct inner *i)
{
	if (!i)
		return;
	free(atomic_load(&i->lease));
	free(i);
}

void inner_set_active(struct inner *i, struct path_data *p)
{
	atomic_store_explicit(&i->active, p, memory_order_release);
}

static struct network network_of(const struct prefix *p)
{
	struct network n = {.addr = p->addr};
	uint8_t mask[16] = {0};

	for (unsigned bit = 0; bit < p->len; bit++)
		mask[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
	memcpy(n.mask, mask, sizeof(n.mask));
	return n;
}

int inner_set_lease(struct inner *i, const struct onion_env *env, const struct msg_grant *g,
		    const struct prefix *local, size_t nlocal)
{
	struct lease *l = calloc(1, sizeof(*l) + nlocal * sizeof(l->local[0])), *old;

	if (!l)
		return -ENOMEM;
	l->lease4 = g->lease4;
	l->lease6 = g->lease6;
	l->ndns = g->ndns;
	memcpy(l->dns, g->dns, sizeof(l->dns));
	for (; l->nlocal < nlocal; l->nlocal++)
		l->local[l->nlocal] = network_of(&local[l->nlocal]);
	old = atomic_exchange_explicit(&i->lease, l, memory_order_acq_rel);
	if (old)
		env->retire(env->arg, old, free);
	return 0;
}

/* --- from the onion --- */

/* addr_equal_ip() in line: what follows an IPv4 address is zero. */
static bool is_same(const struct addr *a, const struct addr *b)
{
	return a->family == b->family && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

static bool is_own(const struct lease *l, const struct addr *a)
{
	return is_same(a, a->family == 6 ? &l->lease6 : &l->lease4);
}

static bool is_dns(const struct lease *l, const struct addr *a)
{
	for (unsigned i = 0; i < l->ndns; i++)
		if (is_same(a, &l->dns[i]))
			return true;
	return false;
}

static bool is_in(const struct network *n, const struct addr *a)
{
	uint64_t x[2], y[2];

	memcpy(x, a->ip, sizeof(x));
	memcpy(y, n->addr.ip, sizeof(y));
	return a->family == n->addr.family &&
	       (((x[0] ^ y[0]) & n->mask[0]) | ((x[1] ^ y[1]) & n->mask[1])) == 0;
}

static bool is_local(const struct lease *l, const struct addr *a)
{
	for (size_t i = 0; i < l->nlocal; i++)
		if (is_in(&l->local[i], a))
			return true;
	return false;
}

/* Addresses that no host sends from beyond its own link: this host, this link, groups. */
static bool is_martian4(const uint8_t *p)
{
	return p[0] == 0 || p[0] == 127 || p[0] >= 224 || (p[0] == 169 && p[1] == 254);
}

static bool is_martian6(const uint8_t *p)
{
	static const uint8_t zero[12];

	return p[0] == 0xff || (p[0] == 0xfe && (p[1] & 0xc0) >= 0x80) ||
	       !memcmp(p, zero, sizeof(zero)) || /* ::/96: unspecified, loopback, compatible */
	       (!memcmp(p, zero, 10) && p[10] == 0xff && p[11] == 0xff); /* v4-mapped */
}

static bool is_martian(const struct addr *a)
{
	return a->family == 4 ? is_martian4(a->ip) : is_martian6(a->ip);
}

/* Documentation ranges are not among them: a test network uses them. */
bool inner_is_private(const struct addr *a)
{
	const uint8_t *p = a->ip;

	if (is_martian(a))
		return true;
	if (a->family == 6)
		return (p[0] & 0xfe) == 0xfc;
	return p[0] == 10 || (p[0] == 172 && (p[1] & 0xf0) == 16) || (p[0] == 192 && p[1] == 168) ||
	       (p[0] == 100 && (p[1] & 0xc0) == 64);
}

/* Destination unreachable, packet too big, time exceeded. */
static bool is_icmp_error(const struct pkt *k, const struct ip_view *v)
{
	uint8_t type = v->l4_offset < k->len ? k->data[v->l4_offset] : 0;

	if (v->fragment_offset)
		return false;
	return (v->protocol == IP_ICMP && (type == 3 || type == 11)) ||
	       (v->protocol == IP_ICMPV6 && type >= 1 && type <= 3);
}

static bool source_is_fine(const struct lease *l, const struct pkt *k, const struct ip_view *v)
{
	if (is_own(l, &v->src) || is_local(l, &v->src))
		return false;
	if (!inner_is_private(&v->src))
		return true;
	return !is_martian(&v->src) && (is_dns(l, &v->src) || is_icmp_error(k, v));
}

static void from_onion(void *arg, struct worker *w, struct hop_dir *end, struct pkt *k)
{
	struct inner *i = arg;
	const struct lease *l = atomic_load_explicit(&i->lease, memory_order_acquire);
	struct ip_view v;

	(void)end;
	if (!l)
		worker_drop(w, k, DROP_NO_LEASE);
	else if (plain_to_packet(k, &v))
		worker_drop(w, k, DROP_INNER_FORMAT);
	else if (!is_own(l, &v.dst))
		worker_drop(w, k, DROP_INNER_DEST);
	else if (!source_is_fine(l, k, &v)) {
		worker_drop(w, k, DROP_INNER_SOURCE);
	} else {
		atomic_fetch_add_explicit(&i->bytes_down, v.len, memory_order_relaxed);
		worker_to_tun(w, k, &v);
	}
}

/* --- from the TUN --- */

/* The path's own limit may be below the TUN's MTU while a smaller path takes over. */
static void too_big(struct worker *w, const struct tun_frame *f, uint16_t mtu)
{
	struct pkt *answer = worker_get(w);
	struct ip_view about;

	worker_drop_frame(w, f, DROP_INNER_MTU);
	if (!answer)
		return;
	answer->len = (uint32_t)icmp_too_big(f->data, &f->view, mtu, &f->view.dst, answer->data);
	if (answer->len && !ip_parse(answer->data, answer->len, &about))
		worker_to_tun(w, answer, &about);
	else
		worker_put(w, answer);
}

static void from_tun(void *arg, struct worker *w, const struct tun_frame *f)
{
	struct inner *i = arg;
	struct path_data *p = atomic_load_explicit(&i->active, memory_order_acquire);
	const struct lease *l = atomic_load_explicit(&i->lease, memory_order_acquire);
	unsigned mtu;

	if (!p || !l) {
		worker_drop_frame(w, f, DROP_NO_PATH);
		return;
	}
	if (!is_own(l, &f->view.src)) {
		worker_drop_frame(w, f, DROP_INNER_SOURCE);
		return;
	}
	mtu = inner_mtu(atomic_load_explicit(&p->full_dgram, memory_order_relaxed), p->slots);
	if (frame_packet_bytes(f, 0) > mtu) {
		too_big(w, f, (uint16_t)mtu);
		return;
	}
	atomic_fetch_add_explicit(&i->bytes_up, frame_bytes(f), memory_order_relaxed);
	worker_frame_to_path(w, p, f);
}

void inner_bytes(const struct inner *i, uint64_t *ret_up, uint64_t *ret_down)
{
	*ret_up = atomic_load_explicit(&i->bytes_up, memory_order_relaxed);
	*ret_down = atomic_load_explicit(&i->bytes_down, memory_order_relaxed);
}

void inner_reset_bytes(struct inner *i)
{
	atomic_store_explicit(&i->bytes_up, 0, memory_order_relaxed);
	atomic_store_explicit(&i->bytes_down, 0, memory_order_relaxed);
}

bool inner_is_local(const struct inner *i, const struct addr *a)
{
	const struct lease *l = atomic_load_explicit(&i->lease, memory_order_acquire);

	return l && is_local(l, a);
}

struct engine_inner_ops inner_ops(struct inner *i)
{
	return (struct engine_inner_ops){i, from_onion, from_tun};
}
