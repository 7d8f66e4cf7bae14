/* directory/tally.c - from votes to one consensus body, the same at every authority that holds the
 * same votes.
 *
 * All votes' lists are sorted, so each list is merged in one walk: take the smallest key that any
 * vote has next, gather what the votes say of it, decide, step over it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "crypto/kdf.h"
#include "directory/vote.h"

struct tally {
	const struct netconf *net;
	const struct vote *vote[NETCONF_AUTHORITIES_MAX];
	unsigned n;
	unsigned at[NETCONF_AUTHORITIES_MAX]; /* next entry of each vote's list under the walk */
	struct consensus *c;
};

static bool is_majority(const struct tally *t, unsigned count)
{
	return 2 * count > t->net->n;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

/* The middle one, of an even number the lower. Sorts v. */
static uint32_t median(uint32_t *v, unsigned n)
{
	qsort(v, n, sizeof(*v), by_value);
	return v[(n - 1) / 2];
}

static void tally_params(struct tally *t)
{
	memset(t->at, 0, sizeof(t->at));
	for (;;) {
		uint32_t id = UINT32_MAX, value[NETCONF_AUTHORITIES_MAX];
		unsigned n = 0;
		for (unsigned i = 0; i < t->n; i++)
			if (t->at[i] < t->vote[i]->nparams && t->vote[i]->param[t->at[i]].id < id)
				id = t->vote[i]->param[t->at[i]].id;
		if (id == UINT32_MAX)
			return;
		for (unsigned i = 0; i < t->n; i++)
			if (t->at[i] < t->vote[i]->nparams && t->vote[i]->param[t->at[i]].id == id)
				value[n++] = t->vote[i]->param[t->at[i]++].value;
		if (is_majority(t, n) && t->c->nparams < CONSENSUS_PARAMS_MAX)
			t->c->param[t->c->nparams++] =
				(struct consensus_param){(uint16_t)id, median(value, n)};
	}
}

static void tally_revoked(struct tally *t)
{
	memset(t->at, 0, sizeof(t->at));
	for (;;) {
		const uint8_t *id = NULL;
		unsigned n = 0;
		for (unsigned i = 0; i < t->n; i++)
			if (t->at[i] < t->vote[i]->nrevoked &&
			    (!id || memcmp(t->vote[i]->revoked[t->at[i]], id, 32) < 0))
				id = t->vote[i]->revoked[t->at[i]];
		if (!id)
			return;
		for (unsigned i = 0; i < t->n; i++)
			if (t->at[i] < t->vote[i]->nrevoked &&
			    !memcmp(t->vote[i]->revoked[t->at[i]], id, 32)) {
				n++;
				t->at[i]++;
			}
		if (is_majority(t, n) && t->c->nrevoked < CONSENSUS_REVOKED_MAX)
			memcpy(t->c->revoked[t->c->nrevoked++], id, 32);
	}
}

/* What a majority says of one relay, if it says one thing: the same descriptor. */
static bool agree(const struct tally *t, const struct consensus_relay *const *said, unsigned n,
		  struct consensus_relay *ret)
{
	for (unsigned i = 0; i < n; i++) {
		uint32_t weight[NETCONF_AUTHORITIES_MAX];
		unsigned same = 0, set[32] = {0};
		for (unsigned j = 0; j < n; j++) {
			if (memcmp(said[j]->hash, said[i]->hash, 32))
				continue;
			weight[same++] = said[j]->weight;
			for (unsigned b = 0; b < 32; b++)
				set[b] += said[j]->flags >> b & 1;
		}
		if (!is_majority(t, same))
			continue;
		*ret = *said[i];
		ret->weight = median(weight, same);
		ret->flags = 0;
		for (unsigned b = 0; b < 32; b++)
			if (2 * set[b] > same)
				ret->flags |= UINT32_C(1) << b;
		return true;
	}
	return false;
}

static void tally_relays(struct tally *t)
{
	memset(t->at, 0, sizeof(t->at));
	for (;;) {
		const struct consensus_relay *said[NETCONF_AUTHORITIES_MAX];
		const uint8_t *id = NULL;
		unsigned n = 0;
		for (unsigned i = 0; i < t->n; i++)
			if (t->at[i] < t->vote[i]->nrelays &&
			    (!id || memcmp(t->vote[i]->relay[t->at[i]].id, id, 32) < 0))
				id = t->vote[i]->relay[t->at[i]].id;
		if (!id)
			return;
		for (unsigned i = 0; i < t->n; i++)
			if (t->at[i] < t->vote[i]->nrelays &&
			    !memcmp(t->vote[i]->relay[t->at[i]].id, id, 32))
				said[n++] = &t->vote[i]->relay[t->at[i]++];
		struct consensus_relay agreed;
		if (!consensus_is_revoked(t->c, id) && agree(t, said, n, &agreed) &&
		    t->c->nrelays < CONSENSUS_RELAYS_MAX)
			t->c->relay[t->c->nrelays++] = agreed;
	}
}

static uint32_t param_value(const struct consensus *c, const struct netconf *net, enum param p)
{
	struct params params;
	consensus_params(c, &net->params, &params);
	return params.v[p];
}

/* Room for as much as all votes together could bring in. */
static struct consensus *new_consensus(const struct tally *t)
{
	size_t relays = 1, revoked = 1;
	for (unsigned i = 0; i < t->n; i++) {
		relays += t->vote[i]->nrelays;
		revoked += t->vote[i]->nrevoked;
	}
	struct consensus *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->param = calloc(CONSENSUS_PARAMS_MAX, sizeof(*c->param));
	c->relay = calloc(relays, sizeof(*c->relay));
	c->revoked = calloc(revoked, sizeof(*c->revoked));
	if (!c->param || !c->relay || !c->revoked) {
		consensus_free(c);
		return NULL;
	}
	return c;
}

int vote_tally(const struct netconf *net, struct vote *const *votes, size_t n, uint64_t serial,
	       struct consensus **ret)
{
	struct tally t = {.net = net};
	for (size_t i = 0; i < n && t.n < NETCONF_AUTHORITIES_MAX; i++)
		if (votes[i])
			t.vote[t.n++] = votes[i];
	t.c = new_consensus(&t);
	if (!t.c)
		return -ENOMEM;
	tally_params(&t);
	tally_revoked(&t);
	tally_relays(&t);
	struct consensus *c = t.c;
	c->net_id = net->net_id;
	c->serial = c->valid_after = serial;
	c->fresh_until = serial + param_value(c, net, PARAM_CONSENSUS_FRESH);
	c->valid_until = serial + param_value(c, net, PARAM_CONSENSUS_VALID);
	int e = consensus_write(c, false, &c->bytes, &c->nbytes);
	if (e) {
		consensus_free(c);
		return e;
	}
	c->nbody = c->nbytes;
	hash(c->body_hash, c->bytes, c->nbody);
	*ret = c;
	return 0;
}
