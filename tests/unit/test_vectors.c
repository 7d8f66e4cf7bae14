/* tests/unit/test_vectors.c - our code against tests/vectors/make.py, both ways.
 *
 *   test_vectors            compute each entry of the JSON files anew from its inputs and compare
 * (a ctest) test_vectors --emit N   print entries of random inputs (seed N) as JSON, for `make.py
 * --verify`
 *
 * One function a kind of entry serves both: a field is asked for by input_*(), which reads it from
 * the entry or draws it, and answered by output_*(). make.py's head says what the fields are.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>
#include "base/bytes.h"
#include "base/zbase32.h"
#include "crypto/aead.h"
#include "crypto/cookie.h"
#include "crypto/handshake.h"
#include "crypto/kdf.h"
#include "crypto/sign.h"
#include "crypto/token.h"
#include "seeded.h"

#define MAX_BYTES 1500
#define MASK56	  ((UINT64_C(1) << 56) - 1)

struct entry {
	const json_t *in; /* NULL: draw the inputs */
	json_t *out;
	const struct rng *rng;
	struct aead_ctx *aead;
	const char *engine;
};

/* Our own bug or a broken file: there is no way on. */
__attribute__((noreturn)) static void die(const char *what, const char *key)
{
	fprintf(stderr, "test_vectors: %s: %s\n", what, key);
	exit(1);
}

static void set(struct entry *e, const char *key, json_t *value)
{
	if (!value || json_object_set_new(e->out, key, value) < 0)
		die("cannot set", key);
}

static void output(struct entry *e, const char *key, const void *p, size_t n)
{
	static char text[2 * MAX_BYTES + 1];
	if (n > MAX_BYTES)
		die("too long", key);
	text[0] = '\0';
	for (size_t i = 0; i < n; i++)
		snprintf(text + 2 * i, 3, "%02x", ((const uint8_t *)p)[i]);
	set(e, key, json_string(text));
}

static void output_u64(struct entry *e, const char *key, uint64_t v)
{
	set(e, key, json_integer((json_int_t)v));
}

static const char *text_in(struct entry *e, const char *key)
{
	const char *text = json_string_value(json_object_get(e->in, key));
	if (!text)
		die("no text", key);
	return text;
}

/* Bytes of any length up to max; returns how many. Drawn: between min and max. */
static size_t input_some(struct entry *e, const char *key, uint8_t *to, size_t min, size_t max)
{
	size_t n;
	if (e->in) {
		const char *text = text_in(e, key);
		n = strlen(text) / 2;
		if (n < min || n > max)
			die("bad length", key);
		for (size_t i = 0; i < n; i++) {
			unsigned byte;
			if (sscanf(text + 2 * i, "%2x", &byte) != 1)
				die("no hex", key);
			to[i] = (uint8_t)byte;
		}
	} else {
		n = min + rng_below(e->rng, max - min + 1);
		rng_bytes(e->rng, to, n);
	}
	output(e, key, to, n);
	return n;
}

static void input(struct entry *e, const char *key, uint8_t *to, size_t n)
{
	input_some(e, key, to, n, n);
}

static uint64_t input_u64(struct entry *e, const char *key, uint64_t max)
{
	uint64_t v = e->in ? (uint64_t)json_integer_value(json_object_get(e->in, key))
			   : rng_u64(e->rng) & max;
	if (v > max)
		die("too large", key);
	output_u64(e, key, v);
	return v;
}

static const char *input_word(struct entry *e, const char *key, const char *const *words, size_t n)
{
	const char *word = e->in ? text_in(e, key) : words[rng_below(e->rng, n)];
	set(e, key, json_string(word));
	return word;
}

/* A struct rng that gives out prepared bytes, for keys that a vector fixes. */
struct script {
	const uint8_t *at;
	size_t left;
};

static void script_fill(void *arg, void *to, size_t n)
{
	struct script *s = arg;
	if (n > s->left)
		die("more randomness drawn than", "the script has");
	memcpy(to, s->at, n);
	s->at += n;
	s->left -= n;
}

#define SCRIPTED(bytes) (&(struct rng){script_fill, &(struct script){(bytes), sizeof(bytes)}})

static void do_hash(struct entry *e)
{
	uint8_t m[MAX_BYTES], out[32];
	size_t n = input_some(e, "m", m, 0, MAX_BYTES);
	hash(out, m, n);
	output(e, "out", out, 32);
}

static void do_kdf(struct entry *e)
{
	static const char *const labels[] = {"req", "seed", "kf", "a longer label than any", ""};
	uint8_t k[32], m[MAX_BYTES], out[64];
	input(e, "k", k, 32);
	const char *label = input_word(e, "label", labels, 5);
	size_t m_bytes = input_some(e, "m", m, 0, MAX_BYTES);
	size_t n = e->in ? input_u64(e, "n", 64) : 8 + rng_below(e->rng, 57);
	output_u64(e, "n", n);
	kdf(out, n, k, label, m, m_bytes);
	output(e, "out", out, n);
}

static void do_mac(struct entry *e)
{
	uint8_t key[32], m[MAX_BYTES], out[32];
	size_t key_bytes = input_some(e, "key", key, 16, 32);
	size_t m_bytes = input_some(e, "m", m, 0, MAX_BYTES);
	size_t n = e->in ? input_u64(e, "n", 32) : 16 + 16 * rng_below(e->rng, 2);
	output_u64(e, "n", n);
	size_t cut = m_bytes / 3;
	mac_parts(out, n, key, key_bytes, (struct hash_part[]){{m, cut}, {m + cut, m_bytes - cut}},
		  2);
	output(e, "out", out, n);
}

static void do_names(struct entry *e)
{
	uint8_t id[32], back[32];
	char name[NAME_BYTES];
	input(e, "id", id, 32);
	name_from_id(id, name);
	set(e, "name", json_string(name));
	if (name_to_id(name, back) < 0 || memcmp(back, id, 32) != 0)
		die("does not go back", name);
}

static void do_sign(struct entry *e)
{
	static const char *const labels[] = {"sispop1 auth", "sispop1 desc", "x"};
	uint8_t seed[32], m[MAX_BYTES], sig[SIGN_BYTES];
	struct sign_keypair k;
	input(e, "seed", seed, 32);
	const char *label = input_word(e, "label", labels, 3);
	size_t n = input_some(e, "m", m, 0, MAX_BYTES);
	sign_keypair_from_seed(&k, seed);
	if (sign_message(sig, &k, label, m, n) < 0 || !sign_verify(sig, k.public_key, label, m, n))
		die("does not sign", label);
	output(e, "public_key", k.public_key, 32);
	output(e, "sig", sig, sizeof(sig));
}

static void do_token(struct entry *e)
{
	uint8_t id[32], salt[32], seed[32];
	char token[TOKEN_CHARS + 1];
	struct sign_keypair k;
	if (e->in)
		snprintf(token, sizeof(token), "%s", text_in(e, "token"));
	else
		token_new(token, e->rng);
	set(e, "token", json_string(token));
	input(e, "exit_id", id, 32);
	hash_parts(salt, (struct hash_part[]){{"token", 5}, {id, 32}}, 2);
	output(e, "salt", salt, 16);
	if (token_seed(token, id, seed) < 0)
		die("no seed", token);
	sign_keypair_from_seed(&k, seed);
	output(e, "seed", seed, 32);
	output(e, "public_key", k.public_key, 32);
}

static void do_header(struct entry *e)
{
	uint8_t key[32], block[16];
	struct header_key k;
	input(e, "key", key, 32);
	struct header h, back;
	h.circuit_id = (uint32_t)input_u64(e, "circuit_id", UINT32_MAX);
	h.type = (uint8_t)input_u64(e, "type", UINT8_MAX);
	h.ctr = input_u64(e, "ctr", MASK56);
	header_key_init(&k, e->aead, key);
	header_seal(e->aead, &k, &h, block);
	if (!header_open(e->aead, &k, block, &back) || back.circuit_id != h.circuit_id ||
	    back.type != h.type || back.ctr != h.ctr)
		die("header does not open", e->engine);
	output(e, "block", block, 16);
}

static void do_data(struct entry *e)
{
	uint8_t key[32], iv[12], nonce[12], buf[MAX_BYTES];
	struct aead_key k;
	input(e, "key", key, 32);
	input(e, "iv", iv, 12);
	uint64_t ctr = input_u64(e, "ctr", MASK56);
	size_t n = input_some(e, "plain", buf, 0, 1452);
	nonce_from_counter(nonce, iv, ctr);
	output(e, "nonce", nonce, 12);
	aead_key_init(&k, e->aead, key, iv);
	aead_seal(e->aead, &k, ctr, buf, n, buf + n);
	output(e, "sealed", buf, n + AEAD_TAG_BYTES);
	if (!aead_open(e->aead, &k, ctr, buf, n, buf + n))
		die("data does not open", e->engine);
}

static void do_ctrl(struct entry *e)
{
	uint8_t key[32], iv[12], nonce[12], plain[MAX_BYTES], sealed[MAX_BYTES];
	input(e, "key", key, 32);
	input(e, "iv", iv, 12);
	nonce_from_counter(nonce, iv, input_u64(e, "ctr", MASK56));
	size_t n = input_some(e, "plain", plain, 0, 900);
	output(e, "nonce", nonce, 12);
	chapoly_seal(key, nonce, NULL, 0, plain, n, sealed);
	output(e, "sealed", sealed, n + HS_TAG_BYTES);
	if (!chapoly_open(key, nonce, NULL, 0, sealed, n + HS_TAG_BYTES, plain))
		die("does not open", "ctrl");
}

static void output_keys(struct entry *e, const struct hs *hs)
{
	struct path_keys p;
	struct link_keys l;
	hs_path_keys(hs, &p);
	hs_link_keys(hs, &l);
	output(e, "kf", p.kf, 32);
	output(e, "kb", p.kb, 32);
	output(e, "ivf", p.ivf, 12);
	output(e, "ivb", p.ivb, 12);
	output_u64(e, "df", p.df);
	output_u64(e, "db", p.db);
	output(e, "resume", p.resume, 32);
	output(e, "hkf", l.hkf, 32);
	output(e, "hkb", l.hkb, 32);
	output(e, "cf", l.cf, 32);
	output(e, "cb", l.cb, 32);
	output(e, "civf", l.civf, 12);
	output(e, "civb", l.civb, 12);
}

/* The responder's side: opens ct, seals the reply. */
static void respond(struct entry *e, struct hs *hs, enum hs_use use, const uint8_t id[32],
		    const struct onion_keypair *b, const uint8_t x[32], const uint8_t *ct,
		    const uint8_t *plain, size_t n, uint8_t y[32])
{
	uint8_t y_secret[32], opened[MAX_BYTES];
	if (!hs_accept(hs, use, id, b, x, ct, n, opened) || memcmp(opened, plain, n) != 0)
		die("responder does not open", "ct");
	input(e, "y_secret", y_secret, 32);
	if (hs_reply_start(hs, SCRIPTED(y_secret), y) < 0)
		die("no reply", "y_secret");
}

static void do_handshake(struct entry *e)
{
	static const char *const uses[] = {"link", "path"};
	uint8_t id[32], b_secret[32], x_secret[32], plain[MAX_BYTES], reply[MAX_BYTES], k[32];
	uint8_t x[32], y[32], ct[MAX_BYTES], rt[MAX_BYTES], opened[MAX_BYTES];
	struct onion_keypair b;
	struct hs client, relay;
	enum hs_use use = strcmp(input_word(e, "use", uses, 2), "link") == 0 ? HS_LINK : HS_PATH;
	input(e, "id", id, 32);
	input(e, "b_secret", b_secret, 32);
	input(e, "x_secret", x_secret, 32);
	onion_keypair_new(&b, SCRIPTED(b_secret));
	output(e, "b_public", b.public_key, 32);
	size_t n = input_some(e, "plain", plain, 0, 734);
	size_t reply_bytes = input_some(e, "reply", reply, 0, 464);

	if (hs_start(&client, use, id, b.public_key, SCRIPTED(x_secret), x) < 0)
		die("does not start", "b_secret");
	output(e, "x_public", x, 32);
	output(e, "ts0", client.ts0, 32);
	output(e, "es", client.es, 32);
	kdf(k, 32, client.es, "req", client.ts0, 32);
	output(e, "kreq", k, 32);
	hs_seal_request(&client, plain, n, ct);
	output(e, "ct", ct, n + HS_TAG_BYTES);

	respond(e, &relay, use, id, &b, x, ct, plain, n, y);
	output(e, "y_public", y, 32);
	output(e, "ts1", relay.ts1, 32);
	output(e, "seed", relay.seed, 32);
	kdf(k, 32, relay.seed, "rep", NULL, 0);
	output(e, "krep", k, 32);
	hs_reply_seal(&relay, reply, reply_bytes, rt);
	output(e, "rt", rt, reply_bytes + HS_TAG_BYTES);

	if (!hs_finish(&client, y, rt, reply_bytes, opened) ||
	    memcmp(opened, reply, reply_bytes) != 0 || memcmp(client.h, relay.h, 32) != 0)
		die("initiator does not open", "rt");
	output(e, "h", client.h, 32);
	output_keys(e, &client);
}

static void write_req(struct entry *e, uint8_t req[100])
{
	struct writer w;
	writer_init(&w, req, 100);
	writer_u32(&w, (uint32_t)input_u64(e, "net_id", UINT32_MAX));
	writer_u32(&w, (uint32_t)input_u64(e, "time_min", UINT32_MAX));
	writer_u16(&w, (uint16_t)input_u64(e, "init_max_dgram", UINT16_MAX));
	writer_u8(&w, (uint8_t)input_u64(e, "role", UINT8_MAX));
	writer_zero(&w, 89);
	output(e, "req", req, 100);
}

static void write_rep(struct entry *e, const struct addr *source, uint32_t init_id,
		      uint32_t resp_id, uint8_t rep[100])
{
	struct writer w;
	uint8_t ip[16];
	writer_init(&w, rep, 100);
	writer_u8(&w, (uint8_t)input_u64(e, "status", UINT8_MAX));
	writer_u8(&w, (uint8_t)input_u64(e, "ver_max", UINT8_MAX));
	writer_u16(&w, (uint16_t)input_u64(e, "resp_max_dgram", UINT16_MAX));
	writer_u64(&w, input_u64(e, "time", INT64_MAX));
	addr_to_mapped(source, ip);
	writer_put(&w, ip, 16);
	writer_u16(&w, source->port);
	writer_u64(&w, input_u64(e, "serial", INT64_MAX));
	writer_u32(&w, (uint32_t)input_u64(e, "circuits_limit", UINT32_MAX));
	writer_u32(&w, init_id);
	writer_u32(&w, resp_id);
	writer_zero(&w, 50);
	output(e, "rep", rep, 100);
}

/* u32 rcv_link_id | u8 type | u8 ver | u16 | u32 sender_link_id | key[32] | sealed[116] */
static void write_handshake(uint8_t d[192], uint32_t rcv, uint8_t type, uint16_t keyid,
			    uint32_t sender, const uint8_t key[32], const uint8_t sealed[116])
{
	struct writer w;
	writer_init(&w, d, 192);
	writer_u32(&w, rcv);
	writer_u8(&w, type);
	writer_u8(&w, 1);
	writer_u16(&w, keyid);
	writer_u32(&w, sender);
	writer_put(&w, key, 32);
	writer_put(&w, sealed, 116);
	writer_zero(&w, 32);
}

static struct addr input_source(struct entry *e)
{
	uint8_t ip[16];
	size_t n = e->in ? input_some(e, "source_ip", ip, 4, 16)
			 : input_some(e, "source_ip", ip, 4 + 12 * (e->engine[0] == 'o'),
				      4 + 12 * (e->engine[0] == 'o'));
	struct addr source = addr_from_ip(ip, n, (uint16_t)input_u64(e, "source_port", UINT16_MAX));
	if (source.family == 0)
		die("no address", "source_ip");
	return source;
}

/* The cookie that `source` gets for init, and init again with mac2. */
static void do_cookie(struct entry *e, const uint8_t id[32], const struct addr *source,
		      uint32_t init_id, uint8_t init[192])
{
	uint8_t secret[32], nonce[24], cookie[16], back[16], d[64];
	input(e, "cookie_secret", secret, 32);
	input(e, "cookie_nonce", nonce, 24);
	struct cookie_secret s = {0};
	cookie_make(&s, source, 1, SCRIPTED(secret), cookie);
	output(e, "cookie", cookie, 16);
	struct writer w;
	writer_init(&w, d, 64);
	writer_u32(&w, init_id);
	writer_u8(&w, 3);
	writer_zero(&w, 3);
	cookie_seal(id, init + 160, cookie, SCRIPTED(nonce), d + 8, d + 32);
	output(e, "cookie_datagram", d, 64);
	if (!cookie_open(id, init + 160, d + 8, d + 32, back))
		die("does not open", "cookie");
	mac2_make(init + 176, back, init, 176);
	output(e, "init_with_mac2", init, 192);
	if (!cookie_verify(&s, source, 1, e->rng, init + 176, init, 176))
		die("does not verify", "mac2");
}

static void do_ctrl_datagram(struct entry *e, const char *key, uint32_t link_id,
			     const uint8_t hk[32], const uint8_t k[32], const uint8_t iv[12],
			     uint64_t ctr, const uint8_t *plain, size_t n)
{
	uint8_t d[MAX_BYTES], nonce[12];
	struct header_key header_key;
	store_be32(d, link_id);
	header_key_init(&header_key, e->aead, hk);
	header_seal(e->aead, &header_key, &(struct header){0, 2, ctr}, d + 4);
	nonce_from_counter(nonce, iv, ctr);
	chapoly_seal(k, nonce, NULL, 0, plain, n, d + 20);
	output(e, key, d, 20 + n + HS_TAG_BYTES);
}

static void do_link(struct entry *e)
{
	uint8_t id[32], b_secret[32], x_secret[32], x[32], y[32], req[100], rep[100], sealed[116];
	uint8_t init[192], resp[192], plain[900];
	struct onion_keypair b;
	struct hs client, relay;
	struct link_keys k;
	input(e, "id", id, 32);
	input(e, "b_secret", b_secret, 32);
	input(e, "x_secret", x_secret, 32);
	onion_keypair_new(&b, SCRIPTED(b_secret));
	uint16_t keyid = (uint16_t)input_u64(e, "keyid", UINT16_MAX);
	uint32_t init_id = (uint32_t)input_u64(e, "init_link_id", UINT32_MAX);
	uint32_t resp_id = (uint32_t)input_u64(e, "resp_link_id", UINT32_MAX);

	write_req(e, req);
	if (hs_start(&client, HS_LINK, id, b.public_key, SCRIPTED(x_secret), x) < 0)
		die("does not start", "link");
	hs_seal_request(&client, req, 100, sealed);
	write_handshake(init, 0, 1, keyid, init_id, x, sealed);
	mac1_make(init + 160, id, init, 160);
	output(e, "init", init, 192);

	struct addr source = input_source(e);
	do_cookie(e, id, &source, init_id, init);
	respond(e, &relay, HS_LINK, id, &b, init + 12, init + 44, req, 100, y);
	write_rep(e, &source, init_id, resp_id, rep);
	hs_reply_seal(&relay, rep, 100, sealed);
	write_handshake(resp, init_id, 2, 0, resp_id, y, sealed);
	mac1_make(resp + 160, id, resp, 160);
	output(e, "resp", resp, 192);

	if (!hs_finish(&client, resp + 12, resp + 44, 100, rep))
		die("does not finish", "link");
	hs_link_keys(&client, &k);
	uint64_t ctr = input_u64(e, "ctr", MASK56);
	size_t n = input_some(e, "ctrl_plain", plain, 160, 900);
	do_ctrl_datagram(e, "ctrl_forward", resp_id, k.hkf, k.cf, k.civf, ctr, plain, n);
	do_ctrl_datagram(e, "ctrl_backward", init_id, k.hkb, k.cb, k.civb, ctr, plain, n);
}

/* Each kind of entry: where its vectors are, and how many random ones are printed for make.py. */
static const struct kind {
	const char *name;
	const char *file; /* "basic.json" holds lists by name, the others are one list */
	void (*compute)(struct entry *e);
	int emit;
} kinds[] = {
	{"hash", "basic.json", do_hash, 20},	 {"kdf", "basic.json", do_kdf, 20},
	{"mac", "basic.json", do_mac, 20},	 {"names", "basic.json", do_names, 20},
	{"sign", "basic.json", do_sign, 10},	 {"token", "basic.json", do_token, 1},
	{"header", "basic.json", do_header, 20}, {"data", "basic.json", do_data, 30},
	{"ctrl", "basic.json", do_ctrl, 10},	 {"handshake", "handshake.json", do_handshake, 10},
	{"link", "link.json", do_link, 5},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static const char *const engine_names[] = {"openssl", "ipsec-mb"};

static json_t *compute(const struct kind *kind, const json_t *in, const struct rng *rng,
		       struct aead_ctx *aead, const char *engine)
{
	struct entry e = {
		.in = in, .out = json_object(), .rng = rng, .aead = aead, .engine = engine};
	if (!e.out)
		die("no memory", kind->name);
	kind->compute(&e);
	return e.out;
}

static void assert_same(const struct kind *kind, size_t at, const json_t *expected,
			const json_t *got)
{
	if (json_equal(expected, got))
		return;
	const char *key;
	json_t *value;
	json_object_foreach((json_t *)expected, key,
			    value) if (!json_equal(value, json_object_get(got, key)))
		fail_msg("%s: %s %zu: field %s differs", kind->file, kind->name, at, key);
	fail_msg("%s: %s %zu: has fields that the file lacks", kind->file, kind->name, at);
}

static void check_kind(const struct kind *kind, const struct rng *rng, struct aead_ctx *aead,
		       const char *engine)
{
	char path[512];
	json_error_t error;
	snprintf(path, sizeof(path), SOURCE_DIR "/tests/vectors/%s", kind->file);
	json_t *root = json_load_file(path, 0, &error);
	if (!root)
		fail_msg("%s: %s", path, error.text);
	const json_t *list = json_is_array(root) ? root : json_object_get(root, kind->name);
	assert_true(json_array_size(list) > 0);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *expected = json_array_get(list, i);
		json_t *got = compute(kind, expected, rng, aead, engine);
		assert_same(kind, i, expected, got);
		json_decref(got);
	}
	json_decref(root);
}

/* The engines that this build and CPU run, one after another; the token's Argon2id once. */
static void vectors_hold_with_every_engine(void **state)
{
	(void)state;
	struct seeded s;
	struct rng rng = seeded_rng(&s, 1);
	for (size_t i = 0; i < 2; i++) {
		int rc = aead_engine_choose(engine_names[i]);
		if (rc == -ENOTSUP && i > 0)
			break;
		assert_int_equal(rc, 0);
		struct aead_ctx *aead = aead_ctx_new();
		assert_non_null(aead);
		for (size_t k = 0; k < KINDS; k++)
			if (i == 0 || kinds[k].compute != do_token)
				check_kind(&kinds[k], &rng, aead, engine_names[i]);
		aead_ctx_free(aead);
	}
}

static void emit_with(size_t engine, const struct rng *rng, json_t *root)
{
	struct aead_ctx *aead = aead_ctx_new();
	if (!aead)
		die("no memory", engine_names[engine]);
	for (size_t k = 0; k < KINDS; k++) {
		if (engine > 0 && kinds[k].compute == do_token)
			continue;
		json_t *list = json_object_get(root, kinds[k].name);
		for (int i = 0; i < kinds[k].emit; i++) {
			json_t *e = compute(&kinds[k], NULL, rng, aead, engine_names[engine]);
			json_object_set_new(e, "engine", json_string(engine_names[engine]));
			json_array_append_new(list, e);
		}
	}
	aead_ctx_free(aead);
}

static int emit(uint64_t seed)
{
	struct seeded s;
	struct rng rng = seeded_rng(&s, seed);
	json_t *root = json_object();
	for (size_t k = 0; k < KINDS; k++)
		if (json_object_set_new(root, kinds[k].name, json_array()) < 0)
			die("no memory", kinds[k].name);
	for (size_t i = 0; i < 2; i++)
		if (aead_engine_choose(engine_names[i]) == 0)
			emit_with(i, &rng, root);
	int rc = json_dumpf(root, stdout, JSON_INDENT(1));
	json_decref(root);
	return rc < 0 || fflush(stdout) != 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vectors_hold_with_every_engine),
	};
	if (crypto_init() < 0)
		return 1;
	if (argc == 3 && strcmp(argv[1], "--emit") == 0)
		return emit(strtoull(argv[2], NULL, 10));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
