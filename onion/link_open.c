/* onion/link_open.c - the side that sends INIT: tries, cookies, the RESP. PROTOCOL.md sections 3
 * and 4. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"
#include "onion/link_priv.h"

/* When try i is sent, after the first. */
static const nsec_t try_after[INIT_TRIES] = {0, 1 * NSEC_PER_SEC, 2 * NSEC_PER_SEC,
					     4 * NSEC_PER_SEC};

void link_opening_free(struct link_opening *o)
{
	if (!o)
		return;
	wipe(o, sizeof(*o));
	free(o);
}

static void add_mac2(struct link_opening *o)
{
	mac2_make(o->init + LINK_MAC2_OFFSET, o->cookie, o->init, LINK_MAC2_OFFSET);
}

static void send_init(struct link *l)
{
	const struct onion_env *env = l->set->c.env;
	env->send(env->arg, &l->remote, l->opening->init, LINK_INIT_BYTES);
}

/* One more try, with a fresh x; -EPROTO when the target's key is none. */
static int try_once(struct link *l, nsec_t now)
{
	struct links *s = l->set;
	struct link_opening *o = l->opening;
	struct hs *hs = &o->hs[o->tries];
	struct link_init m = {
		.version = PROTOCOL_VERSION,
		.keyid = o->target.keyid,
		.sender_id = l->data->slot.id,
	};
	int err = hs_start(hs, HS_LINK, o->target.id, o->target.onion_key, s->c.env->rng, m.x);
	if (err < 0)
		return err;
	const struct link_req req = {
		.net_id = s->c.net_id,
		.time_min = (uint32_t)(s->c.ops.unix_seconds(s->c.ops.arg) / 60),
		.max_dgram = s->c.max_dgram,
		.role = s->c.role,
	};
	uint8_t plain[LINK_REQ_BYTES];
	link_req_write(plain, &req);
	hs_seal_request(hs, plain, sizeof(plain), m.ct);
	link_init_write(o->init, &m, o->target.id);
	memcpy(o->mac1[o->tries], o->init + LINK_MAC1_OFFSET, MAC_BYTES);
	o->cookie_used = o->cookie_until > now;
	if (o->cookie_used)
		add_mac2(o);
	o->sent_at[o->tries++] = now;
	send_init(l);
	return 0;
}

int links_open(struct links *s, const struct link_target *t, nsec_t now, struct link **ret)
{
	if (s->count + s->opening >= s->c.links_most) {
		links_drop(s, DROP_LINKS_FULL);
		return -ENOSPC;
	}
	struct link_opening *o = calloc(1, sizeof(*o));
	if (!o)
		return -ENOMEM;
	struct link *l;
	int err = link_new(s, LINK_OPENING, &t->addr, &l);
	if (err < 0) {
		free(o);
		return err;
	}
	l->relay = true;
	memcpy(l->id, t->id, sizeof(l->id));
	l->data->fixed = s->c.role == ROLE_RELAY;
	l->opening = o;
	o->target = *t;
	o->started = now;
	LIST_INSERT_HEAD(&s->by_link_id[l->data->slot.id % LINK_CHAINS], l, by_link_id);
	LIST_INSERT_HEAD(&s->by_id[load_be32(l->id) % LINK_CHAINS], l, by_id);
	err = try_once(l, now);
	if (err < 0) {
		link_discard(l);
		return err;
	}
	link_arm(l, now);
	*ret = l;
	return 0;
}

nsec_t link_opening_deadline(const struct link *l)
{
	const struct link_opening *o = l->opening;
	return o->started + (o->tries < INIT_TRIES ? try_after[o->tries] : INIT_GIVE_UP_NSEC);
}

void link_opening_run(struct link *l, nsec_t now)
{
	if (now < link_opening_deadline(l))
		return;
	if (l->opening->tries == INIT_TRIES) {
		link_end(l, -ETIMEDOUT, now);
		return;
	}
	int err = try_once(l, now);
	if (err < 0)
		link_end(l, err, now);
}

/* The link that waits for an answer on this id from this address; NULL (counted). */
static struct link *find_waiting(struct links *s, uint32_t link_id, const struct addr *from)
{
	struct link *l = links_find_opening(s, link_id);
	if (!l)
		links_drop(s, DROP_LINK_UNKNOWN);
	else if (!addr_equal(&l->remote, from))
		links_drop(s, DROP_LINK_SOURCE);
	else
		return l;
	return NULL;
}

void link_on_cookie(struct links *s, const struct addr *from, const uint8_t *d, size_t n,
		    nsec_t now)
{
	struct link_cookie m;
	if (!link_cookie_parse(d, n, &m)) {
		links_drop(s, DROP_COOKIE_BAD);
		return;
	}
	struct link *l = find_waiting(s, m.receiver_id, from);
	if (!l)
		return;
	struct link_opening *o = l->opening;
	uint8_t cookie[COOKIE_BYTES];
	bool opened = false;
	for (unsigned i = o->tries; i-- > 0 && !opened;)
		opened = cookie_open(l->id, o->mac1[i], m.nonce, m.sealed, cookie);
	if (!opened) {
		links_drop(s, DROP_COOKIE_BAD);
		return;
	}
	memcpy(o->cookie, cookie, sizeof(o->cookie));
	o->cookie_until = now + COOKIE_SECRET_SECONDS * NSEC_PER_SEC;
	if (o->cookie_used)
		return; /* the next try takes it along */
	o->cookie_used = true;
	add_mac2(o);
	send_init(l);
}

/* Open rt with the try that it answers; its number, or -1. */
static int finish(struct link_opening *o, const struct link_resp *m, uint8_t plain[LINK_REP_BYTES])
{
	for (unsigned i = o->tries; i-- > 0;) {
		if (hs_finish(&o->hs[i], m->y, m->rt, LINK_REP_BYTES, plain))
			return (int)i;
	}
	return -1;
}

static int failure_of(enum link_status status)
{
	switch (status) {
	case LINK_SKEW:
		return -EACCES;
	case LINK_FULL:
		return -EUSERS;
	case LINK_NET:
		return -ENETUNREACH;
	case LINK_OK:
	case LINK_VERSION:
		break;
	}
	return -EPROTO;
}

/* The RESP said yes: publish the link and tell the other side at once, whose half-open link waits
 * for a CTRL. */
static void come_up(struct link *l, const struct link_rep *rep, unsigned worker, unsigned tried,
		    nsec_t now)
{
	struct links *s = l->set;
	struct link_data *d = l->data;
	link_take_keys(l, &l->opening->hs[tried]);
	d->remote_id = rep->resp_id;
	d->owner = (uint16_t)worker;
	if (rep->max_dgram < d->max_dgram)
		d->max_dgram = rep->max_dgram;
	l->observed = rep->observed;
	l->peer_serial = rep->serial;
	l->circuits_limit = rep->circuits_limit;
	l->rtt = now - l->opening->sent_at[tried];
	link_set_up(l, now);
	link_opening_free(l->opening);
	l->opening = NULL;
	slots_publish(s->c.env->links, d->slot.id, &d->slot);
	link_ping(l, now);
	s->c.ops.on_up(s->c.ops.arg, l, now);
	link_arm(l, now);
}

void link_on_resp(struct links *s, const struct addr *from, unsigned worker, const uint8_t *d,
		  size_t n, nsec_t now)
{
	struct link_resp m;
	if (!link_resp_parse(d, n, &m)) {
		links_drop(s, DROP_RESP_OPEN);
		return;
	}
	struct link *l = find_waiting(s, m.receiver_id, from);
	if (!l)
		return;
	if (!mac1_verify(d + LINK_MAC1_OFFSET, l->id, d, LINK_MAC1_OFFSET)) {
		links_drop(s, DROP_MAC1);
		return;
	}
	uint8_t plain[LINK_REP_BYTES];
	struct link_rep rep;
	int tried = finish(l->opening, &m, plain);
	if (tried < 0 || !link_rep_parse(plain, &rep) || rep.init_id != l->data->slot.id ||
	    rep.resp_id != m.sender_id)
		links_drop(s, DROP_RESP_OPEN);
	else if (rep.status != LINK_OK)
		link_end(l, failure_of(rep.status), now);
	else
		come_up(l, &rep, worker, (unsigned)tried, now);
}
