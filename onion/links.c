/* onion/links.c - the set of links: its tables, limits, and the life and end of each link. See
 * links.h; PROTOCOL.md section 4. Frames are gathered and the dead are freed where the outermost
 * call leaves. */
#include "onion/links.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"
#include "onion/link_priv.h"

struct links *links_new(const struct links_config *c, nsec_t now)
{
	struct links *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->c = *c;
	s->now = now;
	link_wheel_init(&s->wheel, now);
	TAILQ_INIT(&s->all);
	TAILQ_INIT(&s->idle);
	TAILQ_INIT(&s->graves);
	TAILQ_INIT(&s->half);
	if (!c->responds)
		return s;
	uint32_t most = c->init_replay_most ? c->init_replay_most : INIT_REPLAY_MOST;
	s->seen = link_seen_new(most, INIT_REPLAY_SECONDS, c->env->rng);
	s->sources = link_sources_new(c->env->rng);
	if (!s->seen || !s->sources) {
		links_free(s);
		return NULL;
	}
	return s;
}

static void free_link_data(void *object)
{
	struct link_data *d = object;
	header_key_done(&d->rx);
	header_key_done(&d->tx);
	free((void *)atomic_load_explicit(&d->remote, memory_order_relaxed));
	free(d);
}

static void free_link(struct link *l)
{
	struct links *s = l->set;
	TAILQ_REMOVE(&s->all, l, all);
	link_opening_free(l->opening);
	if (l->data)
		s->c.env->retire(s->c.env->arg, l->data, free_link_data);
	wipe(l, sizeof(*l));
	free(l);
}

void links_free(struct links *s)
{
	if (!s)
		return;
	struct link *l;
	while ((l = TAILQ_FIRST(&s->all))) {
		if (l->state != LINK_DEAD)
			slots_remove(s->c.env->links, l->data->slot.id);
		free_link(l);
	}
	link_seen_free(s->seen);
	link_sources_free(s->sources);
	wipe(s, sizeof(*s));
	free(s);
}

void links_enter(struct links *s, nsec_t now)
{
	s->depth++;
	s->now = now;
}

void links_leave(struct links *s)
{
	assert(s->depth > 0);
	if (s->depth == 1) {
		links_flush(s);
		struct link *l;
		while ((l = TAILQ_FIRST(&s->graves))) {
			TAILQ_REMOVE(&s->graves, l, grave);
			free_link(l);
		}
	}
	s->depth--;
}

void links_drop(struct links *s, enum drop why)
{
	drops_add(s->c.env->drops, why);
}

static struct link_data *new_data(const struct addr *remote)
{
	struct link_data *d = calloc(1, sizeof(*d));
	struct addr *a = malloc(sizeof(*a));
	if (!d || !a) {
		free(d);
		free(a);
		return NULL;
	}
	*a = *remote;
	atomic_store_explicit(&d->remote, a, memory_order_relaxed);
	return d;
}

int link_new(struct links *s, enum link_state state, const struct addr *remote, struct link **ret)
{
	struct link *l = calloc(1, sizeof(*l));
	struct link_data *d = new_data(remote);
	uint32_t link_id = 0;
	int err = l && d ? slots_reserve(s->c.env->links, s->c.env->rng, &link_id) : -ENOMEM;
	if (err < 0) {
		free(l);
		if (d)
			free_link_data(d);
		return err;
	}
	d->slot.id = link_id;
	d->control = l;
	d->initiator = l->initiator = state == LINK_OPENING;
	d->max_dgram = s->c.max_dgram;
	l->set = s;
	l->data = d;
	l->state = state;
	l->remote = *remote;
	l->ping_first = rng_u64(s->c.env->rng);
	replay_init(&l->rx_window);
	TAILQ_INSERT_TAIL(&s->all, l, all);
	if (state == LINK_HALF)
		TAILQ_INSERT_TAIL(&s->half, l, half);
	*(state == LINK_OPENING ? &s->opening : &s->half_open) += 1;
	*ret = l;
	return 0;
}

void link_take_keys(struct link *l, const struct hs *hs)
{
	struct link_keys k;
	hs_link_keys(hs, &k);
	struct ctrl_key *f = l->initiator ? &l->tx : &l->rx;
	struct ctrl_key *b = l->initiator ? &l->rx : &l->tx;
	memcpy(f->key, k.cf, sizeof(f->key));
	memcpy(f->iv, k.civf, sizeof(f->iv));
	memcpy(b->key, k.cb, sizeof(b->key));
	memcpy(b->iv, k.civb, sizeof(b->iv));
	struct aead_ctx *aead = l->set->c.env->aead;
	header_key_init(l->initiator ? &l->data->tx : &l->data->rx, aead, k.hkf);
	header_key_init(l->initiator ? &l->data->rx : &l->data->tx, aead, k.hkb);
	wipe(&k, sizeof(k));
}

/* ---- idle links of clients, idle longest first ---- */

static void set_idle(struct link *l, bool idle)
{
	if (idle == l->is_idle)
		return;
	l->is_idle = idle;
	if (idle)
		TAILQ_INSERT_TAIL(&l->set->idle, l, idle);
	else
		TAILQ_REMOVE(&l->set->idle, l, idle);
}

static void note_idle(struct link *l)
{
	set_idle(l, l->state == LINK_UP && l->circuits == 0 && !l->initiator && !l->relay);
}

bool links_make_room(struct links *s, bool relay, bool evict, nsec_t now)
{
	uint32_t most = relay ? s->c.links_most : (uint32_t)((uint64_t)s->c.links_most * 9 / 10);
	if (s->count < most)
		return true;
	struct link *l = TAILQ_FIRST(&s->idle);
	if (!l || now < l->idle_since + LINK_EARLY_NSEC)
		return false;
	if (evict)
		link_close(l, CLOSE_OVERLOAD, now);
	return true;
}

/* ---- up and down ---- */

void link_set_up(struct link *l, nsec_t now)
{
	struct links *s = l->set;
	*(l->state == LINK_OPENING ? &s->opening : &s->half_open) -= 1;
	if (l->state == LINK_OPENING)
		LIST_REMOVE(l, by_link_id);
	else
		TAILQ_REMOVE(&s->half, l, half);
	l->state = LINK_UP;
	s->count++;
	l->since = l->idle_since = now;
	atomic_store_explicit(&l->data->last_rx, now, memory_order_relaxed);
	note_idle(l);
}

static void forget(struct link *l)
{
	struct links *s = l->set;
	set_idle(l, false);
	link_wheel_clear(&s->wheel, &l->timer);
	slots_remove(s->c.env->links, l->data->slot.id);
	if (l->state == LINK_OPENING)
		LIST_REMOVE(l, by_link_id);
	if (l->state == LINK_HALF)
		TAILQ_REMOVE(&s->half, l, half);
	if (l->initiator)
		LIST_REMOVE(l, by_id);
	if (l->source_taken)
		link_source_give(s->sources, &l->remote);
	*(l->state == LINK_OPENING ? &s->opening
	  : l->state == LINK_HALF  ? &s->half_open
				   : &s->count) -= 1;
}

static void bury_unless_held(struct link *l)
{
	if (l->circuits > 0 || l->is_buried)
		return;
	l->is_buried = true;
	TAILQ_INSERT_TAIL(&l->set->graves, l, grave);
}

void link_end(struct link *l, int why, nsec_t now)
{
	struct links *s = l->set;
	assert(s->depth > 0);
	if (l->state == LINK_DEAD)
		return;
	if (s->out_link == l)
		links_flush(s);
	enum link_state was = l->state;
	forget(l);
	l->state = LINK_DEAD;
	if (was == LINK_UP)
		s->c.ops.on_dead(s->c.ops.arg, l, now);
	else if (was == LINK_OPENING)
		s->c.ops.on_failed(s->c.ops.arg, l, why, now);
	bury_unless_held(l);
}

void link_discard(struct link *l)
{
	forget(l);
	free_link(l);
}

void link_close(struct link *l, enum close_reason why, nsec_t now)
{
	struct links *s = l->set;
	links_enter(s, now);
	if (l->state == LINK_UP) {
		const uint8_t reason = (uint8_t)why;
		link_put_frame(l, FRAME_LINK_CLOSE, &reason, sizeof(reason));
	}
	link_end(l, -ECANCELED, now);
	links_leave(s);
}

void links_close_all(struct links *s, enum close_reason why, nsec_t now)
{
	links_enter(s, now);
	struct link *last = TAILQ_LAST(&s->all, link_list);
	struct link *l = TAILQ_FIRST(&s->all);
	while (l) { /* none leaves the list before links_leave(); newer ones, opened meanwhile, stay
		     */
		link_close(l, why, now);
		l = l == last ? NULL : TAILQ_NEXT(l, all);
	}
	links_leave(s);
}

void link_hold(struct link *l, nsec_t now)
{
	l->circuits++;
	note_idle(l);
	if (l->state != LINK_DEAD)
		link_arm(l, now);
}

void link_release(struct link *l, nsec_t now)
{
	struct links *s = l->set;
	assert(l->circuits > 0);
	links_enter(s, now);
	if (--l->circuits == 0)
		l->idle_since = now;
	note_idle(l);
	if (l->state == LINK_DEAD)
		bury_unless_held(l);
	else
		link_arm(l, now);
	links_leave(s);
}

/* ---- finding ---- */

struct link *links_find_opening(struct links *s, uint32_t link_id)
{
	struct link *l;
	LIST_FOREACH (l, &s->by_link_id[link_id % LINK_CHAINS], by_link_id) {
		if (l->data->slot.id == link_id)
			return l;
	}
	return NULL;
}

struct link *links_find_published(struct links *s, uint32_t link_id)
{
	struct link_data *d = (struct link_data *)slots_find(s->c.env->links, link_id);
	return d ? d->control : NULL;
}

struct link *links_find(struct links *s, const uint8_t id[32])
{
	struct link *l;
	nsec_t renew = s->c.env->periods->link_renew_s * NSEC_PER_SEC;
	LIST_FOREACH (l, &s->by_id[load_be32(id) % LINK_CHAINS], by_id) { /* newest first */
		if (memcmp(l->id, id, sizeof(l->id)) == 0 && link_age(l, s->now) < renew)
			return l;
	}
	return NULL;
}

/* ---- datagrams ---- */

void links_on_handshake(struct links *s, const struct addr *from, unsigned worker, const uint8_t *d,
			size_t n, nsec_t now)
{
	links_enter(s, now);
	uint8_t type = n > LINK_ID_BYTES ? d[LINK_ID_BYTES] : 0;
	if (n == LINK_INIT_BYTES && type == LINK_TYPE_INIT && s->c.responds)
		link_on_init(s, from, worker, d, n, now);
	else if (n == LINK_RESP_BYTES && type == LINK_TYPE_RESP)
		link_on_resp(s, from, worker, d, n, now);
	else if (n == LINK_COOKIE_BYTES && type == LINK_TYPE_COOKIE)
		link_on_cookie(s, from, d, n, now);
	else
		links_drop(s, DROP_LINK_UNKNOWN);
	links_leave(s);
}

/* ---- what others may know ---- */

bool link_is_up(const struct link *l)
{
	return l->state == LINK_UP;
}

bool link_is_relay(const struct link *l)
{
	return l->relay;
}

const uint8_t *link_id_of(const struct link *l)
{
	return l->relay ? l->id : NULL;
}

struct link_data *link_data_of(const struct link *l)
{
	return l->data;
}

struct addr link_remote(const struct link *l)
{
	return l->remote;
}

struct addr link_observed(const struct link *l)
{
	return l->observed;
}

uint64_t link_peer_serial(const struct link *l)
{
	return l->peer_serial;
}

uint32_t link_circuits_limit(const struct link *l)
{
	return l->circuits_limit;
}

nsec_t link_rtt(const struct link *l)
{
	return l->rtt;
}

nsec_t link_age(const struct link *l, nsec_t now)
{
	return l->state == LINK_UP ? now - l->since : 0;
}

unsigned link_circuits(const struct link *l)
{
	return l->circuits;
}

void *link_user(const struct link *l)
{
	return l->user;
}

void link_set_user(struct link *l, void *user)
{
	l->user = user;
}

uint32_t links_count(const struct links *s)
{
	return s->count;
}

uint32_t links_half_open(const struct links *s)
{
	return s->half_open;
}
