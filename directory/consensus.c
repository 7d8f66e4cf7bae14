/* directory/consensus.c - the signed list of relays: decode, verify, judge against the one that is
 * held. */
#include "directory/consensus.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"
#include "crypto/kdf.h"
#include "directory/consensus_wire.h"

#define LABEL "sispop1 cons"
#define MAGIC "SPC1"

void consensus_free(struct consensus *c)
{
	if (!c)
		return;
	free(c->param);
	free(c->relay);
	free(c->revoked);
	free(c->bytes);
	free(c);
}

static void read_body(struct wire *w, struct consensus *c)
{
	wire_magic(w, MAGIC);
	c->net_id = reader_u32(&w->r);
	c->serial = reader_u64(&w->r);
	c->valid_after = reader_u64(&w->r);
	c->fresh_until = reader_u64(&w->r);
	c->valid_until = reader_u64(&w->r);
	if (c->serial != c->valid_after || c->valid_after >= c->fresh_until ||
	    c->fresh_until > c->valid_until)
		wire_break(w);
	c->param = wire_params(w, &c->nparams);
	c->relay = wire_relays(w, &c->nrelays);
	if (reader_u16(&w->r) != 0) /* names: none in version 1 */
		wire_break(w);
	c->revoked = wire_ids(w, CONSENSUS_REVOKED_MAX, &c->nrevoked);
}

static void read_signatures(struct wire *w, struct consensus *c)
{
	uint8_t n = reader_u8(&w->r);
	if (n > NETCONF_AUTHORITIES_MAX) {
		wire_break(w);
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		struct consensus_signature *s = &c->signature[i];
		s->authority = reader_u8(&w->r);
		reader_copy(&w->r, s->sig, sizeof(s->sig));
		if (i && s->authority <= s[-1].authority)
			wire_break(w);
	}
	c->nsignatures = n;
}

/* Whoever is revoked is no relay, whatever else the authorities say of it. */
static void remove_revoked(struct consensus *c)
{
	unsigned kept = 0;
	for (unsigned i = 0; i < c->nrelays; i++)
		if (!consensus_is_revoked(c, c->relay[i].id))
			c->relay[kept++] = c->relay[i];
	c->nrelays = (uint16_t)kept;
}

static bool keep_bytes(struct consensus *c, const uint8_t *p, size_t n)
{
	c->bytes = malloc(n);
	if (!c->bytes)
		return false;
	memcpy(c->bytes, p, n);
	c->nbytes = n;
	return true;
}

enum dir_result consensus_parse(const uint8_t *p, size_t n, struct consensus **ret)
{
	if (n > CONSENSUS_MAX_BYTES)
		return DIR_MALFORMED;
	struct consensus *c = calloc(1, sizeof(*c));
	if (!c)
		return DIR_NO_MEMORY;
	struct wire w = {0};
	reader_init(&w.r, p, n);
	read_body(&w, c);
	c->nbody = n - w.r.left;
	read_signatures(&w, c);
	enum dir_result result = wire_result(&w);
	if (result == DIR_OK && !keep_bytes(c, p, n))
		result = DIR_NO_MEMORY;
	if (result != DIR_OK) {
		consensus_free(c);
		return result;
	}
	hash(c->body_hash, p, c->nbody);
	remove_revoked(c);
	*ret = c;
	return DIR_OK;
}

int consensus_sign(const uint8_t body_hash[32], const struct sign_keypair *key,
		   uint8_t out[SIGN_BYTES])
{
	return sign_message(out, key, LABEL, body_hash, 32);
}

bool consensus_verify(const uint8_t body_hash[32], const uint8_t key[32],
		      const uint8_t sig[SIGN_BYTES])
{
	return sign_verify(sig, key, LABEL, body_hash, 32);
}

unsigned consensus_signed_by(const struct consensus *c, const struct netconf *net,
			     unsigned *ret_bad)
{
	unsigned good = 0, bad = 0;
	for (unsigned i = 0; i < c->nsignatures; i++) {
		const struct consensus_signature *s = &c->signature[i];
		if (s->authority < net->n &&
		    consensus_verify(c->body_hash, net->authority[s->authority].key, s->sig))
			good++;
		else
			bad++;
	}
	if (ret_bad)
		*ret_bad = bad;
	return good;
}

static enum dir_result judge(const struct netconf *net, const struct consensus *have,
			     uint64_t now_s, const struct consensus *c)
{
	unsigned bad;
	if (c->net_id != net->net_id)
		return DIR_FOREIGN_NET;
	if (consensus_signed_by(c, net, &bad) < net->k)
		return bad ? DIR_FORGED : DIR_SHORT_SIGNED;
	if (have && c->serial < have->serial)
		return DIR_ROLLED_BACK;
	if (have && c->serial == have->serial)
		return memcmp(c->body_hash, have->body_hash, 32) ? DIR_CONFLICT : DIR_SAME;
	if (now_s != CONSENSUS_NO_CLOCK && now_s >= c->valid_until)
		return DIR_STALE;
	if (now_s != CONSENSUS_NO_CLOCK && c->valid_after > now_s &&
	    c->valid_after - now_s > CONSENSUS_SKEW_SECONDS)
		return DIR_FUTURE;
	return DIR_OK;
}

enum dir_result consensus_accept(const struct netconf *net, const struct consensus *have,
				 uint64_t now_s, const uint8_t *p, size_t n, struct consensus **ret)
{
	struct consensus *c;
	enum dir_result result = consensus_parse(p, n, &c);
	if (result != DIR_OK)
		return result;
	result = judge(net, have, now_s, c);
	if (result == DIR_OK)
		*ret = c;
	else
		consensus_free(c);
	return result;
}

bool consensus_is_fresh(const struct consensus *c, uint64_t now_s)
{
	return now_s < c->fresh_until;
}

bool consensus_is_valid(const struct consensus *c, uint64_t now_s)
{
	return now_s < c->valid_until &&
	       (c->valid_after <= now_s || c->valid_after - now_s <= CONSENSUS_SKEW_SECONDS);
}

uint64_t consensus_clock(const struct consensus *c, uint64_t wall_s, nsec_t since_fetched)
{
	if (consensus_is_valid(c, wall_s))
		return wall_s;
	return c->valid_after + (since_fetched > 0 ? (uint64_t)(since_fetched / NSEC_PER_SEC) : 0);
}

uint64_t consensus_next_fetch(const struct consensus *c, uint64_t now_s, const struct rng *rng)
{
	uint64_t half = (c->valid_until - c->fresh_until) / 2;
	uint64_t period = c->fresh_until - c->valid_after;
	uint64_t when = c->fresh_until + rng_below(rng, (half < period ? half : period) + 1);
	return when > now_s ? when : now_s + 1;
}

static int compare_id(const void *key, const void *member)
{
	return memcmp(key, member, 32); /* an ID comes first in each member */
}

const struct consensus_relay *consensus_find(const struct consensus *c, const uint8_t id[32])
{
	_Static_assert(offsetof(struct consensus_relay, id) == 0, "compare_id reads the ID there");
	if (!c->nrelays)
		return NULL;
	return bsearch(id, c->relay, c->nrelays, sizeof(c->relay[0]), compare_id);
}

bool consensus_is_revoked(const struct consensus *c, const uint8_t id[32])
{
	return c->nrevoked && bsearch(id, c->revoked, c->nrevoked, 32, compare_id);
}

void consensus_params(const struct consensus *c, const struct params *base, struct params *ret)
{
	struct params p = *base;
	for (unsigned i = 0; i < c->nparams; i++)
		params_take(&p, c->param[i].id, c->param[i].value);
	/* Values that are each in range may still contradict each other; network.conf's do not. */
	*ret = params_check(&p) ? *base : p;
}

static bool write_fields(struct writer *w, const struct consensus *c, bool with_signatures)
{
	writer_put(w, MAGIC, 4);
	writer_u32(w, c->net_id);
	writer_u64(w, c->serial);
	writer_u64(w, c->valid_after);
	writer_u64(w, c->fresh_until);
	writer_u64(w, c->valid_until);
	bool good = wire_put_params(w, c->param, c->nparams) &&
		    wire_put_relays(w, c->relay, c->nrelays);
	writer_u16(w, 0);
	good = good && wire_put_ids(w, c->revoked, c->nrevoked);
	if (!good || !with_signatures)
		return good;
	writer_u8(w, c->nsignatures);
	for (unsigned i = 0; i < c->nsignatures; i++) {
		writer_u8(w, c->signature[i].authority);
		writer_put(w, c->signature[i].sig, SIGN_BYTES);
		if (i && c->signature[i].authority <= c->signature[i - 1].authority)
			return false;
	}
	return c->nsignatures <= NETCONF_AUTHORITIES_MAX;
}

int consensus_write(const struct consensus *c, bool with_signatures, uint8_t **ret, size_t *ret_n)
{
	size_t room = 4 + 4 + 4 * 8 + 2 + (size_t)c->nparams * 6 + 2 +
		      (size_t)c->nrelays * CONSENSUS_RELAY_BYTES + 2 + 2 +
		      (size_t)c->nrevoked * 32 + 1 + NETCONF_AUTHORITIES_MAX * (1 + SIGN_BYTES);
	if (c->nsignatures > NETCONF_AUTHORITIES_MAX)
		return -EINVAL;
	uint8_t *out = malloc(room);
	if (!out)
		return -ENOMEM;
	struct writer w;
	writer_init(&w, out, room);
	if (!write_fields(&w, c, with_signatures) || w.bad) {
		free(out);
		return -EINVAL;
	}
	*ret = out;
	*ret_n = w.used;
	return 0;
}
