/* onion/path_reply.c - BUILD_REPLY at the client: its layers become the keys that workers seal and
 * open with. */
#include "onion/path_state.h"
#include "base/bytes.h"
#include "crypto/kdf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COUNTER_START_MASK ((UINT64_C(1) << 47) - 1) /* counters start at a random 47-bit value */
#define KEY_ALIGN	   64

void path_free_data(void *object)
{
	struct path_data *d = object;
	for (unsigned i = 0; i < d->hops; i++) {
		aead_key_done(&d->layer[i].kf);
		aead_key_done(&d->layer[i].kb);
	}
	wipe(d, sizeof(*d));
	free(d);
}

static struct path_data *data_alloc(void)
{
	size_t n = (sizeof(struct path_data) + KEY_ALIGN - 1) / KEY_ALIGN * KEY_ALIGN;
	struct path_data *d = aligned_alloc(KEY_ALIGN, n);
	if (d)
		memset(d, 0, sizeof(*d));
	return d;
}

static void set_layers(struct path_data *d, struct aead_ctx *aead, const struct build_answer *a,
		       unsigned n)
{
	d->hops = (uint8_t)n;
	d->slots = (uint8_t)tag_slots(n);
	for (unsigned i = 0; i < n; i++) {
		const struct path_keys *k = &a->keys[i];
		aead_key_init(&d->layer[i].kf, aead, k->kf, k->ivf);
		aead_key_init(&d->layer[i].kb, aead, k->kb, k->ivb);
		d->layer[i].df = k->df;
		d->layer[i].db = k->db;
	}
}

static void set_backward(struct path *p, struct path_data *d)
{
	struct hop_dir *b = &d->backward;
	b->slot.id = p->backward_id;
	b->kind = HOP_END_BACKWARD;
	b->in = d->link;
	b->fill = (uint8_t)(d->slots - d->hops);
	b->owner = d;
	replay_init(&b->window);
}

static int make_data(struct path *p, const struct build_answer *a, uint32_t forward_id, nsec_t now)
{
	const struct onion_env *env = p->paths->cfg.env;
	struct path_data *d = data_alloc();
	if (!d)
		return -ENOMEM;
	set_layers(d, env->aead, a, p->nhops);
	d->link = link_data_of(p->link);
	d->forward_id = forward_id;
	set_backward(p, d);
	d->sealed_first = rng_u64(env->rng) & COUNTER_START_MASK;
	atomic_init(&d->sealed, d->sealed_first);
	atomic_init(&d->full_dgram, p->max_dgram);
	atomic_init(&d->last_rx, now);
	d->control = p;
	p->data = d;
	return 0;
}

/* A hop's word only makes sizes smaller, and only to one of the sizes that all paths have. */
static uint16_t smallest_dgram(const struct path *p, const struct build_answer *a)
{
	uint16_t least = link_data_of(p->link)->max_dgram;
	for (unsigned i = 0; i < p->nhops; i++)
		if (a->max_dgram[i] < least)
			least = a->max_dgram[i];
	return datagram_full_floor(least);
}

/* No single hop can make a path live longer than asked, or make us build twice as often as we
 * would. */
static uint32_t shortest_lifetime(const struct path *p, const struct build_answer *a)
{
	uint32_t least = p->lifetime_s;
	for (unsigned i = 0; i < p->nhops; i++)
		if (a->lifetime_s[i] < least)
			least = a->lifetime_s[i];
	return least < p->lifetime_s / 2 ? p->lifetime_s / 2 : least;
}

static void become_ready(struct path *p, const struct build_answer *a, nsec_t now)
{
	const struct paths_config *cfg = &p->paths->cfg;
	p->max_dgram = smallest_dgram(p, a);
	if (make_data(p, a, p->forward_id, now) < 0) {
		path_drop(p->paths, DROP_NO_MEMORY);
		path_gone(p, -1, BUILD_OVERLOAD, now);
		return;
	}
	p->lifetime_s = shortest_lifetime(p, a);
	memcpy(p->h, a->h_last, sizeof(p->h));
	memcpy(p->resume, a->keys[p->nhops - 1].resume, sizeof(p->resume));
	build_client_done(&p->build);
	p->ready_at = now;
	p->deadline = path_lifetime_end(p) + cfg->env->periods->path_grace_s * NSEC_PER_SEC;
	slots_publish(cfg->env->circuits, p->backward_id, &p->data->backward.slot);
	path_set_state(p, PATH_READY);
	cfg->ops.on_ready(cfg->ops.arg, p, now);
}

static void on_answer(struct path *p, const struct build_answer *a, uint32_t forward_id, nsec_t now)
{
	p->forward_id = forward_id;
	if (a->failed_hop < p->nhops) {
		p->closed_afar = forward_id == 0; /* the guard keeps nothing */
		path_gone(p, (int)a->failed_hop, a->status, now);
	} else if (forward_id == 0) { /* it says that all is well, and has no circuit */
		path_gone(p, 0, BUILD_PROTOCOL, now);
	} else {
		become_ready(p, a, now);
	}
}

void path_on_reply(struct path *p, const uint8_t *data, nsec_t now)
{
	struct build_answer a;
	if (!build_open_reply(&p->build, data + 8, &a)) {
		path_drop(p->paths, DROP_BUILD_REPLY_BAD);
		return;
	}
	on_answer(p, &a, load_be32(data + 4), now);
	build_answer_done(&a);
}
