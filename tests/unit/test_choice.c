/* tests/unit/test_choice.c - directory/choice.c: every path keeps the rules, and one is found
 * whenever one exists. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "directory_sample.h"

#define NET_MAX 3000

/* A directory made by hand: no signatures, so that thousands can be made. */
struct paper {
	struct consensus consensus;
	struct directory d;
	struct relay relay[NET_MAX];
	struct seeded seed;
	struct rng rng;
};

static void paper_init(struct paper *p, uint64_t seed, unsigned n)
{
	memset(p, 0, sizeof(*p));
	p->rng = seeded_rng(&p->seed, seed);
	p->d.consensus = &p->consensus;
	p->d.relay = p->relay;
	p->d.n = n;
	params_init(&p->d.params);
	for (unsigned i = 0; i < n; i++) {
		struct relay *r = &p->relay[i];
		r->id[0] = (uint8_t)(i >> 8);
		r->id[1] = (uint8_t)i;
		r->id[2] = 1;
		r->flags = RELAY_FLAG_GUARD;
		r->weight = 100;
		r->nkeys = 1;
		r->key[0] = (struct onion_key){.keyid = 1, .from = 1, .to = UINT64_MAX};
		r->v4 = addr_from_ip((uint8_t[]){(uint8_t)(1 + (i >> 8)), (uint8_t)i, 0, 1}, 4,
				     9000);
	}
}

static struct choice_request request(const struct paper *p, unsigned hops, unsigned exit)
{
	return (struct choice_request){.directory = &p->d,
				       .now_s = SAMPLE_NOW,
				       .hops = hops,
				       .exit_id = p->relay[exit].id,
				       .have_v4 = true};
}

/* ---- the slow one: all paths, each judged as a whole ---- */

static bool live_forbids(const struct choice_request *q, const struct relay *r, unsigned place,
			 unsigned hops)
{
	int role = place + 1 == hops ? 2 : place > 0;
	for (size_t i = 0; i < q->nlive; i++)
		for (unsigned h = 0; h < q->live[i].hops; h++) {
			int other = h + 1 == q->live[i].hops ? 2 : h > 0;
			if (!memcmp(q->live[i].id[h], r->id, 32) && other != role)
				return true;
		}
	return false;
}

static bool pair_is_good(const struct choice_request *q, const struct relay *a,
			 const struct relay *b)
{
	static const uint8_t none[32];
	if (!memcmp(a->id, b->id, 32))
		return false;
	if (memcmp(a->family, none, 32) && !memcmp(a->family, b->family, 32))
		return false;
	if (!q->directory->params.v[PARAM_SUBNET_RULE])
		return true;
	if (a->v4.family && b->v4.family && a->v4.ip[0] == b->v4.ip[0] &&
	    a->v4.ip[1] == b->v4.ip[1])
		return false;
	return !(a->v6.family && b->v6.family && !memcmp(a->v6.ip, b->v6.ip, 4));
}

static bool path_is_good(const struct choice_request *q, const struct relay *const *hop)
{
	for (unsigned i = 0; i < q->hops; i++) {
		bool last = i + 1 == q->hops;
		bool v4 = i ? hop[i - 1]->v4.family && hop[i]->v4.family
			    : q->have_v4 && hop[0]->v4.family;
		bool v6 = i ? hop[i - 1]->v6.family && hop[i]->v6.family
			    : q->have_v6 && hop[0]->v6.family;
		if (!v4 && !v6)
			return false;
		if (!relay_onion_key(hop[i], q->now_s) || live_forbids(q, hop[i], i, q->hops))
			return false;
		if (i == 0 && !last && !(hop[i]->flags & RELAY_FLAG_GUARD))
			return false;
		for (size_t f = 0; f < q->nfailed; f++)
			if (!last && !memcmp(q->failed[f], hop[i]->id, 32))
				return false;
		for (unsigned j = 0; j < i; j++)
			if (!pair_is_good(q, hop[i], hop[j]))
				return false;
	}
	return !memcmp(hop[q->hops - 1]->id, q->exit_id, 32) &&
	       (hop[q->hops - 1]->flags & RELAY_FLAG_EXIT);
}

/* Count up in base n over all hops but the last. */
static bool slow_exists(const struct paper *p, const struct choice_request *q, unsigned exit)
{
	unsigned digit[CHOICE_HOPS_MAX] = {0};
	const struct relay *hop[CHOICE_HOPS_MAX];
	hop[q->hops - 1] = &p->relay[exit];
	for (;;) {
		for (unsigned i = 0; i + 1 < q->hops; i++)
			hop[i] = &p->relay[digit[i]];
		if (path_is_good(q, hop))
			return true;
		unsigned i = 0;
		while (i + 1 < q->hops && ++digit[i] == p->d.n)
			digit[i++] = 0;
		if (i + 1 >= q->hops)
			return false;
	}
}

static void assert_good(const struct choice_request *q, const struct choice *c)
{
	const struct relay *hop[CHOICE_HOPS_MAX];
	assert_int_equal(c->hops, q->hops);
	for (unsigned i = 0; i < c->hops; i++) {
		const struct relay *r = hop[i] = c->hop[i].relay;
		bool v4 = (i ? hop[i - 1]->v4.family : q->have_v4) && r->v4.family;
		assert_true(addr_equal(&c->hop[i].addr, v4 ? &r->v4 : &r->v6));
		assert_ptr_equal(c->hop[i].key, &r->key[0]);
	}
	assert_true(path_is_good(q, hop));
}

/* Few networks, families and addresses, so that every rule bites. */
static void make_wild(struct paper *p, uint64_t seed)
{
	unsigned n = 1 + (unsigned)(seed % 6);
	paper_init(p, seed, n);
	p->d.params.v[PARAM_SUBNET_RULE] = (uint32_t)rng_below(&p->rng, 2);
	for (unsigned i = 0; i < n; i++) {
		struct relay *r = &p->relay[i];
		unsigned kind = (unsigned)rng_below(&p->rng, 4);
		r->v4.ip[1] = (uint8_t)rng_below(&p->rng, 5);
		r->v6 = addr_from_ip(
			(uint8_t[16]){0x20, 1, (uint8_t)rng_below(&p->rng, 5), [15] = 1}, 16, 1);
		if (kind == 0)
			r->v4 = (struct addr){0};
		else if (kind < 3)
			r->v6 = (struct addr){0};
		if (rng_below(&p->rng, 3) == 0)
			r->family[3] = (uint8_t)(1 + rng_below(&p->rng, 2));
		if (rng_below(&p->rng, 4) == 0)
			r->flags = 0;
		if (i == 0 || rng_below(&p->rng, 2))
			r->flags |= RELAY_FLAG_EXIT;
		if (rng_below(&p->rng, 12) == 0)
			r->key[0].to = 5;
		r->weight = (uint32_t)rng_below(&p->rng, 1000);
	}
}

static void choice_finds_a_path_whenever_one_exists(void **state)
{
	(void)state;
	static struct paper p;
	unsigned found = 0, not_found = 0, reasons[CHOICE_RESULT_COUNT] = {0};
	for (uint64_t seed = 1; seed <= 6000; seed++) {
		make_wild(&p, seed);
		unsigned exit = (unsigned)rng_below(&p.rng, p.d.n), n = (unsigned)p.d.n;
		struct choice_request q =
			request(&p, 1 + (unsigned)rng_below(&p.rng, n < 5 ? n + 1 : 5), exit);
		q.have_v4 = rng_below(&p.rng, 4);
		q.have_v6 = !q.have_v4 || rng_below(&p.rng, 2);
		uint8_t failed[2][32];
		q.failed = (const uint8_t(*)[32])failed;
		q.nfailed = rng_below(&p.rng, 3);
		for (size_t i = 0; i < q.nfailed; i++)
			memcpy(failed[i], p.relay[rng_below(&p.rng, n)].id, 32);
		struct choice_path live = {.hops = 1 + (unsigned)rng_below(&p.rng, 4)};
		for (unsigned h = 0; h < live.hops; h++)
			memcpy(live.id[h], p.relay[rng_below(&p.rng, n)].id, 32);
		q.live = &live;
		q.nlive = rng_below(&p.rng, 2);
		q.differ_from = rng_below(&p.rng, 2) ? &live : NULL;
		struct guards g;
		guards_init(&g);
		struct choice c;
		enum choice_result any = choice_make(&q, NULL, &p.rng, &c);
		if (any == CHOICE_OK)
			assert_good(&q, &c);
		enum choice_result guarded = choice_make(&q, &g, &p.rng, &c);
		if (guarded == CHOICE_OK)
			assert_good(&q, &c);
		bool exists = slow_exists(&p, &q, exit);
		if (exists != (any == CHOICE_OK) || exists != (guarded == CHOICE_OK))
			fail_msg("seed %u: exists %d, any %s, guarded %s", (unsigned)seed, exists,
				 choice_result_code(any), choice_result_code(guarded));
		found += exists;
		not_found += !exists;
		reasons[any]++;
	}
	assert_in_range(found, 600, 5400);
	assert_in_range(not_found, 600, 5400);
	assert_int_equal(reasons[CHOICE_STEPS], 0);
	assert_true(reasons[CHOICE_UNDERLAY] && reasons[CHOICE_SUBNET] && reasons[CHOICE_FAMILY]);
	assert_true(reasons[CHOICE_LIVE] && reasons[CHOICE_FAILED] && reasons[CHOICE_TOO_FEW]);
	assert_true(reasons[CHOICE_NOT_AN_EXIT] && reasons[CHOICE_EXIT_KEY]);
}

static void choice_names_the_rule_that_left_no_path(void **state)
{
	(void)state;
	static struct paper p;
	struct choice c;
	paper_init(&p, 1, 4);
	p.relay[3].flags |= RELAY_FLAG_EXIT;
	struct choice_request q = request(&p, 3, 3);
	assert_int_equal(choice_make(&q, NULL, &p.rng, &c), CHOICE_OK);
	q.hops = 0;
	assert_int_equal(choice_make(&q, NULL, &p.rng, &c), CHOICE_HOPS);
	q.hops = 9;
	assert_int_equal(choice_make(&q, NULL, &p.rng, &c), CHOICE_HOPS);
	q.hops = 5;
	assert_int_equal(choice_make(&q, NULL, &p.rng, &c), CHOICE_TOO_FEW);
	q.hops = 3;
	q.exit_id = p.relay[0].id;
	assert_int_equal(choice_make(&q, NULL, &p.rng, &c), CHOICE_NOT_AN_EXIT);
	uint8_t unknown[32] = {9};
	q.exit_id = unknown;
	assert_int_equal(choice_make(&q, NULL, &p.rng, &c), CHOICE_NO_EXIT);
	uint8_t revoked[1][32] = {{9}};
	p.consensus.revoked = revoked;
	p.consensus.nrevoked = 1;
	assert_int_equal(choice_make(&q, NULL, &p.rng, &c), CHOICE_REVOKED);
	q.exit_id = p.relay[3].id;
	for (int i = 0; i < 4; i++)
		p.relay[i].v4.ip[1] = 1;
	assert_int_equal(choice_make(&q, NULL, &p.rng, &c), CHOICE_SUBNET);
	p.d.params.v[PARAM_SUBNET_RULE] = 0;
	assert_int_equal(choice_make(&q, NULL, &p.rng, &c), CHOICE_OK);
	for (int i = 0; i < 4; i++)
		p.relay[i].family[0] = 1;
	assert_int_equal(choice_make(&q, NULL, &p.rng, &c), CHOICE_FAMILY);
	for (int i = 0; i < 4; i++)
		p.relay[i].family[0] = 0;
	q.have_v4 = false;
	q.have_v6 = true;
	assert_int_equal(choice_make(&q, NULL, &p.rng, &c), CHOICE_UNDERLAY);
	q.have_v4 = true;
	struct choice_path live = {.hops = 2};
	memcpy(live.id[0], p.relay[3].id, 32);
	memcpy(live.id[1], p.relay[2].id, 32);
	q.live = &live;
	q.nlive = 1;
	assert_int_equal(choice_make(&q, NULL, &p.rng, &c), CHOICE_EXIT_LIVE);
	q.nlive = 0;
	uint8_t failed[2][32];
	memcpy(failed[0], p.relay[0].id, 32);
	memcpy(failed[1], p.relay[1].id, 32);
	q.failed = (const uint8_t(*)[32])failed;
	q.nfailed = 2;
	assert_int_equal(choice_make(&q, NULL, &p.rng, &c), CHOICE_FAILED);
	q.nfailed = 0;
	for (int i = 0; i < 4; i++)
		p.relay[i].flags &= ~RELAY_FLAG_GUARD;
	assert_int_equal(choice_make(&q, NULL, &p.rng, &c), CHOICE_NO_GUARD_FLAG);
	for (int i = 0; i < CHOICE_RESULT_COUNT; i++)
		assert_true(strlen(choice_result_text(i)) > 10 &&
			    strlen(choice_result_code(i)) > 1);
}

/* 5 relays and 2 exits, as scripts/testnet makes them: 1 to 7 hops, primary and standby at once. */
static void choice_serves_a_small_network(void **state)
{
	(void)state;
	static struct paper p;
	for (unsigned round = 0; round < 50; round++) {
		paper_init(&p, 100 + round, 7);
		p.d.params.v[PARAM_SUBNET_RULE] = 0;
		for (unsigned i = 0; i < 7; i++)
			p.relay[i].v4.ip[1] = 1;
		p.relay[5].flags |= RELAY_FLAG_EXIT;
		p.relay[6].flags |= RELAY_FLAG_EXIT;
		struct guards g;
		guards_init(&g);
		for (unsigned hops = 1; hops <= 7; hops++) {
			struct choice_request q = request(&p, hops, 6);
			struct choice a, b;
			struct choice_path primary;
			assert_int_equal(choice_make(&q, &g, &p.rng, &a), CHOICE_OK);
			assert_good(&q, &a);
			choice_ids(&a, &primary);
			q.live = q.differ_from = &primary;
			q.nlive = 1;
			assert_int_equal(choice_make(&q, &g, &p.rng, &b), CHOICE_OK);
			assert_good(&q, &b);
			if (hops > 1 && hops < 6)
				assert_ptr_not_equal(a.hop[0].relay, b.hop[0].relay);
			if (hops == 3)
				assert_ptr_not_equal(a.hop[1].relay, b.hop[1].relay);
			for (unsigned h = 1; h + 1 < hops && hops < 6; h++)
				assert_false(a.hop[h].relay->flags & RELAY_FLAG_EXIT);
		}
		assert_in_range(g.n, 2, 3);
		struct choice_request q = request(&p, 8, 6);
		struct choice c;
		assert_int_equal(choice_make(&q, &g, &p.rng, &c), CHOICE_TOO_FEW);
	}
}

static void choice_keeps_to_two_guards(void **state)
{
	(void)state;
	static struct paper p;
	paper_init(&p, 7, 200);
	for (unsigned i = 190; i < 200; i++)
		p.relay[i].flags |= RELAY_FLAG_EXIT;
	struct guards g;
	guards_init(&g);
	unsigned by_guard[2] = {0};
	for (int i = 0; i < 200; i++) {
		struct choice_request q = request(&p, 3, 190 + (unsigned)i % 10);
		struct choice c;
		assert_int_equal(choice_make(&q, &g, &p.rng, &c), CHOICE_OK);
		assert_good(&q, &c);
		assert_int_equal(g.n, 2);
		by_guard[!memcmp(c.hop[0].relay->id, g.guard[0].id, 32)]++;
		assert_true(!memcmp(c.hop[0].relay->id, g.guard[0].id, 32) ||
			    !memcmp(c.hop[0].relay->id, g.guard[1].id, 32));
		assert_false(guards_has(&g, c.hop[1].relay->id));
	}
	assert_in_range(by_guard[0], 60, 140);
	/* Guard after guard fails: others are sampled, but no more than 6 in 60 days. */
	uint8_t failed[GUARDS_MAX][32];
	enum choice_result r = CHOICE_OK;
	struct choice_request q = request(&p, 3, 190);
	struct choice c;
	q.failed = (const uint8_t(*)[32])failed;
	for (q.nfailed = 0; r == CHOICE_OK && q.nfailed < GUARDS_MAX; q.nfailed++) {
		r = choice_make(&q, &g, &p.rng, &c);
		if (r == CHOICE_OK)
			memcpy(failed[q.nfailed], c.hop[0].relay->id, 32);
	}
	assert_int_equal(r, CHOICE_GUARDS);
	assert_int_equal(g.n, GUARDS_SAMPLED_MAX);
}

static void choice_follows_weights_up_to_the_cap(void **state)
{
	(void)state;
	static struct paper p;
	unsigned middle[20] = {0};
	paper_init(&p, 8, 20);
	p.relay[19].flags |= RELAY_FLAG_EXIT;
	p.relay[0].flags |= RELAY_FLAG_GUARD;
	for (unsigned i = 1; i < 20; i++)
		p.relay[i].flags &= ~RELAY_FLAG_GUARD;
	p.relay[1].weight = 4000000000u; /* counts as 400 */
	p.relay[2].weight = 200;
	p.relay[3].weight = 0; /* counts as 1 */
	for (int i = 0; i < 4000; i++) {
		struct choice_request q = request(&p, 3, 19);
		struct choice c;
		assert_int_equal(choice_make(&q, NULL, &p.rng, &c), CHOICE_OK);
		middle[c.hop[1].relay->id[1]]++;
	}
	assert_int_equal(middle[0], 0);
	assert_int_equal(middle[19], 0);
	/* 400 + 200 + 1 + 15 * 100 = 2,101 */
	assert_in_range(middle[1], 4000 * 400 / 2101 - 100, 4000 * 400 / 2101 + 100);
	assert_in_range(middle[2], 4000 * 200 / 2101 - 80, 4000 * 200 / 2101 + 80);
	assert_in_range(middle[3], 0, 12);
	assert_in_range(middle[4], 4000 * 100 / 2101 - 60, 4000 * 100 / 2101 + 60);
}

/* A hard one that has an answer, and hard ones that have none: an end comes in bounded time. */
static void choice_ends(void **state)
{
	(void)state;
	static struct paper p;
	struct choice c;
	paper_init(&p, 9, NET_MAX);
	p.relay[NET_MAX - 1].flags |= RELAY_FLAG_EXIT;
	struct choice_request q = request(&p, 8, NET_MAX - 1);
	struct guards g;
	guards_init(&g);
	assert_int_equal(choice_make(&q, &g, &p.rng, &c), CHOICE_OK);
	assert_good(&q, &c);
	paper_init(&p, 9, 60); /* six operators for seven places */
	p.relay[59].flags |= RELAY_FLAG_EXIT;
	for (unsigned i = 0; i < 59; i++)
		p.relay[i].family[0] = (uint8_t)(1 + i % 6);
	q = request(&p, 8, 59);
	enum choice_result r = choice_make(&q, NULL, &p.rng, &c);
	assert_true(r == CHOICE_STEPS || r == CHOICE_FAMILY);
	q.hops = 7;
	assert_int_equal(choice_make(&q, NULL, &p.rng, &c), CHOICE_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(choice_finds_a_path_whenever_one_exists),
		cmocka_unit_test(choice_names_the_rule_that_left_no_path),
		cmocka_unit_test(choice_serves_a_small_network),
		cmocka_unit_test(choice_keeps_to_two_guards),
		cmocka_unit_test(choice_follows_weights_up_to_the_cap),
		cmocka_unit_test(choice_ends),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
