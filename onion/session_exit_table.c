/* onion/session_exit_table.c - the exit's tables: ends of circuits, sessions, and which end carries
 * a session's packets. See session_exit_state.h. */
#include "onion/session_exit_state.h"
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"
#include "crypto/kdf.h"

#define END_INDEX_BITS	   14
#define SESSION_INDEX_BITS 12

int exit_tables_init(struct exit_sessions *s)
{
	const struct rng *rng = s->config.env->rng;
	TAILQ_INIT(&s->sessions);
	LIST_INIT(&s->all_ends);
	if (index_init(&s->ends, END_INDEX_BITS, rng) < 0 ||
	    index_init(&s->ids, SESSION_INDEX_BITS, rng) < 0 ||
	    index_init(&s->tokens, SESSION_INDEX_BITS, rng) < 0)
		return -ENOMEM;
	return 0;
}

void exit_tables_done(struct exit_sessions *s)
{
	index_done(&s->ends);
	index_done(&s->ids);
	index_done(&s->tokens);
}

/* --- ends --- */

struct end *exit_end_new(struct exit_sessions *s, struct circuit *c, const uint8_t h[32],
			 const uint8_t res[32])
{
	struct end *e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	e->circuit = c;
	memcpy(e->h, h, 32);
	memcpy(e->res, res, 32);
	index_add(&s->ends, &e->by_circuit, (uintptr_t)c);
	LIST_INSERT_HEAD(&s->all_ends, e, all);
	return e;
}

struct end *exit_end_find(const struct exit_sessions *s, const struct circuit *c)
{
	struct index_node *n = index_find(&s->ends, (uintptr_t)c, NULL);
	return n ? (struct end *)(void *)((char *)n - offsetof(struct end, by_circuit)) : NULL;
}

void exit_end_free(struct exit_sessions *s, struct end *e, nsec_t now)
{
	exit_unbind(s, e, now);
	index_remove(&s->ends, &e->by_circuit);
	LIST_REMOVE(e, all);
	wipe(e, sizeof(*e));
	free(e);
}

/* --- which end carries a session's packets --- */

static bool goes_before(const struct end *a, const struct end *b)
{
	return a->prio != b->prio ? a->prio > b->prio : a->bound > b->bound;
}

static void choose_active(struct exit_session *x)
{
	struct end *best = NULL, *e;
	TAILQ_FOREACH (e, &x->ends, of_session)
		if (!best || goes_before(e, best))
			best = e;
	atomic_store_explicit(&x->data->active, best ? best->circuit : NULL, memory_order_release);
}

void exit_unbind(struct exit_sessions *s, struct end *e, nsec_t now)
{
	struct exit_session *x = e->session;
	if (!x)
		return;
	TAILQ_REMOVE(&x->ends, e, of_session);
	x->paths--;
	e->session = NULL;
	atomic_store_explicit(&e->circuit->session, NULL, memory_order_release);
	choose_active(x);
	if (x->paths == 0)
		x->silent_since = now;
	circuits_end_granted(s->config.circuits, e->circuit, false);
}

static void make_room(struct exit_sessions *s, struct exit_session *x, nsec_t now)
{
	struct end *last = NULL, *e;
	if (x->paths < SESSION_PATHS_MOST)
		return;
	TAILQ_FOREACH (e, &x->ends, of_session)
		if (!last || goes_before(last, e))
			last = e;
	exit_unbind(s, last, now);
}

void exit_bind(struct exit_sessions *s, struct end *e, struct exit_session *x, uint32_t prio,
	       nsec_t now)
{
	if (!e->session) {
		make_room(s, x, now);
		TAILQ_INSERT_TAIL(&x->ends, e, of_session);
		x->paths++;
		e->session = x;
		atomic_store_explicit(&e->circuit->padding, x->padding, memory_order_relaxed);
		circuits_end_granted(s->config.circuits, e->circuit, true);
		atomic_store_explicit(&e->circuit->session, x->data, memory_order_release);
	}
	e->prio = prio;
	e->bound = ++s->binds;
	x->silent_since = NSEC_NEVER;
	choose_active(x);
}

/* --- sessions --- */

/* The first bytes of an id or of a key; the rest is compared by whoever looks. */
static uint64_t key_of(const uint8_t *bytes)
{
	return load_be64(bytes);
}

static struct exit_session *by_id(struct index_node *n)
{
	return (struct exit_session *)(void *)((char *)n - offsetof(struct exit_session, by_id));
}

static struct exit_session *by_token(struct index_node *n)
{
	return (struct exit_session *)(void *)((char *)n - offsetof(struct exit_session, by_token));
}

struct exit_session *exit_session_find(const struct exit_sessions *s,
				       const uint8_t id[SESSION_ID_BYTES])
{
	struct index_node *n = NULL;
	while ((n = index_find(&s->ids, key_of(id), n)))
		if (equal_ct(by_id(n)->id, id, SESSION_ID_BYTES))
			return by_id(n);
	return NULL;
}

struct exit_session *exit_session_of_token(const struct exit_sessions *s,
					   const uint8_t token_pk[32],
					   const struct exit_session *after)
{
	struct index_node *n = after ? (struct index_node *)&after->by_token : NULL;
	while ((n = index_find(&s->tokens, key_of(token_pk), n)))
		if (equal_ct(by_token(n)->token_pk, token_pk, 32))
			return by_token(n);
	return NULL;
}

struct exit_session *exit_session_idlest(const struct exit_sessions *s)
{
	struct exit_session *best = NULL, *x;
	TAILQ_FOREACH (x, &s->sessions, all)
		if (x->silent_since != NSEC_NEVER &&
		    (!best || x->silent_since < best->silent_since))
			best = x;
	return best;
}

static void enter(struct exit_sessions *s, struct exit_session *x)
{
	TAILQ_INSERT_TAIL(&s->sessions, x, all);
	index_add(&s->ids, &x->by_id, key_of(x->id));
	if (x->has_token)
		index_add(&s->tokens, &x->by_token, key_of(x->token_pk));
	s->count++;
}

struct exit_session *exit_session_new(struct exit_sessions *s, const struct end *e,
				      const struct msg_auth *a, nsec_t now)
{
	struct exit_session *x = calloc(1, sizeof(*x));
	struct session_data *d = calloc(1, sizeof(*d));
	if (!x || !d || s->config.ops.lease(s->config.ops.arg, d, a->wants)) {
		free(x);
		free(d);
		return NULL;
	}
	x->data = d;
	d->control = x;
	atomic_store_explicit(&d->last_rx, now, memory_order_relaxed);
	do
		rng_bytes(s->config.env->rng, x->id, sizeof(x->id));
	while (exit_session_find(s, x->id));
	session_secret(e->res, x->id, x->rs);
	x->has_token = a->method == AUTH_TOKEN;
	memcpy(x->token_pk, a->token_pk, 32);
	x->padding = a->padding;
	x->silent_since = now;
	TAILQ_INIT(&x->ends);
	enter(s, x);
	return x;
}

static void free_data(void *object)
{
	free(object);
}

void exit_session_end(struct exit_sessions *s, struct exit_session *x, nsec_t now)
{
	struct end *e;
	while ((e = TAILQ_FIRST(&x->ends)))
		exit_unbind(s, e, now);
	s->config.ops.lease_drop(s->config.ops.arg, x->data);
	s->config.env->retire(s->config.env->arg, x->data, free_data);
	TAILQ_REMOVE(&s->sessions, x, all);
	index_remove(&s->ids, &x->by_id);
	index_remove(&s->tokens, &x->by_token);
	s->count--;
	wipe(x, sizeof(*x));
	free(x);
}
