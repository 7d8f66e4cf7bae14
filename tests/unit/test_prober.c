/* tests/unit/test_prober.c - how many relays are tested at once. */
#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "authority/prober.h"
#include "crypto/handshake.h"

static void on_done(void *arg, const uint8_t id[32], const struct addr *at, enum reach result,
		    uint8_t status)
{
	(void)arg, (void)id, (void)at, (void)result, (void)status;
	fail_msg("nobody answers");
}

/* Whoever posts descriptors of relays that are none fills his half, and no more. */
static void prober_keeps_room_for_relays_that_answered(void **state)
{
	(void)state;
	static const uint8_t nowhere[4] = {127, 0, 0, 1};
	const struct addr a = addr_from_ip(nowhere, 4, 9); /* "discard" */
	struct event_base *base = event_base_new();
	struct prober *p;
	struct onion_keypair pair;
	struct onion_key key = {.keyid = 1};
	uint8_t id[32] = {1};
	assert_non_null(base);
	onion_keypair_new(&pair, &rng_system);
	memcpy(key.public_key, pair.public_key, sizeof(key.public_key));
	assert_int_equal(prober_open(base, 1, &rng_system, on_done, NULL, &p), 0);
	for (unsigned i = 0; i < PROBES_NEW; i++)
		assert_int_equal(prober_start(p, id, &key, &a, true), 0);
	assert_int_equal(prober_start(p, id, &key, &a, true), -EBUSY);
	for (unsigned i = PROBES_NEW; i < PROBES_MAX; i++)
		assert_int_equal(prober_start(p, id, &key, &a, false), 0);
	assert_int_equal(prober_start(p, id, &key, &a, false), -EBUSY);
	prober_close(p);
	event_base_free(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prober_keeps_room_for_relays_that_answered),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
