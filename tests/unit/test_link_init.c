/* tests/unit/test_link_init.c - handshake datagrams: layouts as drawn, exact lengths, zeroes, there
 * and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/bytes.h"
#include "crypto/kdf.h"
#include "onion/link_init.h"
#include "unit/seeded.h"

static struct seeded seed;

static struct link_init an_init(void)
{
	struct link_init m = {.version = 1, .keyid = 0x0203, .sender_id = 0x04050607};
	seeded_fill(&seed, m.x, sizeof(m.x));
	seeded_fill(&seed, m.ct, sizeof(m.ct));
	return m;
}

static struct link_resp a_resp(void)
{
	struct link_resp m = {.receiver_id = 0x11121314, .version = 1, .sender_id = 0x21222324};
	seeded_fill(&seed, m.y, sizeof(m.y));
	seeded_fill(&seed, m.rt, sizeof(m.rt));
	return m;
}

static void link_init_is_laid_out_as_drawn(void **state)
{
	(void)state;
	uint8_t id[32], d[LINK_INIT_BYTES];
	seeded_fill(&seed, id, sizeof(id));
	struct link_init m = an_init();
	link_init_write(d, &m, id);
	const uint8_t head[12] = {0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7};
	assert_memory_equal(d, head, sizeof(head));
	assert_memory_equal(d + 12, m.x, 32);
	assert_memory_equal(d + 44, m.ct, 116);
	assert_true(mac1_verify(d + 160, id, d, 160));
	for (unsigned i = 176; i < 192; i++)
		assert_int_equal(d[i], 0);
	struct link_init back;
	assert_true(link_init_parse(d, sizeof(d), &back));
	assert_int_equal(back.keyid, m.keyid);
	assert_int_equal(back.sender_id, m.sender_id);
	assert_memory_equal(back.x, m.x, sizeof(m.x));
	assert_memory_equal(back.ct, m.ct, sizeof(m.ct));
}

static void link_resp_is_laid_out_as_drawn(void **state)
{
	(void)state;
	uint8_t id[32], d[LINK_RESP_BYTES];
	seeded_fill(&seed, id, sizeof(id));
	struct link_resp m = a_resp();
	link_resp_write(d, &m, id);
	const uint8_t head[12] = {0x11, 0x12, 0x13, 0x14, 2, 1, 0, 0, 0x21, 0x22, 0x23, 0x24};
	assert_memory_equal(d, head, sizeof(head));
	assert_memory_equal(d + 12, m.y, 32);
	assert_memory_equal(d + 44, m.rt, 116);
	assert_true(mac1_verify(d + 160, id, d, 160));
	struct link_resp back;
	assert_true(link_resp_parse(d, sizeof(d), &back));
	assert_int_equal(back.receiver_id, m.receiver_id);
	assert_int_equal(back.sender_id, m.sender_id);
	assert_memory_equal(back.rt, m.rt, sizeof(m.rt));
	d[191] = 1;
	assert_false(link_resp_parse(d, sizeof(d), &back));
	d[191] = 0;
	d[6] = 1;
	assert_false(link_resp_parse(d, sizeof(d), &back));
}

static void link_cookie_is_laid_out_as_drawn(void **state)
{
	(void)state;
	uint8_t d[LINK_COOKIE_BYTES];
	struct link_cookie m = {.receiver_id = 0x31323334}, back;
	seeded_fill(&seed, m.nonce, sizeof(m.nonce));
	seeded_fill(&seed, m.sealed, sizeof(m.sealed));
	link_cookie_write(d, &m);
	const uint8_t head[8] = {0x31, 0x32, 0x33, 0x34, 3, 0, 0, 0};
	assert_memory_equal(d, head, sizeof(head));
	assert_memory_equal(d + 8, m.nonce, 24);
	assert_memory_equal(d + 32, m.sealed, 32);
	assert_true(link_cookie_parse(d, sizeof(d), &back));
	assert_memory_equal(&back, &m, sizeof(m));
	d[7] = 1;
	assert_false(link_cookie_parse(d, sizeof(d), &back));
}

/* Only the right length with the right type, and no link id 0 where one must stand. */
static void link_init_lengths_and_types_are_exact(void **state)
{
	(void)state;
	uint8_t id[32] = {0}, init[256] = {0}, resp[256] = {0}, cookie[256] = {0};
	struct link_init i = an_init();
	struct link_resp r = a_resp();
	struct link_cookie c = {.receiver_id = 1};
	link_init_write(init, &i, id);
	link_resp_write(resp, &r, id);
	link_cookie_write(cookie, &c);
	for (size_t n = 0; n < sizeof(init); n++) {
		assert_int_equal(link_init_parse(init, n, &i), n == 192);
		assert_int_equal(link_resp_parse(resp, n, &r), n == 192);
		assert_int_equal(link_cookie_parse(cookie, n, &c), n == 64);
	}
	for (unsigned t = 0; t < 256; t++) {
		init[4] = resp[4] = cookie[4] = (uint8_t)t;
		assert_int_equal(link_init_parse(init, 192, &i), t == 1);
		assert_int_equal(link_resp_parse(resp, 192, &r), t == 2);
		assert_int_equal(link_cookie_parse(cookie, 64, &c), t == 3);
	}
	init[4] = 1;
	resp[4] = 2;
	cookie[4] = 3;
	init[3] = 1; /* an INIT is for no link */
	assert_false(link_init_parse(init, 192, &i));
	init[3] = 0;
	memset(init + 8, 0, 4);
	assert_false(link_init_parse(init, 192, &i));
	memset(resp + 8, 0, 4);
	assert_false(link_resp_parse(resp, 192, &r));
	memset(resp + 8, 1, 4);
	memset(resp, 0, 4);
	assert_false(link_resp_parse(resp, 192, &r));
	memset(cookie, 0, 4);
	assert_false(link_cookie_parse(cookie, 64, &c));
}

static void link_req_is_laid_out_as_drawn(void **state)
{
	(void)state;
	uint8_t p[LINK_REQ_BYTES];
	const struct link_req m = {0x01020304, 0x05060708, 1440, ROLE_RELAY};
	link_req_write(p, &m);
	const uint8_t want[LINK_REQ_BYTES] = {1, 2, 3, 4, 5, 6, 7, 8, 1440 >> 8, 1440 & 255, 2};
	assert_memory_equal(p, want, sizeof(want));
	struct link_req back;
	assert_true(link_req_parse(p, &back));
	assert_int_equal(back.net_id, m.net_id);
	assert_int_equal(back.time_min, m.time_min);
	assert_int_equal(back.max_dgram, 1440);
	for (unsigned role = 0; role < 256; role++) {
		p[10] = (uint8_t)role;
		assert_int_equal(link_req_parse(p, &back), role >= 1 && role <= 3);
	}
	p[10] = 1;
	for (unsigned i = 11; i < LINK_REQ_BYTES; i++) {
		p[i] = 1;
		assert_false(link_req_parse(p, &back));
		p[i] = 0;
	}
	store_be16(p + 8, DATAGRAM_FULL_LEAST - 1);
	assert_false(link_req_parse(p, &back));
	store_be16(p + 8, DATAGRAM_FULL_LEAST);
	assert_true(link_req_parse(p, &back));
}

static void link_rep_is_laid_out_as_drawn(void **state)
{
	(void)state;
	uint8_t p[LINK_REP_BYTES];
	struct link_rep m = {.status = LINK_FULL,
			     .version_most = 1,
			     .max_dgram = 1380,
			     .time_s = UINT64_C(0x0102030405060708),
			     .serial = UINT64_C(0x1112131415161718),
			     .circuits_limit = 0x21222324,
			     .init_id = 0x31323334,
			     .resp_id = 0x41424344};
	assert_int_equal(addr_parse("192.0.2.9:515", &m.observed), 0);
	link_rep_write(p, &m);
	const uint8_t want[LINK_REP_BYTES] = {
		2,    1,    1380 >> 8, 1380 & 255, 1,	 2,    3,    4,	   5,	 6,
		7,    8,    0,	       0,	   0,	 0,    0,    0,	   0,	 0,
		0,    0,    0xff,      0xff,	   192,	 0,    2,    9,	   2,	 3,
		0x11, 0x12, 0x13,      0x14,	   0x15, 0x16, 0x17, 0x18, 0x21, 0x22,
		0x23, 0x24, 0x31,      0x32,	   0x33, 0x34, 0x41, 0x42, 0x43, 0x44};
	assert_memory_equal(p, want, sizeof(want));
	struct link_rep back;
	assert_true(link_rep_parse(p, &back));
	assert_true(addr_equal(&back.observed, &m.observed));
	assert_int_equal(back.serial, m.serial);
	assert_int_equal(back.circuits_limit, m.circuits_limit);
	assert_int_equal(back.init_id, m.init_id);
	assert_int_equal(back.resp_id, m.resp_id);
	assert_int_equal(back.time_s, m.time_s);
	for (unsigned status = 0; status < 256; status++) {
		p[0] = (uint8_t)status;
		assert_int_equal(link_rep_parse(p, &back), status <= 4);
	}
	p[0] = 0;
	for (unsigned i = 50; i < LINK_REP_BYTES; i++) {
		p[i] = 0x80;
		assert_false(link_rep_parse(p, &back));
		p[i] = 0;
	}
	store_be16(p + 2, DATAGRAM_FULL_LEAST - 1);
	assert_false(link_rep_parse(p, &back));
}

static int begin(void **state)
{
	(void)state;
	seed.state = 11;
	return crypto_init();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(link_init_is_laid_out_as_drawn),
		cmocka_unit_test(link_resp_is_laid_out_as_drawn),
		cmocka_unit_test(link_cookie_is_laid_out_as_drawn),
		cmocka_unit_test(link_init_lengths_and_types_are_exact),
		cmocka_unit_test(link_req_is_laid_out_as_drawn),
		cmocka_unit_test(link_rep_is_laid_out_as_drawn),
	};
	return cmocka_run_group_tests(tests, begin, NULL);
}
