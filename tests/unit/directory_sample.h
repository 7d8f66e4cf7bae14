/* tests/unit/directory_sample.h - a small network on paper for the tests of directory/:
 * authorities, relays with descriptors, a signed consensus, all from one seed. */
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"
#include "crypto/kdf.h"
#include "crypto/sign.h"
#include "directory/choice.h"
#include "directory/consensus.h"
#include "directory/descriptor.h"
#include "directory/directory.h"
#include "directory/netconf.h"
#include "directory/vote.h"
#include "seeded.h"

#define SAMPLE_NOW    UINT64_C(1700000000)
#define SAMPLE_RELAYS 32

struct sample {
	struct seeded seed;
	struct rng rng;
	struct netconf net;
	struct sign_keypair authority[NETCONF_AUTHORITIES_MAX]; /* by number */
	struct sign_keypair id[SAMPLE_RELAYS];			/* by ID */
	struct descriptor d[SAMPLE_RELAYS];
	uint8_t bytes[SAMPLE_RELAYS][DESCRIPTOR_MAX_BYTES];
	size_t nbytes[SAMPLE_RELAYS];
	uint32_t flags[SAMPLE_RELAYS], weight[SAMPLE_RELAYS]; /* as the consensus shall say */
	unsigned n;
};

static inline void sample_must(bool good)
{
	if (!good)
		abort();
}

static inline int sample_compare(const void *a, const void *b)
{
	return memcmp(((const struct sign_keypair *)a)->public_key,
		      ((const struct sign_keypair *)b)->public_key, 32);
}

/* One relay's word: dual stack, networks of its own, one onion key. */
static inline struct descriptor sample_descriptor(struct sample *s, unsigned i)
{
	struct descriptor d = {.published = SAMPLE_NOW - 100,
			       .valid_until = SAMPLE_NOW + 86400,
			       .nkeys = 1,
			       .flags = RELAY_FLAG_GUARD,
			       .dir_port = 80,
			       .max_dgram = 1440,
			       .mbit = 100};
	memcpy(d.id, s->id[i].public_key, 32);
	d.key[0] =
		(struct onion_key){.keyid = 7, .from = SAMPLE_NOW - 1000, .to = SAMPLE_NOW + 90000};
	rng_bytes(&s->rng, d.key[0].public_key, 32);
	d.v4 = addr_from_ip((uint8_t[]){10, (uint8_t)i, 0, 1}, 4, 9000);
	d.v6 = addr_from_ip((uint8_t[16]){0x20, 1, (uint8_t)(0x10 + i), 0, [15] = 1}, 16, 9001);
	snprintf(d.nickname, sizeof(d.nickname), "relay%u", i);
	snprintf(d.contact, sizeof(d.contact), "operator@example.org");
	return d;
}

static inline void sample_sign(struct sample *s, unsigned i)
{
	int e = descriptor_write(&s->d[i], &s->id[i], s->bytes[i], sizeof(s->bytes[i]),
				 &s->nbytes[i]);
	sample_must(e == 0);
}

/* n authorities of which k sign, and `relays` relays; the last `exits` of them are exits. */
static inline void sample_init(struct sample *s, uint64_t seed, unsigned n, unsigned k,
			       unsigned relays, unsigned exits)
{
	memset(s, 0, sizeof(*s));
	s->rng = seeded_rng(&s->seed, seed);
	s->net = (struct netconf){.net_id = 77, .n = (uint8_t)n, .k = (uint8_t)k};
	params_init(&s->net.params);
	for (unsigned i = 0; i < n; i++)
		sign_keypair_new(&s->authority[i], &s->rng);
	qsort(s->authority, n, sizeof(s->authority[0]), sample_compare);
	for (unsigned i = 0; i < n; i++)
		memcpy(s->net.authority[i].key, s->authority[i].public_key, 32);
	s->n = relays;
	for (unsigned i = 0; i < relays; i++)
		sign_keypair_new(&s->id[i], &s->rng);
	qsort(s->id, relays, sizeof(s->id[0]), sample_compare);
	char err[POLICY_ERROR_BYTES];
	for (unsigned i = 0; i < relays; i++) {
		s->d[i] = sample_descriptor(s, i);
		s->flags[i] = RELAY_FLAG_GUARD;
		s->weight[i] = 100;
		if (i + exits >= relays) {
			int e = policy_add_text(&s->d[i].policy, "accept *:*", err);
			sample_must(e == 0);
			s->d[i].flags |= RELAY_FLAG_EXIT;
			s->flags[i] |= RELAY_FLAG_EXIT;
		}
		sample_sign(s, i);
	}
}

/* The consensus of all relays valid after `when`, without signatures, in memory of its own. */
static inline struct consensus *sample_body(const struct sample *s, uint64_t when)
{
	struct consensus *c = calloc(1, sizeof(*c));
	sample_must(c);
	c->net_id = s->net.net_id;
	c->serial = c->valid_after = when;
	c->fresh_until = when + 3600;
	c->valid_until = when + 86400;
	c->relay = calloc(s->n + 1, sizeof(*c->relay));
	c->revoked = calloc(s->n + 1, sizeof(*c->revoked));
	c->param = calloc(PARAM_COUNT + 1, sizeof(*c->param));
	sample_must(c->relay && c->revoked && c->param);
	for (unsigned i = 0; i < s->n; i++) {
		struct consensus_relay *r = &c->relay[c->nrelays++];
		memcpy(r->id, s->id[i].public_key, 32);
		descriptor_hash(s->bytes[i], s->nbytes[i], r->hash);
		r->flags = s->flags[i];
		r->weight = s->weight[i];
	}
	return c;
}

/* Sign c by the authorities whose bits stand in `who`, and encode it. */
static inline uint8_t *sample_encode(const struct sample *s, struct consensus *c, unsigned who,
				     size_t *ret_n)
{
	uint8_t *body, *all;
	size_t n;
	int e = consensus_write(c, false, &body, &n);
	sample_must(e == 0);
	hash(c->body_hash, body, n);
	free(body);
	c->nsignatures = 0;
	for (unsigned i = 0; i < NETCONF_AUTHORITIES_MAX; i++) {
		if (!(who >> i & 1))
			continue;
		struct consensus_signature *sig = &c->signature[c->nsignatures++];
		sig->authority = (uint8_t)i;
		e = consensus_sign(c->body_hash, &s->authority[i], sig->sig);
		sample_must(e == 0);
	}
	e = consensus_write(c, true, &all, ret_n);
	sample_must(e == 0);
	return all;
}

/* {u16 len, descriptor}… of all relays, in consensus order. */
static inline uint8_t *sample_blob(const struct sample *s, size_t *ret_n)
{
	uint8_t *p = malloc(s->n * (2 + DESCRIPTOR_MAX_BYTES) + 1);
	sample_must(p);
	struct writer w;
	writer_init(&w, p, s->n * (2 + DESCRIPTOR_MAX_BYTES));
	for (unsigned i = 0; i < s->n; i++) {
		writer_u16(&w, (uint16_t)s->nbytes[i]);
		writer_put(&w, s->bytes[i], s->nbytes[i]);
	}
	*ret_n = w.used;
	return p;
}

/* The whole directory at SAMPLE_NOW. */
static inline struct directory *sample_directory(const struct sample *s)
{
	size_t n, nblob;
	struct consensus *body = sample_body(s, SAMPLE_NOW - 60), *c;
	uint8_t *bytes = sample_encode(s, body, (1u << s->net.n) - 1, &n);
	enum dir_result r = consensus_accept(&s->net, NULL, SAMPLE_NOW, bytes, n, &c);
	sample_must(r == DIR_OK);
	uint8_t *blob = sample_blob(s, &nblob);
	struct directory *d;
	r = directory_new(c, &s->net.params, blob, nblob, NULL, &d);
	sample_must(r == DIR_OK);
	free(blob);
	free(bytes);
	consensus_free(body);
	return d;
}
