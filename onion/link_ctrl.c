/* onion/link_ctrl.c - CTRL datagrams of a link, out and in, and roaming. PROTOCOL.md section 4. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"
#include "onion/link_priv.h"

/* ---- out ---- */

/* Seal the list and send it to `to`. The list is empty afterwards. */
static void send_list(struct link *l, struct ctrl_list *list, const struct addr *to)
{
	const struct onion_env *env = l->set->c.env;
	uint8_t d[HEADER_BYTES + CTRL_PLAIN_LARGE + AEAD_TAG];
	const struct header h = {0, HEADER_CTRL, l->tx_ctr++ & COUNTER_MASK};
	size_t n = ctrl_pad(list);
	uint8_t nonce[12];
	nonce_from_counter(nonce, l->tx.iv, h.ctr);
	datagram_header(env->aead, l->data, &h, d);
	chapoly_seal(l->tx.key, nonce, NULL, 0, list->plain, n, d + HEADER_BYTES);
	list->used = 0;
	env->send(env->arg, to, d, HEADER_BYTES + n + AEAD_TAG);
}

void links_flush(struct links *s)
{
	struct link *l = s->out_link;
	s->out_link = NULL;
	if (l && s->out.used > 0)
		send_list(l, &s->out, &l->remote);
}

void link_put_frame(struct link *l, enum frame_type type, const void *data, size_t n)
{
	struct links *s = l->set;
	if (s->out_link != l)
		links_flush(s);
	s->out_link = l;
	if (ctrl_put(&s->out, type, data, n))
		return;
	links_flush(s);
	s->out_link = l;
	bool fits = ctrl_put(&s->out, type, data, n);
	(void)fits; /* every frame fits into an empty list */
}

int link_send(struct link *l, enum frame_type type, const void *data, size_t n, nsec_t now)
{
	if (l->state != LINK_UP)
		return -ENOTCONN;
	links_enter(l->set, now);
	link_put_frame(l, type, data, n);
	links_leave(l->set);
	return 0;
}

void link_ping(struct link *l, nsec_t now)
{
	uint8_t opaque[FRAME_PING_BYTES];
	store_be64(opaque, l->ping_first + l->pings);
	l->ping_at[l->pings++ % PINGS_KEPT] = now;
	if (l->unanswered == 0)
		l->unanswered = now;
	link_put_frame(l, FRAME_PING, opaque, sizeof(opaque));
}

/* ---- roaming ---- */

static bool may_roam(const struct link *l)
{
	return l->state == LINK_UP && !l->data->initiator && !l->data->fixed;
}

/* Something verified came from `from`: ask there, in a datagram of its own. */
static void ask_new_address(struct link *l, const struct addr *from, nsec_t now)
{
	if (l->roam_at != 0 && now < l->roam_at + ROAM_PING_NSEC)
		return;
	l->roam_to = *from;
	l->roam_at = now;
	l->roam_opaque = rng_u64(l->set->c.env->rng);
	uint8_t opaque[FRAME_PING_BYTES];
	store_be64(opaque, l->roam_opaque);
	struct ctrl_list list = {0};
	if (ctrl_put(&list, FRAME_PING, opaque, sizeof(opaque)))
		send_list(l, &list, from);
}

/* The new address counts against its source's limit, the old one no longer. */
static bool move_source(struct link *l, const struct addr *to)
{
	struct link_sources *t = l->set->sources;
	if (addr_equal_ip(&l->remote, to))
		return true;
	if (!link_source_take(t, to))
		return false;
	link_source_give(t, &l->remote);
	return true;
}

/* A PONG with the right bytes came from the new address itself: the link lives there now. */
static void move_to(struct link *l, const struct addr *to)
{
	struct links *s = l->set;
	struct addr *fresh = malloc(sizeof(*fresh));
	if (!fresh || !move_source(l, to)) {
		links_drop(s, fresh ? DROP_ROAM_REFUSED : DROP_NO_MEMORY);
		free(fresh);
		return;
	}
	if (s->out_link == l)
		links_flush(s);
	*fresh = *to;
	const struct addr *old =
		atomic_exchange_explicit(&l->data->remote, fresh, memory_order_acq_rel);
	s->c.env->retire(s->c.env->arg, (void *)old, free);
	l->remote = *to;
	l->roam_to = (struct addr){0};
}

void links_on_foreign_source(struct links *s, uint32_t link_id, const struct addr *from, nsec_t now)
{
	s->now = now;
	struct link *l = links_find_published(s, link_id);
	if (l && may_roam(l) && !addr_equal(from, &l->remote))
		ask_new_address(l, from, now);
}

/* ---- in ---- */

static void on_pong(struct link *l, const struct addr *from, const uint8_t *data, nsec_t now)
{
	uint64_t opaque = load_be64(data);
	if (l->roam_to.family != 0 && opaque == l->roam_opaque && addr_equal(from, &l->roam_to)) {
		if (may_roam(l))
			move_to(l, from);
		return;
	}
	uint64_t number = opaque - l->ping_first;
	if (number >= l->pings || l->pings - number > PINGS_KEPT)
		return;
	l->rtt = now - l->ping_at[number % PINGS_KEPT];
}

static void on_frame(struct link *l, const struct addr *from, const struct ctrl_frame *f,
		     nsec_t now)
{
	const struct links_ops *ops = &l->set->c.ops;
	switch (f->type) {
	case FRAME_PING:
		link_put_frame(l, FRAME_PONG, f->data, f->n);
		break;
	case FRAME_PONG:
		on_pong(l, from, f->data, now);
		break;
	case FRAME_LINK_CLOSE:
		link_end(l, 0, now);
		break;
	case FRAME_BUILD:
	case FRAME_BUILD_REPLY:
	case FRAME_CIRCUIT_CLOSE:
		ops->on_frame(ops->arg, l, f->type, f->data, f->n, now);
		break;
	case FRAME_PAD:
		break;
	}
}

/* May this link hear this source at all? A half-open one is confirmed from where its INIT came. */
static bool source_is_legal(const struct link *l, const struct addr *from)
{
	return addr_equal(from, &l->remote) || may_roam(l);
}

/* Window, then tag; the window moves only when it verified. */
static enum drop open_ctrl(struct link *l, uint64_t ctr, uint8_t *body, size_t n)
{
	if (n != CTRL_PLAIN_SMALL + AEAD_TAG && n != CTRL_PLAIN_LARGE + AEAD_TAG)
		return DROP_CTRL_FORMAT;
	if (replay_check(&l->rx_window, ctr) != REPLAY_NEW)
		return DROP_CTRL_REPLAY;
	uint8_t nonce[12];
	nonce_from_counter(nonce, l->rx.iv, ctr);
	if (!chapoly_open(l->rx.key, nonce, NULL, 0, body, n, body))
		return DROP_CTRL_OPEN;
	replay_mark(&l->rx_window, ctr);
	return ctrl_check(body, n - AEAD_TAG) ? DROP_NONE : DROP_CTRL_FORMAT;
}

static void take_frames(struct link *l, const struct addr *from, const uint8_t *plain, size_t n,
			nsec_t now)
{
	if (l->state == LINK_HALF && !link_confirm(l, now))
		return;
	atomic_store_explicit(&l->data->last_rx, now, memory_order_relaxed);
	struct reader r;
	struct ctrl_frame f;
	reader_init(&r, plain, n);
	while (l->state == LINK_UP && ctrl_next(&r, &f))
		on_frame(l, from, &f, now);
	if (l->state != LINK_UP)
		return;
	if (!addr_equal(from, &l->remote))
		ask_new_address(l, from, now);
	link_arm(l, now);
}

void links_on_ctrl(struct links *s, uint32_t link_id, const struct addr *from, unsigned worker,
		   uint64_t ctr, uint8_t *body, size_t n, nsec_t now)
{
	(void)worker; /* CTRL is the control thread's, whoever read it */
	struct link *l = links_find_published(s, link_id);
	if (!l || !source_is_legal(l, from)) {
		links_drop(s, l ? DROP_LINK_SOURCE : DROP_LINK_UNKNOWN);
		return;
	}
	enum drop why = open_ctrl(l, ctr, body, n);
	if (why != DROP_NONE) {
		links_drop(s, why);
		return;
	}
	links_enter(s, now);
	take_frames(l, from, body, n - AEAD_TAG, now);
	links_leave(s);
}
