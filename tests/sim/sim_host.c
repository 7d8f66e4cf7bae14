/* tests/sim/sim_host.c - one relay, exit or client: the real state machines under the simulator's
 * onion_env. */
#include "sim/sim.h"

#include <string.h>
#include "base/bytes.h"

#define RETIRE_NSEC	  (1 * NSEC_PER_MSEC) /* the grace period */
#define TIMER_LEAST_NSEC  (10 * NSEC_PER_USEC)
#define TABLE_BITS	  13
#define TABLE_MOST	  8192
#define REPLAY_ENTRIES	  16384
#define SKEW_MOST_SECONDS 120
#define COOKIES_ONE_IN	  5 /* of the relays: always ask for a cookie */

/* --- struct onion_env --- */

static void on_send(void *arg, const struct addr *to, const uint8_t *d, size_t n)
{
	struct host *h = arg;
	if (h->answering > 0)
		h->answered += n;
	struct packet *k = check_take_sealed(h->sim, d); /* a session message */
	if (k)
		check_on_link(h->sim, k, 0, d, n);
	wire_send(h->sim, &h->addr, to, d, n, k, 0, false);
	if (k)
		packet_release(h->sim, k);
}

static void on_retire(void *arg, void *object, void (*free_fn)(void *object))
{
	struct host *h = arg;
	sim_push(h->sim, h->sim->now + RETIRE_NSEC, EVENT_RETIRE, object, free_fn);
}

/* --- what links and circuits ask and tell --- */

static void on_up(void *arg, struct link *l, nsec_t now)
{
	struct host *h = arg;
	if (h->circuits)
		circuits_on_link_up(h->circuits, l, now);
	else
		paths_on_link_up(h->paths, l, now);
}

static void on_failed(void *arg, struct link *l, int why, nsec_t now)
{
	struct host *h = arg;
	if (h->circuits)
		circuits_on_link_failed(h->circuits, l, now);
	else
		paths_on_link_failed(h->paths, l, why, now);
}

static void on_dead(void *arg, struct link *l, nsec_t now)
{
	struct host *h = arg;
	if (h->circuits)
		circuits_on_link_dead(h->circuits, l, now);
	else
		paths_on_link_dead(h->paths, l, now);
}

static void on_frame(void *arg, struct link *l, enum frame_type type, const uint8_t *data, size_t n,
		     nsec_t now)
{
	struct host *h = arg;
	if (h->circuits)
		circuits_on_frame(h->circuits, l, type, data, n, now);
	else
		paths_on_frame(h->paths, l, type, data, n, now);
}

static bool relay_at(void *arg, const struct addr *a, uint8_t ret_id[32])
{
	struct host *h = arg, *there = wire_host_at(h->sim, a);
	if (!there || !there->is_relay)
		return false;
	memcpy(ret_id, there->target.id, 32);
	return true;
}

/* An ID begins with its host's index. */
static bool find_relay(void *arg, const uint8_t id[32], struct link_target *ret)
{
	struct host *h = arg;
	uint32_t index = load_be32(id);
	if (index >= h->sim->o.relays || memcmp(h->sim->hosts[index].target.id, id, 32) != 0)
		return false;
	*ret = h->sim->hosts[index].target;
	return true;
}

static const struct onion_keypair *onion_key(void *arg, uint16_t keyid)
{
	struct host *h = arg;
	return h->is_relay && keyid == h->target.keyid ? &h->key : NULL;
}

static uint64_t consensus_serial(void *arg)
{
	(void)arg;
	return 1;
}

static uint64_t unix_seconds(void *arg)
{
	struct host *h = arg;
	return (uint64_t)((int64_t)SIM_UNIX_START + h->skew_s + h->sim->now / NSEC_PER_SEC);
}

static bool on_end(void *arg, struct circuit *c, const uint8_t seen_h[32], const uint8_t res[32],
		   nsec_t now)
{
	struct host *h = arg;
	return h->exits ? exit_sessions_on_end(h->exits, c, seen_h, res, now) : h->is_exit;
}

static void on_end_gone(void *arg, struct circuit *c, nsec_t now)
{
	struct host *h = arg;
	if (h->exits)
		exit_sessions_on_end_gone(h->exits, c, now);
}

/* --- life --- */

static void make_tables(struct host *h)
{
	struct sim *s = h->sim;
	h->links_table = slots_new(TABLE_BITS, TABLE_MOST);
	h->circuits_table = slots_new(TABLE_BITS, TABLE_MOST);
	filler_init(&h->filler, &s->rng);
	h->control = (struct dp_thread){.aead = s->aead,
					.filler = &h->filler,
					.drops = &h->drops,
					.links = h->links_table,
					.circuits = h->circuits_table};
	for (unsigned i = 0; i < SIM_WORKERS; i++) {
		h->worker[i] = h->control;
		h->worker[i].worker = i;
	}
	h->env = (struct onion_env){
		.arg = h,
		.send = on_send,
		.retire = on_retire,
		.rng = &s->rng,
		.aead = s->aead,
		.dp = &h->control,
		.drops = &h->drops,
		.links = h->links_table,
		.circuits = h->circuits_table,
		.periods = &s->periods,
	};
}

static void make_links(struct host *h)
{
	struct links_config c = {
		.env = &h->env,
		.ops = {.arg = h,
			.on_up = on_up,
			.on_failed = on_failed,
			.on_dead = on_dead,
			.on_frame = on_frame,
			.relay_at = relay_at,
			.onion_key = onion_key,
			.consensus_serial = consensus_serial,
			.unix_seconds = unix_seconds},
		.role = h->is_relay ? ROLE_RELAY : ROLE_CLIENT,
		.responds = h->is_relay,
		.net_id = SIM_NET_ID,
		.max_dgram = DATAGRAM_FULL_MOST,
		.links_most = SIM_LINKS_MOST,
		.half_open_most = SIM_HALF_OPEN_MOST,
		.inits_per_s_busy = h->index % COOKIES_ONE_IN ? SIM_HALF_OPEN_MOST : 0,
		.init_replay_most = REPLAY_ENTRIES,
	};
	memcpy(c.id, h->target.id, 32);
	h->links = links_new(&c, h->sim->now);
}

static void make_circuits(struct host *h)
{
	struct circuits_config c = {
		.env = &h->env,
		.links = h->links,
		.ops = {.arg = h,
			.find_relay = find_relay,
			.on_end = on_end,
			.on_end_gone = on_end_gone,
			.unix_seconds = unix_seconds},
		.onion_key = onion_key,
		.is_exit = h->is_exit,
		.circuits_most = SIM_CIRCUITS_MOST,
		.pending_most = SIM_PENDING_MOST,
		.replay_entries = REPLAY_ENTRIES,
	};
	memcpy(c.id, h->target.id, 32);
	h->circuits = circuits_new(&c, h->sim->now);
	if (h->is_exit && h->sim->o.sessions)
		session_make_exit(h);
}

static void make_paths(struct host *h)
{
	const struct paths_config c = {
		.env = &h->env,
		.links = h->links,
		.ops = h->sim->o.sessions ? session_path_ops(h) : app_path_ops(h),
		.unix_seconds = unix_seconds,
	};
	h->paths = paths_new(&c);
	h->guards[0] = (unsigned)rng_below(&h->sim->rng, h->sim->o.relays);
	h->guards[1] =
		(h->guards[0] + 1 + (unsigned)rng_below(&h->sim->rng, h->sim->o.relays - 1)) %
		h->sim->o.relays;
}

void host_init(struct sim *s, unsigned index)
{
	struct host *h = &s->hosts[index];
	h->sim = s;
	h->index = index;
	h->is_relay = index < s->o.relays;
	h->is_exit = h->is_relay && index % 3 == 0;
	h->timer = NSEC_NEVER;
	uint8_t ip[4];
	store_be32(ip, 10u << 24 | index);
	h->addr = addr_from_ip(ip, 4, (uint16_t)(9000 + index));
	h->skew_s = (int64_t)rng_below(&s->rng, SKEW_MOST_SECONDS) - SKEW_MOST_SECONDS / 2;
	rng_bytes(&s->rng, h->target.id, 32);
	store_be32(h->target.id, index);
	onion_keypair_new(&h->key, &s->rng);
	memcpy(h->target.onion_key, h->key.public_key, 32);
	h->target.keyid = (uint16_t)rng_u32(&s->rng);
	h->target.addr = h->addr;
	make_tables(h);
	make_links(h);
	if (h->is_relay)
		make_circuits(h);
	else
		make_paths(h);
	if (!h->links_table || !h->circuits_table || !h->links || (!h->circuits && !h->paths))
		violated(s, "no memory for host %u", index);
}

void host_done(struct host *h)
{
	path_set_free(h->set, h->sim->now);
	exit_sessions_free(h->exits);
	circuits_free(h->circuits);
	paths_free(h->paths);
	links_free(h->links);
	slots_free(h->links_table);
	slots_free(h->circuits_table);
	filler_done(&h->filler);
}

/* --- events --- */

struct dp_thread *host_some_worker(struct host *h)
{
	struct dp_thread *t = &h->worker[rng_below(&h->sim->rng, SIM_WORKERS)];
	t->now = h->control.now = h->sim->now;
	return t;
}

static void handshake(struct host *h, const struct flight *f, unsigned worker)
{
	if (f->d[LINK_ID_BYTES] == LINK_TYPE_INIT)
		h->answering = f->n;
	h->answered = 0;
	links_on_handshake(h->links, &f->from, worker, f->d, f->n, h->sim->now);
	if (h->answering > 0 && h->answered > h->answering)
		violated(h->sim, "host %u answers %zu bytes to %zu", h->index, h->answered,
			 h->answering);
	h->answering = 0;
}

static void pass_on(struct host *h, struct flight *f, const struct dp_result *r)
{
	const struct addr *to = atomic_load(&r->link->remote);
	if (f->packet)
		check_on_link(h->sim, f->packet, f->link + 1, f->d, f->n);
	wire_send(h->sim, &h->addr, to, f->d, f->n, f->packet, f->link + 1, f->doomed);
}

static void act(struct host *h, struct flight *f, const struct dp_result *r, unsigned worker)
{
	nsec_t now = h->sim->now;
	if (r->foreign)
		links_on_foreign_source(h->links, r->foreign_link, &f->from, now);
	switch (r->action) {
	case DP_HANDSHAKE:
		handshake(h, f, worker);
		break;
	case DP_CTRL:
		links_on_ctrl(h->links, r->link->slot.id, &f->from, worker, r->header.ctr,
			      f->d + HEADER_BYTES, f->n - HEADER_BYTES, now);
		break;
	case DP_SEND:
		pass_on(h, f, r);
		break;
	case DP_PLAIN:
		if (f->packet && !f->doomed)
			check_plain(h, f, r);
		app_on_plain(h, f, r);
		break;
	case DP_HANDOVER:
		violated(h->sim, "host %u hands over twice", h->index);
		break;
	case DP_DROP:
		break;
	}
}

/* Those that belong to another worker go there together. */
static void hand_over(struct host *h, struct dp_item *item, unsigned *worker, size_t n,
		      const struct addr *from)
{
	for (unsigned w = 0; w < SIM_WORKERS; w++) {
		struct dp_item there[DP_BATCH];
		size_t at[DP_BATCH], m = 0;
		for (size_t i = 0; i < n; i++) {
			if (item[i].r.action != DP_HANDOVER || item[i].r.worker != w)
				continue;
			at[m] = i;
			there[m++] = item[i];
		}
		dataplane_receive_batch(&h->worker[w], there, m, from, h->sim->now);
		for (size_t i = 0; i < m; i++) {
			item[at[i]].r = there[i].r;
			worker[at[i]] = w;
		}
	}
}

/* What was done for the ones before it may have ended a circuit: the daemons look it up again. */
static bool still_stands(const struct host *h, const struct dp_result *r)
{
	return r->action != DP_PLAIN ||
	       slots_find(h->circuits_table, r->end->slot.id) == &r->end->slot;
}

void host_receive(struct host *h, struct flight *const f[], size_t n)
{
	/* host_some_worker() sets the control thread's clock too, which seals session messages. */
	struct dp_thread *t = host_some_worker(h);
	struct dp_item item[DP_BATCH];
	unsigned worker[DP_BATCH];
	for (size_t i = 0; i < n; i++) {
		item[i] = (struct dp_item){.d = f[i]->d, .n = f[i]->n};
		worker[i] = t->worker;
	}
	dataplane_receive_batch(t, item, n, &f[0]->from, h->sim->now);
	hand_over(h, item, worker, n, &f[0]->from);
	for (size_t i = 0; i < n; i++) {
		if (!still_stands(h, &item[i].r))
			continue;
		check_verdict(h, f[i], &item[i].r);
		act(h, f[i], &item[i].r, worker[i]);
	}
	host_rearm(h);
}

static nsec_t next_deadline(const struct host *h)
{
	nsec_t d = links_next_deadline(h->links);
	if (h->exits)
		d = nsec_min(d, exit_sessions_next_deadline(h->exits));
	if (h->set)
		d = nsec_min(d, path_set_next_deadline(h->set));
	return nsec_min(d, h->circuits ? circuits_next_deadline(h->circuits)
				       : paths_next_deadline(h->paths));
}

void host_on_timer(struct host *h)
{
	nsec_t now = h->sim->now;
	h->timer = NSEC_NEVER;
	h->control.now = now;
	links_on_timer(h->links, now);
	if (h->circuits)
		circuits_on_timer(h->circuits, now);
	else
		paths_on_timer(h->paths, now);
	if (h->exits)
		exit_sessions_on_timer(h->exits, now);
	if (h->set)
		path_set_on_timer(h->set, now);
	host_rearm(h);
}

void host_rearm(struct host *h)
{
	nsec_t at = next_deadline(h), least = h->sim->now + TIMER_LEAST_NSEC;
	if (at == NSEC_NEVER)
		return;
	if (at < least)
		at = least;
	if (at >= h->timer && h->timer > h->sim->now)
		return;
	h->timer = at;
	sim_push(h->sim, at, EVENT_TIMER, h, NULL);
}
