/* tests/unit/test_session_msg.c - the exit session's messages: layouts, exact lengths, proofs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/bytes.h"
#include "crypto/kdf.h"
#include "onion/session_msg.h"
#include "unit/seeded.h"

#define AUTH_BYTES	   99
#define GRANT_BYTES_NO_DNS 96
#define DENY_BYTES	   5
#define BIND_BYTES	   52
#define BOUND_BYTES	   5
#define REFUSED_BYTES	   19

static struct seeded seed;

static struct addr ip(const char *text)
{
	struct addr a;
	assert_int_equal(addr_parse_ip(text, &a), 0);
	return a;
}

static struct msg_auth an_auth(void)
{
	struct msg_auth m = {
		.method = AUTH_TOKEN, .wants = WANT_V4 | WANT_DNS, .padding = PAD_FULL};
	seeded_fill(&seed, m.token_pk, sizeof(m.token_pk));
	seeded_fill(&seed, m.sig, sizeof(m.sig));
	return m;
}

static struct msg_grant a_grant(unsigned ndns)
{
	struct msg_grant m = {
		.lease4 = ip("10.64.0.7"),
		.lease6 = ip("fd00::7"),
		.ndns = (uint8_t)ndns,
		.mtu = 1371,
		.up_kbps = 0x01020304,
		.down_kbps = 0x05060708,
		.quota_left = UINT64_C(0x1112131415161718),
		.idle_s = 0x21222324,
		.expires_s = UINT32_MAX,
		.max_paths = 4,
	};
	const struct addr dns[3] = {ip("203.0.113.10"), ip("2001:db8::53"), ip("9.9.9.9")};
	for (unsigned i = 0; i < ndns && i < 3; i++)
		m.dns[i] = dns[i];
	seeded_fill(&seed, m.session_id, sizeof(m.session_id));
	seeded_fill(&seed, m.policy_hash, sizeof(m.policy_hash));
	return m;
}

static void session_msg_head_is_laid_out_as_drawn(void **state)
{
	(void)state;
	uint8_t plain[64];
	const uint8_t body[3] = {7, 8, 9};
	assert_int_equal(session_write(plain, sizeof(plain), SESSION_PING, 0x01020304, body, 3),
			 11);
	const uint8_t want[11] = {1, 21, 0, 3, 1, 2, 3, 4, 7, 8, 9};
	assert_memory_equal(plain, want, sizeof(want));
	assert_int_equal(session_write(plain, 10, SESSION_PING, 1, body, 3), 0);
	assert_int_equal(session_write(plain, 8, SESSION_BOUND, 1, NULL, 0), 8);
	assert_int_equal(session_write(plain, sizeof(plain), SESSION_PING, 1, body, 65536), 0);
}

static void session_msg_head_refuses_what_it_must(void **state)
{
	(void)state;
	uint8_t plain[32] = {1, SESSION_PING, 0, 8, 0, 0, 0, 5};
	struct session_head h;
	const uint8_t *body;
	assert_true(session_head_parse(plain, sizeof(plain), &h, &body)); /* the rest is padding */
	assert_int_equal(h.type, SESSION_PING);
	assert_int_equal(h.len, 8);
	assert_int_equal(h.seq, 5);
	assert_ptr_equal(body, plain + 8);
	assert_true(session_head_parse(plain, 16, &h, &body));
	for (size_t n = 0; n < 16; n++)
		assert_false(session_head_parse(plain, n, &h, &body));
	for (unsigned type = 0; type < 256; type++) {
		plain[1] = (uint8_t)type;
		assert_int_equal(session_head_parse(plain, sizeof(plain), &h, &body),
				 type >= 16 && type <= 25);
	}
	plain[1] = SESSION_PING;
	for (unsigned kind = 0; kind < 256; kind++) {
		plain[0] = (uint8_t)kind;
		assert_int_equal(session_head_parse(plain, sizeof(plain), &h, &body), kind == 1);
	}
}

/* Every length but the right one is refused, and so is too little room. */
#define CHECK_LENGTHS(name, m, want)                                                               \
	do {                                                                                       \
		uint8_t b[256] = {0};                                                              \
		struct msg_##name back = {0};                                                      \
		for (size_t room = 0; room < (want); room++)                                       \
			assert_int_equal(msg_##name##_write(b, room, m), 0);                       \
		assert_int_equal(msg_##name##_write(b, sizeof(b), m), want);                       \
		for (size_t n = 0; n < sizeof(b); n++)                                             \
			assert_int_equal(msg_##name##_parse(b, n, &back), n == (want));            \
		assert_true(msg_##name##_parse(b, want, &back));                                   \
		uint8_t again[256];                                                                \
		assert_int_equal(msg_##name##_write(again, sizeof(again), &back), want);           \
		assert_memory_equal(b, again, want);                                               \
	} while (0)

static void session_msg_lengths_are_exact(void **state)
{
	(void)state;
	struct msg_auth auth = an_auth();
	CHECK_LENGTHS(auth, &auth, AUTH_BYTES);
	for (unsigned ndns = 0; ndns <= 3; ndns++) {
		struct msg_grant grant = a_grant(ndns);
		CHECK_LENGTHS(grant, &grant, (size_t)(GRANT_BYTES_NO_DNS + 16 * ndns));
	}
	struct msg_deny deny = {DENY_QUOTA, 77};
	CHECK_LENGTHS(deny, &deny, DENY_BYTES);
	struct msg_bind bind = {.prio = 9};
	seeded_fill(&seed, bind.session_id, sizeof(bind.session_id));
	seeded_fill(&seed, bind.mac, sizeof(bind.mac));
	CHECK_LENGTHS(bind, &bind, BIND_BYTES);
	struct msg_bound bound = {1, 9};
	CHECK_LENGTHS(bound, &bound, BOUND_BYTES);
	struct msg_refused refused = {6, ip("198.51.100.9")};
	refused.addr.port = 25;
	CHECK_LENGTHS(refused, &refused, REFUSED_BYTES);
}

static void session_msg_grant_carries_every_field(void **state)
{
	(void)state;
	uint8_t b[256];
	struct msg_grant m = a_grant(3);
	size_t n = msg_grant_write(b, sizeof(b), &m);
	struct msg_grant r;
	assert_true(msg_grant_parse(b, n, &r));
	assert_memory_equal(r.session_id, m.session_id, sizeof(m.session_id));
	assert_true(addr_equal(&r.lease4, &m.lease4) && addr_equal(&r.lease6, &m.lease6));
	assert_int_equal(r.ndns, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_true(addr_equal(&r.dns[i], &m.dns[i]));
	assert_int_equal(r.mtu, 1371);
	assert_int_equal(r.up_kbps, m.up_kbps);
	assert_int_equal(r.down_kbps, m.down_kbps);
	assert_int_equal(r.quota_left, m.quota_left);
	assert_int_equal(r.idle_s, m.idle_s);
	assert_int_equal(r.expires_s, m.expires_s);
	assert_int_equal(r.max_paths, 4);
	assert_memory_equal(r.policy_hash, m.policy_hash, sizeof(m.policy_hash));
	assert_memory_equal(b + 16, m.lease4.ip, 4); /* raw, not mapped */
	assert_memory_equal(b + 20, m.lease6.ip, 16);
	assert_int_equal(b[36], 3);
	assert_int_equal(load_be16(b + 37 + 10), 0xffff); /* mapped */
	assert_int_equal(load_be16(b + 37 + 48), 1371);
}

static void session_msg_grant_may_lack_a_lease(void **state)
{
	(void)state;
	uint8_t b[256];
	struct msg_grant m = a_grant(1);
	m.lease4 = (struct addr){0};
	size_t n = msg_grant_write(b, sizeof(b), &m);
	struct msg_grant r;
	assert_true(msg_grant_parse(b, n, &r));
	assert_int_equal(r.lease4.family, 0);
	assert_int_equal(r.lease6.family, 6);
	m.lease4 = ip("10.0.0.1");
	m.lease6 = (struct addr){0};
	n = msg_grant_write(b, sizeof(b), &m);
	assert_true(msg_grant_parse(b, n, &r));
	assert_int_equal(r.lease4.family, 4);
	assert_int_equal(r.lease6.family, 0);
	memset(b + 37, 0, 16); /* a name server that is none */
	assert_false(msg_grant_parse(b, n, &r));
	m.ndns = 4;
	assert_int_equal(msg_grant_write(b, sizeof(b), &m), 0);
}

static void session_msg_unknown_values_are_refused(void **state)
{
	(void)state;
	uint8_t b[256];
	struct msg_auth auth = an_auth();
	struct msg_auth a;
	size_t n = msg_auth_write(b, sizeof(b), &auth);
	for (unsigned v = 0; v < 256; v++) {
		b[0] = (uint8_t)v;
		assert_int_equal(msg_auth_parse(b, n, &a), v <= 1);
		b[0] = 1;
		b[1] = (uint8_t)v;
		assert_int_equal(msg_auth_parse(b, n, &a), v <= 7);
		b[1] = 1;
		b[2] = (uint8_t)v;
		assert_int_equal(msg_auth_parse(b, n, &a), v <= 2);
		b[2] = 0;
		uint8_t small[5] = {(uint8_t)v};
		assert_int_equal(msg_deny_parse(small, 5, &(struct msg_deny){0}), v >= 1 && v <= 7);
		assert_int_equal(msg_bound_parse(small, 5, &(struct msg_bound){0}), v <= 1);
	}
	uint8_t nowhere[REFUSED_BYTES] = {6};
	assert_false(msg_refused_parse(nowhere, sizeof(nowhere), &(struct msg_refused){0}));
}

/* AUTH is valid for one exit, one path, one set of wishes and one key: any changed bit ends that.
 */
static void session_msg_auth_proof_fits_one_path(void **state)
{
	(void)state;
	struct rng rng = {seeded_fill, &seed};
	struct sign_keypair token;
	sign_keypair_new(&token, &rng);
	uint8_t id[32], h[32];
	rng_bytes(&rng, id, 32);
	rng_bytes(&rng, h, 32);
	struct msg_auth m = {.method = AUTH_TOKEN, .wants = WANT_V4, .padding = PAD_BUCKET};
	assert_int_equal(msg_auth_sign(&m, &token, id, h), 0);
	assert_memory_equal(m.token_pk, token.public_key, 32);
	assert_true(msg_auth_verify(&m, id, h));

	uint8_t text[64 + 35]; /* the second implementation: the paper's words */
	memcpy(text, id, 32);
	memcpy(text + 32, h, 32);
	text[64] = 1;
	text[65] = 1;
	text[66] = 0;
	memcpy(text + 67, token.public_key, 32);
	assert_true(sign_verify(m.sig, token.public_key, "sispop1 auth", text, sizeof(text)));

	id[3] ^= 1;
	assert_false(msg_auth_verify(&m, id, h));
	id[3] ^= 1;
	h[31] ^= 0x80;
	assert_false(msg_auth_verify(&m, id, h));
	h[31] ^= 0x80;
	struct msg_auth bad = m;
	bad.method = AUTH_OPEN;
	assert_false(msg_auth_verify(&bad, id, h));
	bad = m;
	bad.wants ^= WANT_DNS;
	assert_false(msg_auth_verify(&bad, id, h));
	bad = m;
	bad.padding = PAD_NONE;
	assert_false(msg_auth_verify(&bad, id, h));
	bad = m;
	bad.token_pk[0] ^= 1;
	assert_false(msg_auth_verify(&bad, id, h));
	bad = m;
	bad.sig[63] ^= 1;
	assert_false(msg_auth_verify(&bad, id, h));
	sign_keypair_done(&token);
}

static void session_msg_bind_mac_covers_all(void **state)
{
	(void)state;
	uint8_t res[32], sid[16], rs[32], id[32], h[32], mac[32], want[32], joined[4 + 32 + 32 + 8];
	seeded_fill(&seed, res, 32);
	seeded_fill(&seed, sid, 16);
	seeded_fill(&seed, id, 32);
	seeded_fill(&seed, h, 32);
	session_secret(res, sid, rs);
	kdf(want, 32, res, "session", sid, 16);
	assert_memory_equal(rs, want, 32);

	msg_bind_mac(rs, id, h, 0x01020304, 0x05060708, mac);
	memcpy(joined, "bind", 4);
	memcpy(joined + 4, id, 32);
	memcpy(joined + 36, h, 32);
	const uint8_t numbers[8] = {1, 2, 3, 4, 5, 6, 7, 8};
	memcpy(joined + 68, numbers, 8);
	const struct hash_part whole = {joined, sizeof(joined)};
	mac_parts(want, 32, rs, 32, &whole, 1);
	assert_memory_equal(mac, want, 32);
}

static int begin(void **state)
{
	(void)state;
	seed.state = 7;
	return crypto_init();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(session_msg_head_is_laid_out_as_drawn),
		cmocka_unit_test(session_msg_head_refuses_what_it_must),
		cmocka_unit_test(session_msg_lengths_are_exact),
		cmocka_unit_test(session_msg_grant_carries_every_field),
		cmocka_unit_test(session_msg_grant_may_lack_a_lease),
		cmocka_unit_test(session_msg_unknown_values_are_refused),
		cmocka_unit_test(session_msg_auth_proof_fits_one_path),
		cmocka_unit_test(session_msg_bind_mac_covers_all),
	};
	return cmocka_run_group_tests(tests, begin, NULL);
}
