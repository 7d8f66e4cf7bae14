/* tests/unit/test_onion_vectors.c - onion/build.c and onion/dataplane.c against
 * tests/vectors/onion.json, which an independent script made (its head explains the fields).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include "onion/build.h"
#include "unit/chain.h"

static json_t *vectors;

static uint64_t number(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);
	assert_true(json_is_integer(v));
	return (uint64_t)json_integer_value(v);
}

/* The hex string at `key`, into to; its length. */
static size_t bytes(const json_t *o, const char *key, uint8_t *to, size_t room)
{
	const char *hex = json_string_value(json_object_get(o, key));
	assert_non_null(hex);
	size_t n = strlen(hex) / 2;
	assert_true(n <= room);
	for (size_t i = 0; i < n; i++) {
		unsigned v;
		assert_int_equal(sscanf(hex + 2 * i, "%2x", &v), 1);
		to[i] = (uint8_t)v;
	}
	return n;
}

static void exact(const json_t *o, const char *key, uint8_t *to, size_t n)
{
	assert_int_equal(bytes(o, key, to, n), n);
}

/* o[key] is a[0..n). */
static void same(const json_t *o, const char *key, const void *a, size_t n)
{
	uint8_t expected[DATAGRAM_MAX];
	assert_int_equal(bytes(o, key, expected, sizeof(expected)), n);
	assert_memory_equal(expected, a, n);
}

/* A generator that gives out what it is told, in order. */
struct script {
	uint8_t data[4096];
	size_t used, given;
};

static void give(void *arg, void *to, size_t n)
{
	struct script *s = arg;
	assert_true(s->given + n <= s->used);
	memcpy(to, s->data + s->given, n);
	s->given += n;
}

static void add(struct script *s, const json_t *o, const char *key)
{
	s->used += bytes(o, key, s->data + s->used, sizeof(s->data) - s->used);
}

static bool all_given(const struct script *s)
{
	return s->given == s->used;
}

/* --- builds --- */

static void client_makes_the_onion(const json_t *build, unsigned n, struct build_client *client)
{
	json_t *hop = json_object_get(build, "hop");
	struct build_hop hops[HOPS_MAX];
	struct script s = {.used = 0};
	const struct rng rng = {give, &s};
	for (unsigned i = n; i-- > 0;) {
		const json_t *h = json_array_get(hop, i);
		exact(h, "id", hops[i].id, 32);
		exact(h, "b_public", hops[i].onion_key, 32);
		hops[i].keyid = (uint16_t)number(h, "keyid");
		add(&s, h, "x_secret");
	}
	add(&s, json_array_get(hop, 0), "onion_filler");
	uint8_t field[ONION_FIELD_BYTES];
	uint16_t len;
	assert_int_equal(build_onion(client, hops, n, (uint16_t)number(build, "lifetime_s"),
				     (uint32_t)number(build, "time_min"), &rng, field, &len),
			 0);
	assert_int_equal(len, 98 * n);
	assert_true(all_given(&s));
	same(json_array_get(hop, 0), "onion_field", field, sizeof(field));
}

static void same_keys(const json_t *h, const struct path_keys *k)
{
	same(h, "kf", k->kf, 32);
	same(h, "kb", k->kb, 32);
	same(h, "ivf", k->ivf, 12);
	same(h, "ivb", k->ivb, 12);
	same(h, "resume", k->resume, 32);
	assert_int_equal(number(h, "df"), k->df);
	assert_int_equal(number(h, "db"), k->db);
}

/* Hop i peels what it gets, fills the rest up as the next one's vector says. */
static void relay_peels(const json_t *build, unsigned i, unsigned n, struct hs *hs, uint8_t y[32])
{
	const json_t *h = json_array_get(json_object_get(build, "hop"), i);
	const json_t *next =
		i + 1 < n ? json_array_get(json_object_get(build, "hop"), i + 1) : NULL;
	struct script s = {.used = 0};
	const struct rng rng = {give, &s};
	struct onion_keypair key;
	struct build_request r;
	uint8_t id[32], field[ONION_FIELD_BYTES];
	exact(h, "id", id, 32);
	exact(h, "b_public", key.public_key, 32);
	exact(h, "b_secret", key.secret_key, 32);
	exact(h, "onion_field", field, sizeof(field));
	if (next)
		add(&s, next, "onion_filler");
	else
		s.used = ONION_FIELD_BYTES;
	assert_int_equal(build_peel(hs, id, &key, field, (uint16_t)(98 * (n - i)), &rng, &r),
			 PEEL_OK);
	assert_true(all_given(&s));
	assert_int_equal(r.last, number(h, "flags"));
	assert_int_equal(r.fill, number(h, "fill"));
	assert_int_equal(r.inner_len, number(h, "inner_len"));
	same(h, "id_next", r.id_next, 32);
	same(h, "x_public", r.x, 32);
	if (next)
		same(next, "onion_field", r.field, sizeof(r.field));
	s.used = s.given = 0;
	if (!json_object_get(h, "rep"))
		return; /* behind the hop that refuses */
	add(&s, h, "y_secret");
	assert_int_equal(hs_reply_start(hs, &rng, y), 0);
	same(h, "y_public", y, 32);
	struct path_keys k;
	hs_path_keys(hs, &k);
	same_keys(h, &k);
}

static void relay_replies(const json_t *build, unsigned i, unsigned n, struct hs *hs,
			  const uint8_t y[32], bool innermost, uint8_t field[REPLY_FIELD_BYTES])
{
	const json_t *h = json_array_get(json_object_get(build, "hop"), i);
	struct script s = {.used = 0};
	const struct rng rng = {give, &s};
	if (json_object_get(h, "reply_random"))
		add(&s, h, "reply_random");
	add(&s, h, "reply_filler");
	build_seal_reply(hs, y, (enum build_status)number(h, "status"),
			 (uint16_t)number(h, "max_dgram"), (uint32_t)number(build, "lifetime_s"),
			 innermost ? NULL : field, n - i, &rng, field);
	assert_true(all_given(&s));
	same(h, "reply_field", field, REPLY_FIELD_BYTES);
	same(h, "h", hs->h, 32);
}

static void client_opens_the_reply(const json_t *build, unsigned n, unsigned failed,
				   struct build_client *client)
{
	json_t *hop = json_object_get(build, "hop");
	struct build_answer a;
	uint8_t field[REPLY_FIELD_BYTES];
	exact(json_array_get(hop, 0), "reply_field", field, sizeof(field));
	assert_true(build_open_reply(client, field, &a));
	assert_int_equal(a.failed_hop, failed ? failed - 1 : n);
	assert_int_equal(a.status, failed ? number(json_array_get(hop, failed - 1), "status") : 0);
	for (unsigned i = 0; i < a.failed_hop; i++) {
		const json_t *h = json_array_get(hop, i);
		same_keys(h, &a.keys[i]);
		assert_int_equal(a.max_dgram[i], number(h, "max_dgram"));
		assert_int_equal(a.lifetime_s[i], number(build, "lifetime_s"));
	}
	if (!failed)
		same(json_array_get(hop, n - 1), "h", a.h_last, 32);
}

static void onion_vectors_builds(void **state)
{
	(void)state;
	size_t at;
	json_t *build;
	bool refused = false;
	json_array_foreach(json_object_get(vectors, "builds"), at, build)
	{
		unsigned n = (unsigned)number(build, "hops");
		json_t *f = json_object_get(build, "failed_hop");
		unsigned failed = f ? (unsigned)json_integer_value(f) : 0;
		unsigned innermost = (failed ? failed : n) - 1;
		struct build_client client;
		struct hs hs[HOPS_MAX];
		uint8_t y[HOPS_MAX][32], field[REPLY_FIELD_BYTES];
		client_makes_the_onion(build, n, &client);
		for (unsigned i = 0; i < n; i++)
			relay_peels(build, i, n, &hs[i], y[i]);
		for (unsigned i = innermost + 1; i-- > 0;)
			relay_replies(build, i, n, &hs[i], y[i], i == innermost, field);
		client_opens_the_reply(build, n, failed, &client);
		refused |= failed > 0;
	}
	assert_true(at >= 4 && refused);
}

/* --- layers --- */

static void set_keys(struct chain *c, const json_t *keys)
{
	for (unsigned i = 0; i < c->hops; i++) {
		const json_t *o = json_array_get(keys, i);
		struct path_keys k = {.df = number(o, "df"), .db = number(o, "db")};
		exact(o, "kf", k.kf, 32);
		exact(o, "kb", k.kb, 32);
		exact(o, "ivf", k.ivf, 12);
		exact(o, "ivb", k.ivb, 12);
		chain_set_keys(c, i, &k);
		assert_int_equal(c->circuit[i].forward.fill, number(o, "fill"));
	}
}

/* The datagram is what the vector says, its filler aside. */
static void same_on_link(const json_t *link, const struct datagram *d, const struct header_key *rx,
			 struct aead_ctx *aead, size_t length)
{
	uint8_t body[DATAGRAM_MAX], filler[DATAGRAM_MAX];
	struct header h;
	assert_int_equal(bytes(link, "body", body, sizeof(body)), length);
	assert_int_equal(d->n, HEADER_BYTES + length);
	assert_memory_equal(d->d + HEADER_BYTES, body,
			    length - bytes(link, "filler", filler, sizeof(filler)));
	assert_true(header_open(aead, rx, d->d + LINK_ID_BYTES, &h));
	assert_int_equal(h.ctr, number(link, "ctr"));
}

/* Link i's datagram with the vector's own filler. */
static void take_from_vector(const json_t *link, struct datagram *d)
{
	bytes(link, "body", d->d + HEADER_BYTES, sizeof(d->d) - HEADER_BYTES);
}

static void layers_forward(struct chain *c, const json_t *f, size_t length)
{
	uint8_t plain[DATAGRAM_MAX];
	size_t n = bytes(f, "plain", plain, sizeof(plain));
	struct datagram d;
	struct dp_result r = {.action = DP_DROP};
	c->path.sealed_first = number(f, "c");
	atomic_store(&c->path.sealed, c->path.sealed_first);
	assert_true(chain_seal_path(c, &d, plain, n, DATAGRAM_FULL_MOST, PAD_NONE));
	for (unsigned i = 0; i < c->hops; i++) {
		const json_t *link = json_array_get(json_object_get(f, "links"), i);
		same_on_link(link, &d, &c->far[i].rx, c->aead, length);
		take_from_vector(link, &d);
		chain_give(c, i + 1, &d, &r);
	}
	assert_int_equal(r.action, DP_PLAIN);
	assert_int_equal(r.plain_bytes, n);
	assert_memory_equal(r.plain, plain, n);
}

static void layers_backward(struct chain *c, const json_t *b, size_t length)
{
	uint8_t plain[DATAGRAM_MAX];
	size_t n = bytes(b, "plain", plain, sizeof(plain));
	struct circuit *exit = &c->circuit[c->hops - 1];
	struct datagram d;
	struct dp_result r = {.action = DP_DROP};
	exit->sealed_first = number(b, "c");
	atomic_store(&exit->sealed, exit->sealed_first);
	assert_true(chain_seal_circuit(c, &d, plain, n, DATAGRAM_FULL_MOST, PAD_NONE));
	for (unsigned k = 0; k < c->hops; k++) {
		const json_t *link = json_array_get(json_object_get(b, "links"), k);
		unsigned to = c->hops - 1 - k;
		same_on_link(link, &d, &c->near[to].rx, c->aead, length);
		take_from_vector(link, &d);
		chain_give(c, to, &d, &r);
	}
	assert_int_equal(r.action, DP_PLAIN);
	assert_int_equal(r.plain_bytes, n);
	assert_memory_equal(r.plain, plain, n);
}

static void onion_vectors_layers(void **state)
{
	(void)state;
	size_t at;
	json_t *layers;
	json_array_foreach(json_object_get(vectors, "layers"), at, layers)
	{
		struct chain *c = chain_new((unsigned)number(layers, "hops"), 1);
		assert_int_equal(c->path.slots, number(layers, "slots"));
		set_keys(c, json_object_get(layers, "keys"));
		size_t length = (size_t)number(layers, "length");
		layers_forward(c, json_object_get(layers, "forward"), length);
		layers_backward(c, json_object_get(layers, "backward"), length);
		chain_free(c);
	}
	assert_true(at >= 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(onion_vectors_builds),
		cmocka_unit_test(onion_vectors_layers),
	};
	json_error_t error;
	vectors = json_load_file(SOURCE_DIR "/tests/vectors/onion.json", 0, &error);
	if (!vectors) {
		fprintf(stderr, "tests/vectors/onion.json:%d: %s\n", error.line, error.text);
		return 1;
	}
	int failed = crypto_init() == 0 ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
	json_decref(vectors);
	return failed;
}
