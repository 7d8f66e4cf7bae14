/* authority/round.c - votes and signatures of one round. */
#include "authority/round.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void round_init(struct round *r, const struct netconf *net, uint8_t me, uint64_t serial,
		uint64_t duration_ms)
{
	*r = (struct round){.net = net,
			    .me = me,
			    .serial = serial,
			    .begin_ms = serial * 1000,
			    .duration_ms = duration_ms};
}

static void drop_vote(struct round *r, unsigned i)
{
	vote_free(r->vote[i]);
	free(r->bytes[i]);
	r->vote[i] = NULL;
	r->bytes[i] = NULL;
	r->nbytes[i] = 0;
}

void round_done(struct round *r)
{
	for (unsigned i = 0; i < NETCONF_AUTHORITIES_MAX; i++)
		drop_vote(r, i);
	consensus_free(r->body);
	r->body = NULL;
}

uint64_t round_next_ms(const struct round *r)
{
	switch (r->phase) {
	case ROUND_VOTE:
		return r->begin_ms + r->duration_ms / 4;
	case ROUND_SHOW:
		return r->begin_ms + r->duration_ms / 2;
	default:
		return r->begin_ms + r->duration_ms;
	}
}

enum dir_result round_take_vote(struct round *r, const uint8_t *p, size_t n)
{
	struct vote *v;
	enum dir_result result = vote_parse(r->net, p, n, &v);
	if (result != DIR_OK)
		return result;
	unsigned i = v->authority;
	if (v->serial != r->serial || r->phase > ROUND_SHOW)
		result = DIR_STALE;
	else if (r->two_faced[i])
		result = DIR_CONFLICT;
	else if (r->vote[i] && !memcmp(r->vote[i]->hash, v->hash, sizeof(v->hash)))
		result = DIR_SAME;
	else if (r->vote[i])
		result = DIR_CONFLICT;
	if (result == DIR_CONFLICT) {
		r->two_faced[i] = true;
		drop_vote(r, i);
	}
	uint8_t *copy = result == DIR_OK ? malloc(n) : NULL;
	if (!copy) {
		vote_free(v);
		return result == DIR_OK ? DIR_NO_MEMORY : result;
	}
	memcpy(copy, p, n);
	r->vote[i] = v;
	r->bytes[i] = copy;
	r->nbytes[i] = n;
	return DIR_OK;
}

enum dir_result round_take_signature(struct round *r, const struct vote_signature *s)
{
	if (s->serial != r->serial)
		return DIR_STALE;
	if (r->has_signature[s->authority])
		return memcmp(r->signature[s->authority].body_hash, s->body_hash, 32) ? DIR_CONFLICT
										      : DIR_SAME;
	r->signature[s->authority] = *s;
	r->has_signature[s->authority] = true;
	return r->body && memcmp(r->body->body_hash, s->body_hash, 32) ? DIR_CONFLICT : DIR_OK;
}

unsigned round_votes(const struct round *r)
{
	unsigned n = 0;
	for (unsigned i = 0; i < r->net->n; i++)
		n += r->vote[i] != NULL;
	return n;
}

int round_tally(struct round *r)
{
	if (2 * round_votes(r) <= r->net->n)
		return -ENODATA;
	struct consensus *body;
	int e = vote_tally(r->net, r->vote, r->net->n, r->serial, &body);
	if (e)
		return e;
	if (!body->nrelays) {
		consensus_free(body);
		return -ENODATA;
	}
	consensus_free(r->body);
	r->body = body;
	return 0;
}

static bool agrees(const struct round *r, unsigned i)
{
	return r->body && r->has_signature[i] &&
	       !memcmp(r->signature[i].body_hash, r->body->body_hash, 32);
}

unsigned round_agreeing(const struct round *r)
{
	unsigned n = 0;
	for (unsigned i = 0; i < r->net->n; i++)
		n += agrees(r, i);
	return n;
}

int round_assemble(const struct round *r, uint8_t **ret, size_t *ret_n)
{
	struct consensus *c = r->body;
	c->nsignatures = 0;
	for (unsigned i = 0; i < r->net->n; i++) {
		if (!agrees(r, i))
			continue;
		struct consensus_signature *s = &c->signature[c->nsignatures++];
		s->authority = (uint8_t)i;
		memcpy(s->sig, r->signature[i].sig, sizeof(s->sig));
	}
	return consensus_write(c, true, ret, ret_n);
}
