/* tests/gate/end_exit.c - see ends.h. */
#include <stdlib.h>
#include "exit/inner.h"
#include "exit/settings.h"
#include "tests/gate/ends.h"
#include "tests/gate/kernel.h"

#define RELAYS 100 /* whose addresses are closed */

static struct inner inner;
static struct leases *leases;
static struct session_data session;

static void set_rules(const struct rng *rng)
{
	static struct policy policy;
	struct exit_settings settings;
	struct addr closed[RELAYS];
	struct rules_config c = {
		.policy = &policy, .own4 = inner.own[0], .own6 = inner.own[1], .closed = closed};

	exit_settings_init(&settings);
	must(!exit_effective_policy(&settings, &policy));
	must(!prefix_parse("10.9.0.0/16", &c.lease4) && !prefix_parse("fd09::/64", &c.lease6));
	for (; c.nclosed < RELAYS; c.nclosed++) {
		const uint8_t ip[4] = {11, 22, 33, (uint8_t)c.nclosed};
		closed[c.nclosed] = addr_from_ip(ip, 4, 0);
	}
	atomic_store(&inner.rules, rules_new(&c, rng));
	must(atomic_load(&inner.rules) != NULL);
}

void exit_end_init(const struct rng *rng)
{
	struct prefix p4, p6;

	must(!prefix_parse("10.9.0.0/16", &p4) && !prefix_parse("fd09::/64", &p6));
	leases = leases_new(&p4, &p6, rng);
	must(leases && !inner_init(&inner, leases));
	must(!leases_take(leases, &session, WANT_V4 | WANT_V6, NULL));
	set_rules(rng);
}

void exit_end_done(void)
{
	rules_free(atomic_load(&inner.rules));
	inner_done(&inner);
	leases_free(leases);
}

struct engine_inner_ops exit_end_ops(void)
{
	return (struct engine_inner_ops){&inner, inner_from_onion, inner_from_tun};
}

struct session_data *exit_end_session(void)
{
	return &session;
}
