/* directory/directory.c - a consensus joined with its descriptors. */
#include "directory/directory.h"
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"

#define LENGTH_BYTES 2
#define ID_AT	     4 /* in a descriptor, after the magic */

/* Where each listed relay's descriptor lies, while a directory is made. */
struct found {
	const uint8_t *p; /* NULL: not found */
	uint16_t n;
};

struct join {
	const struct consensus *c;
	struct found *found; /* by place in the consensus */
	size_t bytes;	     /* of all that were found, with their lengths */
	bool spoiled;	     /* something was cut off or malformed */
};

size_t directory_descriptors_max(const struct consensus *c)
{
	return (size_t)c->nrelays * (LENGTH_BYTES + DESCRIPTOR_MAX_BYTES);
}

void directory_free(struct directory *d)
{
	if (!d)
		return;
	consensus_free(d->consensus);
	free(d->relay);
	free(d->by_addr);
	free(d->blob);
	free(d);
}

/* Take one descriptor if the consensus names exactly these bytes. */
static void take(struct join *j, const uint8_t *p, size_t n)
{
	if (n < ID_AT + 32)
		return;
	const struct consensus_relay *listed = consensus_find(j->c, p + ID_AT);
	if (!listed || j->found[listed - j->c->relay].p)
		return;
	uint8_t h[32];
	struct descriptor d;
	descriptor_hash(p, n, h);
	if (memcmp(h, listed->hash, sizeof(h)))
		return;
	if (descriptor_parse_known(p, n, &d)) {
		j->spoiled = true;
		return;
	}
	j->found[listed - j->c->relay] = (struct found){p, (uint16_t)n};
	j->bytes += LENGTH_BYTES + n;
}

static void take_all(struct join *j, const uint8_t *p, size_t n)
{
	struct reader r;
	reader_init(&r, p, n);
	while (r.left && !r.bad) {
		size_t len = reader_u16(&r);
		const uint8_t *descriptor = reader_take(&r, len);
		if (descriptor)
			take(j, descriptor, len);
	}
	j->spoiled |= r.bad;
}

static void fill_relay(struct relay *r, const struct consensus_relay *listed, const uint8_t *raw,
		       uint16_t nraw, const struct descriptor *d)
{
	memcpy(r->id, listed->id, sizeof(r->id));
	memcpy(r->hash, listed->hash, sizeof(r->hash));
	r->flags = listed->flags;
	r->weight = listed->weight;
	r->v4 = d->v4;
	r->v6 = d->v6;
	r->nkeys = d->nkeys;
	memcpy(r->key, d->key, sizeof(r->key));
	r->dir_port = d->dir_port;
	r->max_dgram = d->max_dgram;
	r->mbit = d->mbit;
	memcpy(r->family, d->family, sizeof(r->family));
	r->valid_until = d->valid_until;
	memcpy(r->nickname, d->nickname, sizeof(r->nickname));
	r->raw = raw;
	r->nraw = nraw;
}

/* IPv4 before IPv6, then by bytes, then by port. */
static int compare_addr(const struct addr *a, const struct addr *b)
{
	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	int order = memcmp(a->ip, b->ip, sizeof(a->ip));
	return order ? order : (a->port > b->port) - (a->port < b->port);
}

static int by_addr(const void *a, const void *b)
{
	const struct relay_at *x = a, *y = b;
	return compare_addr(&x->addr, &y->addr);
}

/* Copy what was found into d's own memory, in the order of the consensus. */
static void fill(struct directory *d, const struct join *j)
{
	struct writer w;
	writer_init(&w, d->blob, j->bytes);
	for (unsigned i = 0; i < j->c->nrelays; i++) {
		struct descriptor parsed;
		const struct found *f = &j->found[i];
		if (!f->p || descriptor_parse_known(f->p, f->n, &parsed))
			continue;
		struct relay *r = &d->relay[d->n++];
		writer_u16(&w, f->n);
		uint8_t *raw = writer_reserve(&w, f->n);
		memcpy(raw, f->p, f->n);
		fill_relay(r, &j->c->relay[i], raw, f->n, &parsed);
		if (r->v4.family)
			d->by_addr[d->nby_addr++] = (struct relay_at){r->v4, r};
		if (r->v6.family)
			d->by_addr[d->nby_addr++] = (struct relay_at){r->v6, r};
	}
	d->nblob = w.used;
	d->missing = j->c->nrelays - d->n;
	qsort(d->by_addr, d->nby_addr, sizeof(d->by_addr[0]), by_addr);
}

static struct directory *make(const struct join *j)
{
	struct directory *d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	size_t n = j->c->nrelays ? j->c->nrelays : 1;
	d->relay = calloc(n, sizeof(*d->relay));
	d->by_addr = calloc(2 * n, sizeof(*d->by_addr));
	d->blob = malloc(j->bytes ? j->bytes : 1);
	if (!d->relay || !d->by_addr || !d->blob) {
		directory_free(d);
		return NULL;
	}
	fill(d, j);
	return d;
}

enum dir_result directory_new(struct consensus *c, const struct params *base, const uint8_t *p,
			      size_t n, const struct directory *old, struct directory **ret)
{
	struct join j = {.c = c};
	j.found = calloc(c->nrelays ? c->nrelays : 1, sizeof(*j.found));
	if (!j.found)
		return DIR_NO_MEMORY;
	take_all(&j, p, n);
	for (size_t i = 0; old && i < old->n; i++)
		take(&j, old->relay[i].raw, old->relay[i].nraw);
	struct directory *d = make(&j);
	free(j.found);
	if (!d)
		return DIR_NO_MEMORY;
	if (j.spoiled && d->missing) {
		directory_free(d);
		return DIR_CUT;
	}
	consensus_params(c, base, &d->params);
	d->consensus = c;
	*ret = d;
	return DIR_OK;
}

static int compare_id(const void *key, const void *member)
{
	return memcmp(key, ((const struct relay *)member)->id, 32);
}

const struct relay *directory_find(const struct directory *d, const uint8_t id[32])
{
	return d->n ? bsearch(id, d->relay, d->n, sizeof(d->relay[0]), compare_id) : NULL;
}

const struct relay *directory_find_addr(const struct directory *d, const struct addr *a)
{
	if (!d->nby_addr)
		return NULL;
	struct relay_at key = {*a, NULL};
	const struct relay_at *at =
		bsearch(&key, d->by_addr, d->nby_addr, sizeof(d->by_addr[0]), by_addr);
	return at ? at->relay : NULL;
}

bool relay_policy(const struct relay *r, struct policy *ret)
{
	struct descriptor d;
	if (descriptor_parse_known(r->raw, r->nraw, &d) || !d.policy.n)
		return false;
	*ret = d.policy;
	return true;
}

const struct onion_key *relay_onion_key(const struct relay *r, uint64_t now_s)
{
	return onion_key_current(r->key, r->nkeys, now_s);
}

const struct addr *relay_addr(const struct relay *r, bool have_v4, bool have_v6)
{
	if (have_v4 && r->v4.family)
		return &r->v4;
	return have_v6 && r->v6.family ? &r->v6 : NULL;
}

const struct addr *relay_addr_from(const struct relay *to, const struct relay *from)
{
	return relay_addr(to, from->v4.family != 0, from->v6.family != 0);
}
