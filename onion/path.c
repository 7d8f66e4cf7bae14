/* onion/path.c - one path of the client, from the link to its guard to its end. See path.h.
 *
 *   LINKING --link up--> BUILDING --reply, all ok--> READY
 *      |                    |                          |
 *      +--------------------+---- gone, once ----------+--> CLOSED --path_free()-->
 */
#include "onion/path_state.h"
#include "base/bytes.h"
#include "crypto/kdf.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RESENDS 2

struct paths *paths_new(const struct paths_config *c)
{
	struct paths *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->cfg = *c;
	TAILQ_INIT(&s->all);
	return s;
}

void path_set_state(struct path *p, enum path_state to)
{
	static const unsigned may[] = {
		[PATH_LINKING] = 1 << PATH_BUILDING | 1 << PATH_CLOSED,
		[PATH_BUILDING] = 1 << PATH_READY | 1 << PATH_CLOSED,
		[PATH_READY] = 1 << PATH_CLOSED,
		[PATH_CLOSED] = 0,
	};
	bool legal = may[p->state] & 1u << to;
	assert(legal);
	(void)legal;
	p->state = to;
}

void path_drop(const struct paths *s, enum drop why)
{
	drops_add(s->cfg.env->drops, why);
}

static void send_frame(struct path *p, enum frame_type type, const void *data, size_t n, nsec_t now)
{
	if (link_send(p->link, type, data, n, now) < 0)
		path_drop(p->paths, DROP_SEND_FAILED); /* on_dead or the give-up follows */
}

/* The other hops free their state at once; a guard that does not know our path yet knows our id. */
static void say_close(struct path *p, nsec_t now)
{
	uint8_t frame[FRAME_CIRCUIT_CLOSE_BYTES];
	if (p->closed_afar || p->state == PATH_LINKING || p->state == PATH_CLOSED)
		return;
	store_be32(frame, p->forward_id ? p->forward_id : p->backward_id);
	frame[4] = CLOSE_DONE;
	send_frame(p, FRAME_CIRCUIT_CLOSE, frame, sizeof(frame), now);
}

/* Nothing comes in any more, no timer runs; path_data and the link stay for whoever still seals. */
static void close_path(struct path *p, nsec_t now)
{
	say_close(p, now);
	slots_remove(p->paths->cfg.env->circuits, p->backward_id);
	p->backward_id = 0;
	build_client_done(&p->build);
	p->deadline = NSEC_NEVER;
	path_set_state(p, PATH_CLOSED);
}

void path_gone(struct path *p, int hop, enum build_status status, nsec_t now)
{
	const struct path_ops *ops = &p->paths->cfg.ops;
	close_path(p, now);
	ops->on_gone(ops->arg, p, hop, status, now);
}

static void destroy(struct path *p, nsec_t now)
{
	const struct onion_env *env = p->paths->cfg.env;
	struct link *l = p->link;
	TAILQ_REMOVE(&p->paths->all, p, all);
	slots_remove(env->circuits, p->backward_id);
	if (p->data) {
		p->data->control = NULL;
		env->retire(env->arg, p->data, path_free_data);
	}
	wipe(p, sizeof(*p));
	free(p);
	if (l)
		link_release(l, now);
}

void path_free(struct path *p, nsec_t now)
{
	if (!p)
		return;
	if (p->state != PATH_CLOSED)
		close_path(p, now);
	destroy(p, now);
}

void paths_free(struct paths *s)
{
	if (!s)
		return;
	struct path *p;
	while ((p = TAILQ_FIRST(&s->all)))
		destroy(p, 0);
	free(s);
}

/* building */

static void send_build(struct path *p, nsec_t now)
{
	path_set_state(p, PATH_BUILDING);
	p->built_at = now;
	p->deadline = now + PATH_RESEND_1_NSEC;
	send_frame(p, FRAME_BUILD, p->frame, sizeof(p->frame), now);
}

/* The onion and the frame around it. -EPROTO when a hop's key is none. */
static int write_build(struct path *p)
{
	const struct paths_config *cfg = &p->paths->cfg;
	struct build_hop hops[HOPS_MAX];
	for (unsigned i = 0; i < p->nhops; i++) {
		const struct link_target *t = &p->hops[i].target;
		memcpy(hops[i].id, t->id, sizeof(hops[i].id));
		memcpy(hops[i].onion_key, t->onion_key, sizeof(hops[i].onion_key));
		hops[i].keyid = t->keyid;
	}
	uint32_t minutes = (uint32_t)(cfg->unix_seconds(cfg->ops.arg) / 60);
	uint16_t len;
	int err = build_onion(&p->build, hops, p->nhops, (uint16_t)p->lifetime_s, minutes,
			      cfg->env->rng, p->frame + 6, &len);
	if (err < 0)
		return err;
	store_be32(p->frame, p->backward_id);
	store_be16(p->frame + 4, len);
	return 0;
}

static int find_link(struct path *p, nsec_t now)
{
	struct links *links = p->paths->cfg.links;
	struct link *l = links_find(links, p->hops[0].target.id);
	int err = l ? 0 : links_open(links, &p->hops[0].target, now, &l);
	if (err < 0)
		return err;
	link_hold(l, now);
	p->link = l;
	return 0;
}

static struct path *path_alloc(struct paths *s, const struct path_hop *hops, unsigned n)
{
	struct path *p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	const struct periods *periods = s->cfg.env->periods;
	p->paths = s;
	p->state = PATH_LINKING;
	memcpy(p->hops, hops, n * sizeof(*hops));
	p->nhops = n;
	p->number = ++s->numbers;
	p->deadline = NSEC_NEVER;
	p->lifetime_s =
		periods->path_lifetime_s < UINT16_MAX ? periods->path_lifetime_s : UINT16_MAX;
	TAILQ_INSERT_TAIL(&s->all, p, all);
	return p;
}

int path_build(struct paths *s, const struct path_hop *hops, unsigned n, nsec_t now,
	       struct path **ret)
{
	if (n < 1 || n > HOPS_MAX)
		return -EINVAL;
	struct path *p = path_alloc(s, hops, n);
	if (!p)
		return -ENOMEM;
	int err = slots_reserve(s->cfg.env->circuits, s->cfg.env->rng, &p->backward_id);
	if (err == 0)
		err = write_build(p);
	if (err == 0)
		err = find_link(p, now);
	if (err < 0) {
		destroy(p, now);
		return err;
	}
	if (link_is_up(p->link))
		send_build(p, now);
	*ret = p;
	return 0;
}

/* frames */

static struct path *find_path(const struct paths *s, const struct link *l, uint32_t backward_id)
{
	struct path *p;
	TAILQ_FOREACH (p, &s->all, all)
		if (p->link == l && p->backward_id == backward_id && backward_id != 0)
			return p;
	return NULL;
}

static void on_reply(struct paths *s, struct link *l, const uint8_t *data, nsec_t now)
{
	struct path *p = find_path(s, l, load_be32(data));
	if (!p || p->state != PATH_BUILDING) {
		path_drop(s, DROP_BUILD_REPLY_UNKNOWN);
		return;
	}
	path_on_reply(p, data, now);
}

static void on_close(struct paths *s, struct link *l, const uint8_t *data, nsec_t now)
{
	struct path *p = find_path(s, l, load_be32(data));
	if (!p || (p->state != PATH_BUILDING && p->state != PATH_READY)) {
		path_drop(s, DROP_CIRCUIT_UNKNOWN);
		return;
	}
	p->closed_afar = true;
	path_gone(p, -1, BUILD_NEXT_DOWN, now);
}

void paths_on_frame(struct paths *s, struct link *l, enum frame_type type, const uint8_t *data,
		    size_t n, nsec_t now)
{
	if (type == FRAME_BUILD_REPLY && n == FRAME_BUILD_REPLY_BYTES)
		on_reply(s, l, data, now);
	else if (type == FRAME_CIRCUIT_CLOSE && n == FRAME_CIRCUIT_CLOSE_BYTES)
		on_close(s, l, data, now);
	else
		path_drop(s, DROP_CTRL_FORMAT);
}

/* links */

void paths_on_link_up(struct paths *s, struct link *l, nsec_t now)
{
	struct path *p;
	TAILQ_FOREACH (p, &s->all, all)
		if (p->link == l && p->state == PATH_LINKING)
			send_build(p, now);
}

/* on_gone may free this path and others and build new ones: look from the start each time. */
static void link_gone(struct paths *s, struct link *l, enum build_status status, nsec_t now)
{
	struct path *p = TAILQ_FIRST(&s->all);
	while (p) {
		if (p->link == l && p->state != PATH_CLOSED) {
			p->closed_afar = true;
			path_gone(p, 0, status, now);
			p = TAILQ_FIRST(&s->all);
		} else {
			p = TAILQ_NEXT(p, all);
		}
	}
}

void paths_on_link_failed(struct paths *s, struct link *l, int why, nsec_t now)
{
	enum build_status status = why == -EACCES   ? BUILD_TIME
				   : why == -EUSERS ? BUILD_OVERLOAD
						    : BUILD_NEXT_DOWN;
	link_gone(s, l, status, now);
}

void paths_on_link_dead(struct paths *s, struct link *l, nsec_t now)
{
	link_gone(s, l, BUILD_NEXT_DOWN, now);
}

/* timers */

nsec_t path_lifetime_end(const struct path *p)
{
	return p->built_at + p->lifetime_s * NSEC_PER_SEC;
}

nsec_t paths_next_deadline(const struct paths *s)
{
	nsec_t at = NSEC_NEVER;
	struct path *p;
	TAILQ_FOREACH (p, &s->all, all)
		at = nsec_min(at, p->deadline);
	return at;
}

/* The same bytes again, and a question to the link whether anybody is there. */
static void resend(struct path *p, nsec_t now)
{
	p->resends++;
	p->deadline = p->built_at + (p->resends < RESENDS ? PATH_RESEND_2_NSEC : PATH_GIVE_UP_NSEC);
	send_frame(p, FRAME_BUILD, p->frame, sizeof(p->frame), now);
	link_probe(p->link, now);
}

static struct path *find_due(const struct paths *s, nsec_t now)
{
	struct path *p;
	TAILQ_FOREACH (p, &s->all, all)
		if (p->deadline <= now)
			return p;
	return NULL;
}

void paths_on_timer(struct paths *s, nsec_t now)
{
	struct path *p;
	while ((p = find_due(s, now)))
		if (p->state == PATH_BUILDING && p->resends < RESENDS)
			resend(p, now);
		else
			path_gone(p, -1, BUILD_NEXT_DOWN, now);
}

/* what is known of it */

enum path_state path_state(const struct path *p)
{
	return p->state;
}

unsigned path_hops(const struct path *p)
{
	return p->nhops;
}

const struct path_hop *path_hop(const struct path *p, unsigned i)
{
	return &p->hops[i];
}

struct path_data *path_data_of(const struct path *p)
{
	return p->data;
}

const uint8_t *path_h(const struct path *p)
{
	return p->h;
}

const uint8_t *path_resume(const struct path *p)
{
	return p->resume;
}

nsec_t path_ready_at(const struct path *p)
{
	return p->ready_at;
}

nsec_t path_built_in(const struct path *p)
{
	return p->ready_at - p->built_at;
}

static bool key_is_used_up(const struct path_data *d)
{
	uint64_t sealed = atomic_load_explicit(&d->sealed, memory_order_relaxed) - d->sealed_first;
	uint64_t opened = atomic_load_explicit(&d->backward.count, memory_order_relaxed);
	return sealed >= KEY_PACKETS_RENEW || opened >= KEY_PACKETS_RENEW;
}

nsec_t path_expires_at(const struct path *p)
{
	if (!p->data)
		return NSEC_NEVER;
	return key_is_used_up(p->data) ? 0 : path_lifetime_end(p);
}

uint16_t path_max_dgram(const struct path *p)
{
	return p->max_dgram;
}

bool path_guard_answers(const struct path *p, nsec_t now)
{
	return p->link && link_is_up(p->link) &&
	       now - atomic_load_explicit(&link_data_of(p->link)->last_rx, memory_order_relaxed) <
		       GUARD_ANSWERS_NSEC;
}

uint32_t path_number(const struct path *p)
{
	return p->number;
}

void *path_user(const struct path *p)
{
	return p->user;
}

void path_set_user(struct path *p, void *user)
{
	p->user = user;
}
