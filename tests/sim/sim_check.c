/* tests/sim/sim_check.c - the properties of PROTOCOL.md section 10, looked at with every datagram.
 */
#include "sim/sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "sim/runs.h"
#include "sim/sealed.h"

#define SHOWN_MOST  20
#define RUNS_ONE_IN 4 /* the search for shared runs costs most: one packet in four */

void violated(struct sim *s, const char *fmt, ...)
{
	if (++s->count.violations > SHOWN_MOST)
		return;
	va_list ap;
	va_start(ap, fmt);
	fprintf(stderr, "sim: %.6f s: ", (double)s->now / (double)NSEC_PER_SEC);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
}

static void *copy_of(const void *p, size_t n)
{
	void *to = malloc(n);
	if (!to)
		abort();
	return memcpy(to, p, n);
}

struct packet *packet_new(struct sim *s, bool backward, unsigned hops, const uint8_t *plain,
			  size_t n)
{
	struct packet *p = calloc(1, sizeof(*p));
	if (!p)
		abort();
	p->id = s->packets++;
	p->refs = 1;
	p->backward = backward;
	p->hops = hops;
	p->plain = copy_of(plain, n);
	p->plain_bytes = n;
	s->count.packets_live++;
	return p;
}

void packet_hold(struct packet *p)
{
	p->refs++;
}

void packet_release(struct sim *s, struct packet *p)
{
	if (--p->refs > 0)
		return;
	for (unsigned i = 0; i < HOPS_MAX; i++)
		free(p->on_link[i]);
	free(p->plain);
	free(p);
	s->count.packets_live--;
}

/* --- what is sealed --- */

#define CIRCUITS_KNOWN 16384

static struct sim *running;
static struct {
	const struct circuit *c;
	unsigned hops;
} known[CIRCUITS_KNOWN];

void check_start(struct sim *s)
{
	running = s;
	memset(known, 0, sizeof(known));
}

static size_t known_at(const struct circuit *c)
{
	size_t at = ((uintptr_t)c >> 6) * UINT64_C(0x9e3779b97f4a7c15) >> 50;
	for (size_t i = 0; known[at].c && known[at].c != c; i++) {
		if (i == CIRCUITS_KNOWN)
			abort();
		at = (at + 1) % CIRCUITS_KNOWN;
	}
	return at;
}

void check_learn(const struct circuit *c, unsigned hops)
{
	size_t at = known_at(c);
	known[at].c = c;
	known[at].hops = hops;
}

unsigned check_hops(const struct circuit *c)
{
	return known[known_at(c)].hops;
}

void check_forget_sealed(struct sim *s)
{
	for (size_t i = 0; i < s->nsealed; i++)
		packet_release(s, s->sealed[i].packet);
	s->nsealed = 0;
}

/* p was sealed to n bytes at room; 0: refused. */
static void sealed(struct packet *p, const uint8_t *room, size_t n)
{
	if (n == 0) {
		packet_release(running, p);
		return;
	}
	if (running->nsealed == DP_BATCH)
		abort();
	running->sealed[running->nsealed].packet = p;
	running->sealed[running->nsealed++].at = room;
}

struct packet *check_take_sealed(struct sim *s, const uint8_t *d)
{
	for (size_t i = 0; i < s->nsealed; i++) {
		struct packet *p = s->sealed[i].packet;
		if (s->sealed[i].at != d)
			continue;
		s->sealed[i] = s->sealed[--s->nsealed];
		return p;
	}
	return NULL;
}

size_t __real_path_seal(struct dp_thread *t, struct path_data *p, uint8_t *room, size_t plain_used,
			uint16_t full_dgram, enum padding how);
size_t __wrap_path_seal(struct dp_thread *t, struct path_data *p, uint8_t *room, size_t plain_used,
			uint16_t full_dgram, enum padding how);
size_t __real_circuit_seal(struct dp_thread *t, struct circuit *c, uint8_t *room, size_t plain_used,
			   uint16_t full_dgram, enum padding how);
size_t __wrap_circuit_seal(struct dp_thread *t, struct circuit *c, uint8_t *room, size_t plain_used,
			   uint16_t full_dgram, enum padding how);

size_t __wrap_path_seal(struct dp_thread *t, struct path_data *p, uint8_t *room, size_t plain_used,
			uint16_t full_dgram, enum padding how)
{
	struct packet *k = packet_new(running, false, p->hops, room + HEADER_BYTES, plain_used);
	size_t n = __real_path_seal(t, p, room, plain_used, full_dgram, how);
	check_forget_sealed(running);
	sealed(k, room, n);
	return n;
}

size_t __wrap_circuit_seal(struct dp_thread *t, struct circuit *c, uint8_t *room, size_t plain_used,
			   uint16_t full_dgram, enum padding how)
{
	struct packet *k =
		packet_new(running, true, check_hops(c), room + HEADER_BYTES, plain_used);
	size_t n = __real_circuit_seal(t, c, room, plain_used, full_dgram, how);
	check_forget_sealed(running);
	sealed(k, room, n);
	return n;
}

void __real_path_seal_batch(struct dp_thread *t, struct path_data *p, struct dp_seal *s, size_t n,
			    uint16_t full_dgram, enum padding how);
void __wrap_path_seal_batch(struct dp_thread *t, struct path_data *p, struct dp_seal *s, size_t n,
			    uint16_t full_dgram, enum padding how);
void __real_circuit_seal_batch(struct dp_thread *t, struct circuit *c, struct dp_seal *s, size_t n,
			       uint16_t full_dgram, enum padding how);
void __wrap_circuit_seal_batch(struct dp_thread *t, struct circuit *c, struct dp_seal *s, size_t n,
			       uint16_t full_dgram, enum padding how);

static void batch_before(const struct dp_seal *s, size_t n, bool backward, unsigned hops,
			 struct packet *ret[DP_BATCH])
{
	if (n > DP_BATCH)
		abort();
	for (size_t i = 0; i < n; i++)
		ret[i] = packet_new(running, backward, hops, s[i].room + HEADER_BYTES, s[i].plain);
}

static void batch_after(const struct dp_seal *s, size_t n, struct packet *const k[])
{
	check_forget_sealed(running);
	for (size_t i = 0; i < n; i++)
		sealed(k[i], s[i].room, s[i].datagram);
}

void __wrap_path_seal_batch(struct dp_thread *t, struct path_data *p, struct dp_seal *s, size_t n,
			    uint16_t full_dgram, enum padding how)
{
	struct packet *k[DP_BATCH];
	batch_before(s, n, false, p->hops, k);
	__real_path_seal_batch(t, p, s, n, full_dgram, how);
	batch_after(s, n, k);
}

void __wrap_circuit_seal_batch(struct dp_thread *t, struct circuit *c, struct dp_seal *s, size_t n,
			       uint16_t full_dgram, enum padding how)
{
	struct packet *k[DP_BATCH];
	batch_before(s, n, true, check_hops(c), k);
	__real_circuit_seal_batch(t, c, s, n, full_dgram, how);
	batch_after(s, n, k);
}

/* --- what travels --- */

/* Forward, link 0 is the client's and has S - hops slots of filler, then one more each; backward,
 * link 0 is the exit's and has S - 1, then one less each. */
size_t check_filler_at(const struct packet *p, unsigned link, size_t n)
{
	unsigned slots = tag_slots(p->hops);
	unsigned fill = p->backward ? slots - 1 - link : slots - p->hops + link;
	return n - (size_t)fill * AEAD_TAG;
}

void check_on_link(struct sim *s, struct packet *p, unsigned link, const uint8_t *d, size_t n)
{
	if (link >= p->hops || p->on_link[link]) {
		violated(s, "packet %ju goes out twice on link %u", (uintmax_t)p->id, link);
		return;
	}
	if (link == 0)
		p->datagram = n;
	if (n != p->datagram)
		violated(s, "packet %ju has %zu bytes on link %u, %zu before", (uintmax_t)p->id, n,
			 link, p->datagram);
	p->on_link[link] = copy_of(d, n);
	if (p->id % RUNS_ONE_IN != 0)
		return;
	for (unsigned i = 0; i < link; i++)
		if (p->on_link[i] && share_run16(p->on_link[i], p->datagram, d, n))
			violated(s, "packet %ju shows the same 16 bytes on links %u and %u",
				 (uintmax_t)p->id, i, link);
	if (p->plain_bytes >= 16 && share_run16(p->plain, p->plain_bytes, d, n))
		violated(s, "packet %ju shows its plain on link %u", (uintmax_t)p->id, link);
}

static bool went_on(const struct dp_result *r)
{
	return r->action == DP_SEND || r->action == DP_PLAIN || r->action == DP_CTRL;
}

void check_verdict(struct host *h, const struct flight *f, const struct dp_result *r)
{
	struct sim *s = h->sim;
	bool data = r->action == DP_SEND || r->action == DP_PLAIN;
	if (data && !f->packet)
		violated(s, "host %u takes a datagram that nobody sealed", h->index);
	if (!f->packet || !f->doomed || !went_on(r))
		return;
	if (f->header_hit)
		violated(s, "host %u takes a changed header", h->index);
	else if (!f->packet->backward)
		violated(s, "host %u takes a changed forward packet", h->index);
	else if (r->action == DP_PLAIN)
		violated(s, "client %u takes a changed packet", h->index);
}

void check_plain(struct host *h, const struct flight *f, const struct dp_result *r)
{
	struct sim *s = h->sim;
	struct packet *p = f->packet;
	if (++p->delivered > 1)
		violated(s, "packet %ju is delivered twice", (uintmax_t)p->id);
	if (r->plain_bytes < p->plain_bytes || memcmp(r->plain, p->plain, p->plain_bytes) != 0)
		violated(s, "packet %ju arrives changed", (uintmax_t)p->id);
	for (size_t i = p->plain_bytes; i < r->plain_bytes; i++)
		if (r->plain[i] != 0) {
			violated(s, "packet %ju has padding that is not zero", (uintmax_t)p->id);
			break;
		}
	if (f->link + 1 != p->hops)
		violated(s, "packet %ju arrives after %u links", (uintmax_t)p->id, f->link + 1);
}

void check_memory(struct sim *s)
{
	for (unsigned i = 0; i < s->nhosts; i++) {
		const struct host *h = &s->hosts[i];
		if (h->dead)
			continue;
		if (links_count(h->links) > SIM_LINKS_MOST ||
		    links_half_open(h->links) > SIM_HALF_OPEN_MOST)
			violated(s, "host %u holds %u links, %u half open", i,
				 links_count(h->links), links_half_open(h->links));
		if (h->circuits && (circuits_count(h->circuits) > SIM_CIRCUITS_MOST ||
				    circuits_pending(h->circuits) > SIM_PENDING_MOST))
			violated(s, "relay %u holds %u circuits, %u pending", i,
				 circuits_count(h->circuits), circuits_pending(h->circuits));
	}
}

/* After a long silence nothing is left anywhere. */
void check_end(struct sim *s)
{
	for (unsigned i = 0; i < s->nhosts; i++) {
		const struct host *h = &s->hosts[i];
		if (h->dead)
			continue;
		if (links_count(h->links) + links_half_open(h->links) > 0)
			violated(s, "host %u still holds %u links, %u half open", i,
				 links_count(h->links), links_half_open(h->links));
		if (h->circuits && circuits_count(h->circuits) + circuits_pending(h->circuits) > 0)
			violated(s, "relay %u still holds %u circuits, %u pending", i,
				 circuits_count(h->circuits), circuits_pending(h->circuits));
		if (slots_count(h->links_table) + slots_count(h->circuits_table) > 0)
			violated(s, "host %u still has %u link ids, %u circuit ids", i,
				 slots_count(h->links_table), slots_count(h->circuits_table));
	}
	for (unsigned i = 0; i < s->nhosts; i++)
		if (s->hosts[i].exits && exit_sessions_count(s->hosts[i].exits) > 0)
			violated(s, "exit %u still holds %u sessions", i,
				 exit_sessions_count(s->hosts[i].exits));
	if (s->count.packets_live > 0)
		violated(s, "%ju packets are still on their way", (uintmax_t)s->count.packets_live);
	if (sealed_twice() > 0)
		violated(s, "%zu seals used a (key, nonce) again", sealed_twice());
}
