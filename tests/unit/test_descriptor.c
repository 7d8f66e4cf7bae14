/* tests/unit/test_descriptor.c - directory/descriptor.c: what a relay says is taken whole or not at
 * all. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "directory_sample.h"

static void descriptor_comes_back_as_it_was_written(void **state)
{
	(void)state;
	struct sample s;
	sample_init(&s, 1, 1, 1, 4, 2);
	for (unsigned i = 0; i < 4; i++) {
		struct descriptor d;
		assert_int_equal(descriptor_parse(s.bytes[i], s.nbytes[i], &d), 0);
		assert_memory_equal(d.id, s.id[i].public_key, 32);
		assert_int_equal(d.published, s.d[i].published);
		assert_int_equal(d.valid_until, s.d[i].valid_until);
		assert_int_equal(d.nkeys, 1);
		assert_memory_equal(d.key[0].public_key, s.d[i].key[0].public_key, 32);
		assert_int_equal(d.key[0].keyid, 7);
		assert_true(addr_equal(&d.v4, &s.d[i].v4));
		assert_true(addr_equal(&d.v6, &s.d[i].v6));
		assert_int_equal(d.flags, s.d[i].flags);
		assert_int_equal(d.policy.n, i < 2 ? 0 : 2);
		assert_string_equal(d.nickname, s.d[i].nickname);
		assert_string_equal(d.contact, "operator@example.org");
		uint8_t again[DESCRIPTOR_MAX_BYTES];
		size_t n;
		assert_int_equal(descriptor_write(&d, &s.id[i], again, sizeof(again), &n), 0);
		assert_int_equal(n, s.nbytes[i]);
		assert_memory_equal(again, s.bytes[i], n);
	}
}

/* Written out by hand from PROTOCOL.md: offsets of a descriptor with one key and no policy. */
static void descriptor_has_the_layout_of_the_paper(void **state)
{
	(void)state;
	struct sample s;
	sample_init(&s, 2, 1, 1, 1, 0);
	const uint8_t *p = s.bytes[0];
	assert_memory_equal(p, "SPD1", 4);
	assert_memory_equal(p + 4, s.id[0].public_key, 32);
	assert_int_equal(load_be64(p + 36), SAMPLE_NOW - 100);
	assert_int_equal(load_be64(p + 44), SAMPLE_NOW + 86400);
	assert_int_equal(p[52], 1);
	assert_int_equal(load_be16(p + 53), 7);
	assert_int_equal(load_be64(p + 87), SAMPLE_NOW - 1000);
	assert_int_equal(load_be64(p + 95), SAMPLE_NOW + 90000);
	assert_int_equal(load_be32(p + 103), RELAY_FLAG_GUARD);
	assert_int_equal(p[107], 10);
	assert_int_equal(load_be16(p + 111), 9000);
	assert_int_equal(load_be16(p + 113 + 16), 9001);
	assert_int_equal(load_be16(p + 131), 80);
	assert_int_equal(load_be16(p + 133), 1440);
	assert_int_equal(load_be32(p + 135), 100);
	assert_int_equal(load_be16(p + 171), 0);
	assert_int_equal(p[173], 6);
	assert_memory_equal(p + 174, "relay0", 6);
	assert_int_equal(p[180], 20);
	assert_int_equal(s.nbytes[0], 181 + 20 + 64);
}

static void descriptor_refuses_every_cut_and_every_flip(void **state)
{
	(void)state;
	struct sample s;
	sample_init(&s, 3, 1, 1, 1, 1);
	struct descriptor d, untouched;
	memset(&d, 0x5a, sizeof(d));
	untouched = d;
	for (size_t n = 0; n < s.nbytes[0]; n++)
		assert_int_not_equal(descriptor_parse(s.bytes[0], n, &d), 0);
	uint8_t longer[DESCRIPTOR_MAX_BYTES + 1] = {0};
	memcpy(longer, s.bytes[0], s.nbytes[0]);
	assert_int_not_equal(descriptor_parse(longer, s.nbytes[0] + 1, &d), 0);
	assert_int_equal(descriptor_parse(longer, sizeof(longer), &d), -EBADMSG);
	for (size_t i = 0; i < s.nbytes[0]; i++) {
		s.bytes[0][i] ^= (uint8_t)(1 << i % 8);
		assert_int_not_equal(descriptor_parse(s.bytes[0], s.nbytes[0], &d), 0);
		s.bytes[0][i] ^= (uint8_t)(1 << i % 8);
	}
	assert_memory_equal(&d, &untouched, sizeof(d));
	s.bytes[0][s.nbytes[0] - 1] ^= 1;
	assert_int_equal(descriptor_parse(s.bytes[0], s.nbytes[0], &d), -EKEYREJECTED);
	assert_int_equal(descriptor_parse_known(s.bytes[0], s.nbytes[0], &d), 0);
}

static void no_keys(struct descriptor *d)
{
	d->nkeys = 0;
}
static void many_keys(struct descriptor *d)
{
	d->nkeys = DESCRIPTOR_KEYS_MAX + 1;
}
static void same_keyid(struct descriptor *d)
{
	d->key[1] = d->key[0];
	d->nkeys = 2;
}
static void key_ends_before_it_begins(struct descriptor *d)
{
	d->key[0].to = d->key[0].from;
}
static void ends_before_published(struct descriptor *d)
{
	d->valid_until = d->published;
}
static void lives_too_long(struct descriptor *d)
{
	d->valid_until = d->published + DESCRIPTOR_VALID_MAX_SECONDS + 1;
}
static void no_address(struct descriptor *d)
{
	d->v4 = d->v6 = (struct addr){0};
}
static void no_port(struct descriptor *d)
{
	d->v4.port = 0;
}
static void mapped_v6(struct descriptor *d)
{
	d->v6 = addr_from_ip((uint8_t[16]){[10] = 0xff, [11] = 0xff, [12] = 10, [15] = 1}, 16, 1);
}
static void small_dgram(struct descriptor *d)
{
	d->max_dgram = DESCRIPTOR_DGRAM_MIN - 1;
}
static void large_dgram(struct descriptor *d)
{
	d->max_dgram = DESCRIPTOR_DGRAM_MAX + 1;
}
static void line_break(struct descriptor *d)
{
	strcpy(d->nickname, "a\nb");
}
static void escape(struct descriptor *d)
{
	strcpy(d->contact, "\x1b[2J");
}
static void high_byte(struct descriptor *d)
{
	strcpy(d->contact, "\xc3\xa4");
}

static void descriptor_refuses_what_breaks_a_limit(void **state)
{
	(void)state;
	static void (*const spoil[])(struct descriptor *) = {no_keys,
							     many_keys,
							     same_keyid,
							     key_ends_before_it_begins,
							     ends_before_published,
							     lives_too_long,
							     no_address,
							     no_port,
							     mapped_v6,
							     small_dgram,
							     large_dgram,
							     line_break,
							     escape,
							     high_byte};
	struct sample s;
	sample_init(&s, 4, 1, 1, 1, 1);
	for (size_t i = 0; i < sizeof(spoil) / sizeof(spoil[0]); i++) {
		struct descriptor d = s.d[0];
		uint8_t out[DESCRIPTOR_MAX_BYTES];
		size_t n;
		spoil[i](&d);
		assert_int_equal(descriptor_write(&d, &s.id[0], out, sizeof(out), &n), -EINVAL);
	}
}

/* The same limits on the way in: fields patched in the bytes and signed again by the relay itself.
 */
static void descriptor_refuses_signed_nonsense(void **state)
{
	(void)state;
	static const struct {
		size_t at;
		uint8_t n;
		uint8_t bytes[18];
	} patches[] = {
		{0, 4, "SPD2"},
		{36, 8, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}, /* published */
		{44, 8, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}, /* valid_until */
		{52, 1, {0}},
		{52, 1, {2}},
		{52, 1, {255}},
		{95, 8, {0}},			/* key's to */
		{107, 4, {0}},			/* no v4 but a port */
		{111, 2, {0}},			/* v4 without a port */
		{107, 6, {0}},			/* fine: v6 is left */
		{129, 2, {0}},			/* v6 without a port */
		{113, 12, {[10] = 0xff, 0xff}}, /* mapped */
		{133, 2, {0, 100}},
		{171, 2, {255, 255}},
		{173, 1, {21}},
		{174, 1, {0}},
		{174, 1, {0x7f}},
		{180, 1, {19}},
		{180, 1, {21}},
	};
	struct sample s;
	sample_init(&s, 5, 1, 1, 1, 0);
	for (size_t i = 0; i < sizeof(patches) / sizeof(patches[0]); i++) {
		uint8_t p[DESCRIPTOR_MAX_BYTES];
		size_t n = s.nbytes[0];
		struct descriptor d;
		memcpy(p, s.bytes[0], n);
		memcpy(p + patches[i].at, patches[i].bytes, patches[i].n);
		assert_int_equal(sign_message(p + n - 64, &s.id[0], "sispop1 desc", p, n - 64), 0);
		bool fine = patches[i].at == 107 && patches[i].n == 6;
		assert_int_equal(descriptor_parse(p, n, &d), fine ? 0 : -EBADMSG);
	}
}

static void descriptor_fits_two_kibibytes_or_is_refused(void **state)
{
	(void)state;
	struct sample s;
	sample_init(&s, 6, 1, 1, 1, 0);
	struct descriptor d = s.d[0];
	uint8_t out[DESCRIPTOR_MAX_BYTES + 100];
	size_t n = 0;
	char err[POLICY_ERROR_BYTES];
	for (int i = 0; i < POLICY_RULES_MAX; i++)
		assert_int_equal(policy_add_text(&d.policy, "accept *4:80", err), 0);
	assert_int_equal(descriptor_write(&d, &s.id[0], out, sizeof(out), &n), 0);
	assert_in_range(n, 1800, DESCRIPTOR_MAX_BYTES);
	assert_int_equal(descriptor_write(&d, &s.id[0], out, n - 1, &n), -EMSGSIZE);
	for (int i = 0; i < POLICY_RULES_MAX; i++)
		d.policy.rule[i].prefix.len = 32;
	assert_int_equal(descriptor_write(&d, &s.id[0], out, sizeof(out), &n), -EMSGSIZE);
}

static void descriptor_gives_the_newest_key_that_began(void **state)
{
	(void)state;
	struct descriptor d = {.nkeys = 3,
			       .key = {{.keyid = 1, .from = 100, .to = 300},
				       {.keyid = 3, .from = 300, .to = 500},
				       {.keyid = 2, .from = 200, .to = 400}}};
	static const struct {
		uint64_t now;
		int keyid;
	} rows[] = {{99, 0},  {100, 1}, {199, 1}, {200, 2}, {299, 2},
		    {300, 3}, {399, 3}, {400, 3}, {499, 3}, {500, 0}};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct onion_key *k = descriptor_onion_key(&d, rows[i].now);
		assert_int_equal(k ? k->keyid : 0, rows[i].keyid);
	}
	d.published = 1000;
	d.valid_until = 2000;
	assert_false(descriptor_is_valid_at(&d, 1000 - DESCRIPTOR_SKEW_SECONDS - 1));
	assert_true(descriptor_is_valid_at(&d, 1000 - DESCRIPTOR_SKEW_SECONDS));
	assert_true(descriptor_is_valid_at(&d, 1999));
	assert_false(descriptor_is_valid_at(&d, 2000));
}

int main(void)
{
	if (crypto_init())
		return 1;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(descriptor_comes_back_as_it_was_written),
		cmocka_unit_test(descriptor_has_the_layout_of_the_paper),
		cmocka_unit_test(descriptor_refuses_every_cut_and_every_flip),
		cmocka_unit_test(descriptor_refuses_what_breaks_a_limit),
		cmocka_unit_test(descriptor_refuses_signed_nonsense),
		cmocka_unit_test(descriptor_fits_two_kibibytes_or_is_refused),
		cmocka_unit_test(descriptor_gives_the_newest_key_that_began),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
