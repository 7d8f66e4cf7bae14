/* tests/unit/test_pkt.c - the packet pool. */
#include "base/pkt.h"
#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void pkt_pool_gives_each_packet_once(void **state)
{
	(void)state;
	enum { N = 5 };
	struct pkt_pool *p = pkt_pool_new(N);
	assert_non_null(p);
	for (unsigned lap = 0; lap < 3; lap++) {
		struct pkt *got[N];
		for (unsigned i = 0; i < N; i++) {
			assert_int_equal(pkt_pool_left(p), N - i);
			got[i] = pkt_get(p);
			assert_non_null(got[i]);
			memset(got[i]->room, (int)i, got[i]->room_bytes);
		}
		assert_null(pkt_get(p));
		assert_int_equal(pkt_pool_left(p), 0);
		for (unsigned i = 0; i < N; i++) {
			for (size_t b = 0; b < got[i]->room_bytes; b++)
				assert_int_equal(got[i]->room[b], i); /* nobody else's bytes */
			pkt_put(p, got[i]);
		}
		assert_int_equal(pkt_pool_left(p), N);
	}
	pkt_pool_free(p);
}

static void pkt_is_empty_when_taken(void **state)
{
	(void)state;
	struct pkt_pool *p = pkt_pool_new(1);
	assert_non_null(p);
	for (unsigned i = 0; i < 2; i++) {
		struct pkt *k = pkt_get(p);
		assert_non_null(k);
		assert_int_equal(k->len, 0);
		assert_int_equal(k->flags, 0);
		assert_null(k->next);
		assert_int_equal(pkt_headroom(k), PKT_HEADROOM);
		assert_int_equal(pkt_tailroom(k), PKT_ROOM);
		assert_int_equal((uintptr_t)k->room % 64, 0);
		k->data += 100;
		k->len = 30;
		assert_int_equal(pkt_headroom(k), PKT_HEADROOM + 100);
		assert_int_equal(pkt_tailroom(k), PKT_ROOM - 130);
		k->flags = 7;
		k->next = k;
		pkt_put(p, k);
	}
	pkt_pool_free(p);
}

static void pkt_pool_refuses_impossible_sizes(void **state)
{
	(void)state;
	assert_null(pkt_pool_new(0));
	assert_null(pkt_pool_new(SIZE_MAX / sizeof(struct pkt) + 1));
	pkt_pool_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pkt_pool_gives_each_packet_once),
		cmocka_unit_test(pkt_is_empty_when_taken),
		cmocka_unit_test(pkt_pool_refuses_impossible_sizes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
