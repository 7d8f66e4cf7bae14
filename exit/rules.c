/* exit/rules.c - see rules.h. The policy is split by family into masks and values; addresses are a
 * hash set with a secret seed, so that nobody chooses addresses that collide. */
#include "exit/rules.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"

/* An address as two numbers; IPv4 in its mapped form. */
struct number {
	uint64_t hi, lo;
};

/* The addresses whose bits under the mask are those of net. */
struct block {
	struct number net, mask;
};

struct rule {
	struct block to;
	uint16_t lo, hi;
	uint8_t proto; /* 0: any */
	bool accept;
};

struct rules {
	bool has_lease[2], has_own[2]; /* IPv4, IPv6 */
	struct block lease[2];
	struct number own[2];
	uint16_t n[2]; /* rules */
	struct rule rule[2][POLICY_RULES_MAX];
	uint16_t first[2][256]; /* the first one for addresses that begin with this byte */
	uint64_t seed[2];
	size_t mask;	      /* slots - 1 */
	struct number slot[]; /* zero: empty */
};

/* Of either family. */
static struct number number_of(const struct addr *a)
{
	if (a->family == 4)
		return (struct number){0, UINT64_C(0xffff) << 32 | load_be32(a->ip)};
	return (struct number){load_be64(a->ip), load_be64(a->ip + 8)};
}

static bool is_same(struct number a, struct number b)
{
	return ((a.hi ^ b.hi) | (a.lo ^ b.lo)) == 0;
}

static bool is_in(const struct block *b, struct number n)
{
	return is_same((struct number){n.hi & b->mask.hi, n.lo & b->mask.lo}, b->net);
}

static bool is_zero(struct number n)
{
	return !(n.hi | n.lo);
}

static uint64_t high_bits(unsigned n)
{
	return n >= 64 ? UINT64_MAX : n ? ~(UINT64_MAX >> n) : 0;
}

static struct block block_of(const struct prefix *p)
{
	unsigned len = p->len + (p->addr.family == 6 ? 0 : 96);

	return (struct block){
		.net = number_of(&p->addr),
		.mask = {high_bits(len), len > 64 ? high_bits(len - 64) : 0},
	};
}

static void take_rule(struct rules *r, const struct policy_rule *from)
{
	unsigned f = from->prefix.addr.family == 6;

	r->rule[f][r->n[f]++] = (struct rule){
		.to = block_of(&from->prefix),
		.lo = from->lo,
		.hi = from->hi,
		.proto = from->proto,
		.accept = from->accept,
	};
}

/* An address's first byte; of IPv4 the one behind the mapping's prefix. */
static uint8_t first_byte(struct number n, unsigned f)
{
	return (uint8_t)(f ? n.hi >> 56 : n.lo >> 24);
}

/* Most rules are about special ranges, which begin with few bytes: so most addresses skip them. */
static void index_rules(struct rules *r, unsigned f)
{
	for (unsigned byte = 0; byte < 256; byte++) {
		uint16_t i = 0;

		while (i < r->n[f] && ((byte ^ first_byte(r->rule[f][i].to.net, f)) &
				       first_byte(r->rule[f][i].to.mask, f)))
			i++;
		r->first[f][byte] = i;
	}
}

/* --- the set of closed addresses --- */

static size_t slot_of(const struct rules *r, struct number n)
{
	uint64_t h = (n.hi ^ r->seed[0]) * (r->seed[1] | 1);

	h = ((h ^ h >> 32) + n.lo) * UINT64_C(0x9e3779b97f4a7c15);
	h = (h ^ h >> 29) * (r->seed[0] | 1);
	return (h ^ h >> 32) & r->mask;
}

static bool is_closed(const struct rules *r, struct number n)
{
	for (size_t i = slot_of(r, n);; i = (i + 1) & r->mask) {
		if (is_zero(r->slot[i]))
			return false;
		if (is_same(r->slot[i], n))
			return true;
	}
}

static void close_address(struct rules *r, const struct addr *a)
{
	struct number n = number_of(a);
	size_t i = slot_of(r, n);

	if (is_zero(n) || is_closed(r, n))
		return;
	while (!is_zero(r->slot[i]))
		i = (i + 1) & r->mask;
	r->slot[i] = n;
}

static void set_range(struct rules *r, unsigned f, const struct prefix *lease,
		      const struct addr *own)
{
	r->has_lease[f] = lease->addr.family != 0;
	if (r->has_lease[f])
		r->lease[f] = block_of(lease);
	r->has_own[f] = own->family != 0;
	if (r->has_own[f])
		r->own[f] = number_of(own);
}

struct rules *rules_new(const struct rules_config *c, const struct rng *rng)
{
	size_t slots = 16;
	struct rules *r;

	while (slots < 2 * c->nclosed + 2) /* always an empty one, so that a search ends */
		slots *= 2;
	r = calloc(1, sizeof(*r) + slots * sizeof(r->slot[0]));
	if (!r)
		return NULL;
	rng_bytes(rng, r->seed, sizeof(r->seed));
	r->mask = slots - 1;
	set_range(r, 0, &c->lease4, &c->own4);
	set_range(r, 1, &c->lease6, &c->own6);
	for (unsigned i = 0; i < c->policy->n; i++)
		take_rule(r, &c->policy->rule[i]);
	for (unsigned f = 0; f < 2; f++)
		index_rules(r, f);
	for (size_t i = 0; i < c->nclosed; i++)
		close_address(r, &c->closed[i]);
	return r;
}

void rules_free(void *r)
{
	free(r);
}

/* --- judging --- */

/* IPv4 addresses travel inside some IPv6 ones, and a translator on the way would take them out.
 * (What else is special is in the policy.) */
static bool embeds_special(const struct addr *a)
{
	static const uint8_t nat64[12] = {0x00, 0x64, 0xff, 0x9b};

	if (a->family != 6 ||
	    (load_be16(a->ip) != 0x2002 && memcmp(a->ip, nat64, sizeof(nat64)) != 0 &&
	     load_be32(a->ip) != 0x20010000))
		return false;
	return addr_is_special(a);
}

static bool policy_passes(const struct rules *r, const struct ip_view *v, struct number n)
{
	unsigned f = v->version == 6;
	bool any_port = v->fragment_offset != 0;
	const struct rule *at = r->rule[f] + r->first[f][first_byte(n, f)];

	for (const struct rule *end = r->rule[f] + r->n[f]; at < end; at++) {
		if (!is_in(&at->to, n))
			continue;
		if (at->proto && at->proto != v->protocol)
			continue;
		if (any_port ? !at->accept && (at->lo != 0 || at->hi != UINT16_MAX)
			     : v->dst_port < at->lo || v->dst_port > at->hi)
			continue;
		return at->accept;
	}
	return false;
}

enum rules_verdict rules_judge(const struct rules *r, const struct ip_view *v)
{
	unsigned f = v->version == 6;
	struct number n = number_of(&v->dst);

	if (r->has_own[f] && is_same(n, r->own[f]))
		return RULES_OWN;
	if (is_closed(r, n) || (r->has_lease[f] && is_in(&r->lease[f], n)) ||
	    embeds_special(&v->dst))
		return RULES_CLOSED;
	if (policy_passes(r, v, n))
		return RULES_PASS;
	return addr_is_special(&v->dst) ? RULES_CLOSED : RULES_POLICY;
}
