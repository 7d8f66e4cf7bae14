/* authority/relays.c - a sorted table of relays, what they said and how they answered. */
#include "authority/relays.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"

int relays_init(struct relays *t, size_t most)
{
	*t = (struct relays){.most = most};
	t->relay = calloc(most, sizeof(struct known_relay *));
	return t->relay ? 0 : -ENOMEM;
}

static void relay_free(struct known_relay *r)
{
	for (unsigned i = 0; i < r->n; i++)
		free(r->kept[i].bytes);
	free(r);
}

void relays_done(struct relays *t)
{
	for (size_t i = 0; i < t->n; i++)
		relay_free(t->relay[i]);
	free(t->relay);
	*t = (struct relays){0};
}

/* The place of this ID, or where it would stand. */
static size_t place_of(const struct relays *t, const uint8_t id[32])
{
	size_t lo = 0, hi = t->n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (memcmp(t->relay[mid]->id, id, 32) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct known_relay *relays_find(const struct relays *t, const uint8_t id[32])
{
	size_t at = place_of(t, id);
	return at < t->n && !memcmp(t->relay[at]->id, id, 32) ? t->relay[at] : NULL;
}

static void remove_at(struct relays *t, size_t at)
{
	relay_free(t->relay[at]);
	memmove(&t->relay[at], &t->relay[at + 1], (t->n - at - 1) * sizeof(t->relay[0]));
	t->n--;
}

/* The one that never answered, or is crowded, and came first makes room. One under test has
 * somebody waiting for it. */
static bool make_room(struct relays *t)
{
	size_t worst = t->n;
	for (size_t i = 0; i < t->n; i++)
		if ((!t->relay[i]->answered || t->relay[i]->crowded) && !t->relay[i]->probing &&
		    (worst == t->n || t->relay[i]->heard < t->relay[worst]->heard))
			worst = i;
	if (worst == t->n)
		return false;
	remove_at(t, worst);
	return true;
}

static struct known_relay *add(struct relays *t, const uint8_t id[32])
{
	struct known_relay *r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	memcpy(r->id, id, 32);
	size_t at = place_of(t, id);
	memmove(&t->relay[at + 1], &t->relay[at], (t->n - at) * sizeof(t->relay[0]));
	t->relay[at] = r;
	t->n++;
	return r;
}

/* Put it first; the oldest falls out when there are too many. */
static void keep(struct known_relay *r, const struct known_descriptor *k)
{
	if (r->n == DESCRIPTORS_KEPT)
		free(r->kept[--r->n].bytes);
	memmove(&r->kept[1], &r->kept[0], r->n * sizeof(r->kept[0]));
	r->kept[0] = *k;
	r->n++;
}

static bool has_moved(const struct known_relay *r, const struct descriptor *d)
{
	return !addr_equal(&r->d.v4, &d->v4) || !addr_equal(&r->d.v6, &d->v6);
}

/* Another address must be tested before it counts. */
static void learn(struct known_relay *r, const struct descriptor *d, uint64_t now_s)
{
	bool moved = has_moved(r, d);
	r->d = *d;
	r->heard = now_s;
	if (moved) {
		r->reach4 = r->reach6 = REACH_UNKNOWN;
		r->answered = 0;
		r->probe_at = now_s;
	}
}

static enum take judge(const struct known_relay *r, const struct descriptor *d, const uint8_t h[32],
		       uint64_t now_s)
{
	if (!descriptor_is_valid_at(d, now_s))
		return TAKE_EXPIRED;
	for (unsigned i = 0; r && i < r->n; i++)
		if (!memcmp(r->kept[i].hash, h, 32))
			return TAKE_SAME;
	return r && d->published <= r->d.published ? TAKE_OLDER : TAKE_NEW;
}

enum take relays_take(struct relays *t, const uint8_t *p, size_t n, uint64_t now_s,
		      struct known_relay **ret_relay)
{
	struct descriptor d;
	struct known_descriptor k = {.n = (uint16_t)n};
	int e = descriptor_parse(p, n, &d);
	if (e)
		return e == -EKEYREJECTED ? TAKE_FORGED : TAKE_BAD;
	descriptor_hash(p, n, k.hash);
	k.published = d.published;
	struct known_relay *r = relays_find(t, d.id);
	enum take result = judge(r, &d, k.hash, now_s);
	if (result != TAKE_NEW)
		return result;
	if (!r && t->n == t->most && !make_room(t))
		return TAKE_FULL;
	k.bytes = malloc(n);
	if (!k.bytes)
		return TAKE_NO_MEMORY;
	memcpy(k.bytes, p, n);
	if (!r)
		r = add(t, d.id);
	if (!r) {
		free(k.bytes);
		return TAKE_NO_MEMORY;
	}
	keep(r, &k);
	learn(r, &d, now_s);
	if (ret_relay)
		*ret_relay = r;
	return TAKE_NEW;
}

void relays_tick(struct relays *t, uint64_t now_s)
{
	for (size_t i = t->n; i > 0; i--) {
		const struct known_relay *r = t->relay[i - 1];
		uint64_t seen = r->answered > r->heard ? r->answered : r->heard;
		if (!r->probing && (now_s >= r->d.valid_until || seen + RELAY_FORGOTTEN_S < now_s))
			remove_at(t, i - 1);
	}
}

void relay_on_probe(struct known_relay *r, unsigned family, enum reach result, uint64_t now_s)
{
	if (family == 4)
		r->reach4 = result;
	else
		r->reach6 = result;
	bool good4 = !r->d.v4.family || r->reach4 == REACH_ALIVE || r->reach4 == REACH_NONE;
	bool good6 = !r->d.v6.family || r->reach6 == REACH_ALIVE || r->reach6 == REACH_NONE;
	bool alive = (r->d.v4.family && r->reach4 == REACH_ALIVE) ||
		     (r->d.v6.family && r->reach6 == REACH_ALIVE);
	if (good4 && good6 && alive)
		r->answered = now_s;
}

bool relay_is_running(const struct known_relay *r, uint64_t now_s, uint64_t within_s)
{
	if (within_s < RELAY_RUNNING_LEAST_S)
		within_s = RELAY_RUNNING_LEAST_S;
	return r->answered && now_s <= r->answered + within_s && now_s < r->d.valid_until;
}

/* An address of one relay, cut to what counts as one. */
struct place {
	uint8_t key[8]; /* family, 4 or 7 bytes */
	struct known_relay *relay;
};

static int by_key_and_id(const void *a, const void *b)
{
	const struct place *x = a, *y = b;
	int order = memcmp(x->key, y->key, sizeof(x->key));
	return order ? order : memcmp(x->relay->id, y->relay->id, 32);
}

static size_t add_place(struct place *to, struct known_relay *r, const struct addr *a)
{
	if (!a->family)
		return 0;
	*to = (struct place){.key = {a->family}, .relay = r};
	memcpy(to->key + 1, a->ip, a->family == 4 ? 4 : 7);
	return 1;
}

int relays_mark_crowded(struct relays *t, uint64_t now_s, uint64_t within_s)
{
	struct place *place = t->per_address ? calloc(2 * t->n + 1, sizeof(*place)) : NULL;
	size_t n = 0, same = 0;
	if (!place)
		return t->per_address ? -ENOMEM : 0;
	for (size_t i = 0; i < t->n; i++) {
		struct known_relay *r = t->relay[i];
		r->crowded = false;
		if (!relay_is_running(r, now_s, within_s))
			continue;
		n += add_place(&place[n], r, &r->d.v4);
		n += add_place(&place[n], r, &r->d.v6);
	}
	qsort(place, n, sizeof(*place), by_key_and_id);
	for (size_t i = 0; i < n; i++) {
		bool again = i && !memcmp(place[i].key, place[i - 1].key, sizeof(place[i].key));
		same = again ? same + 1 : 1;
		place[i].relay->crowded |= same > t->per_address;
	}
	free(place);
	return 0;
}

const struct known_descriptor *relay_descriptor_for(const struct known_relay *r, uint64_t serial,
						    uint64_t margin_s, const uint8_t *listed)
{
	struct descriptor d;
	for (unsigned i = 0; listed && i < r->n; i++)
		if (!memcmp(r->kept[i].hash, listed, 32) &&
		    !descriptor_parse_known(r->kept[i].bytes, r->kept[i].n, &d) &&
		    descriptor_is_valid_at(&d, serial) && descriptor_onion_key(&d, serial))
			return &r->kept[i];
	for (unsigned i = 0; i < r->n; i++)
		if (r->kept[i].published + margin_s <= serial)
			return &r->kept[i];
	return r->n ? &r->kept[r->n - 1] : NULL;
}

/* Flags and weight as far as they can be judged from here: its own word, within reason. */
static void say(struct consensus_relay *to, const struct known_relay *r,
		const struct known_descriptor *k, const struct descriptor *d)
{
	bool accepts = false;
	for (unsigned i = 0; i < d->policy.n; i++)
		accepts |= d->policy.rule[i].accept;
	memcpy(to->id, r->id, 32);
	memcpy(to->hash, k->hash, 32);
	to->flags = d->flags & RELAY_FLAGS_KNOWN;
	if (!accepts)
		to->flags &= ~RELAY_FLAG_EXIT;
	to->weight = d->mbit > RELAY_WEIGHT_MAX ? RELAY_WEIGHT_MAX : d->mbit;
}

static bool is_revoked(const uint8_t (*revoked)[32], size_t n, const uint8_t id[32])
{
	for (size_t i = 0; i < n; i++)
		if (!memcmp(revoked[i], id, 32))
			return true;
	return false;
}

int relays_vote(const struct relays *t, struct vote *v, uint64_t now_s, uint64_t within_s,
		uint64_t margin_s, const struct consensus *current, bool early)
{
	v->relay = calloc(t->n ? t->n : 1, sizeof(*v->relay));
	if (!v->relay)
		return -ENOMEM;
	for (size_t i = 0; i < t->n; i++) {
		const struct known_relay *r = t->relay[i];
		const struct consensus_relay *listed =
			early && current ? consensus_find(current, r->id) : NULL;
		struct descriptor d;
		if (!relay_is_running(r, now_s, within_s) || r->crowded ||
		    is_revoked((const uint8_t(*)[32])v->revoked, v->nrevoked, r->id))
			continue;
		const struct known_descriptor *k =
			relay_descriptor_for(r, v->serial, margin_s, listed ? listed->hash : NULL);
		if (k && !descriptor_parse_known(k->bytes, k->n, &d) && has_moved(r, &d))
			k = &r->kept[0]; /* what was tested is the newest's address */
		if (k && !descriptor_parse_known(k->bytes, k->n, &d) &&
		    descriptor_is_valid_at(&d, v->serial) && v->nrelays < CONSENSUS_RELAYS_MAX)
			say(&v->relay[v->nrelays++], r, k, &d);
	}
	return 0;
}

bool relays_have_new(const struct relays *t, uint64_t now_s, uint64_t within_s,
		     const struct consensus *current, const uint8_t (*revoked)[32], size_t nrevoked)
{
	for (size_t i = 0; i < t->n; i++)
		if (relay_is_running(t->relay[i], now_s, within_s) && !t->relay[i]->crowded &&
		    !is_revoked(revoked, nrevoked, t->relay[i]->id) &&
		    !(current && consensus_find(current, t->relay[i]->id)))
			return true;
	return false;
}

int relays_write(const struct relays *t, uint8_t **ret, size_t *ret_n)
{
	size_t room = 1;
	for (size_t i = 0; i < t->n; i++)
		for (unsigned j = 0; j < t->relay[i]->n; j++)
			room += 2 + t->relay[i]->kept[j].n;
	uint8_t *out = malloc(room);
	if (!out)
		return -ENOMEM;
	struct writer w;
	writer_init(&w, out, room);
	for (size_t i = 0; i < t->n; i++) {
		for (unsigned j = t->relay[i]->n; j > 0; j--) {
			writer_u16(&w, t->relay[i]->kept[j - 1].n);
			writer_put(&w, t->relay[i]->kept[j - 1].bytes, t->relay[i]->kept[j - 1].n);
		}
	}
	*ret = out;
	*ret_n = w.used;
	return 0;
}
