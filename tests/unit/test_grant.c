/* tests/unit/test_grant.c - which grants the client takes from an exit that may be hostile. */
#include "client/client.h"
#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static struct addr ip(const char *text)
{
	struct addr a = {0};
	if (*text)
		assert_int_equal(addr_parse_ip(text, &a), 0);
	return a;
}

/* The networks of a laptop: at home, a bridge of containers, a ULA, loopback. */
static size_t local_networks(struct prefix ret[6])
{
	static const char *const texts[] = {"192.168.1.0/24", "172.17.0.0/16", "10.8.0.0/24",
					    "fd12:3456::/64", "127.0.0.0/8",   "198.51.100.0/24"};
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(prefix_parse(texts[i], &ret[i]), 0);
	return 6;
}

static const char *judge(const char *v4, const char *v6, const char *const dns[3], unsigned mtu)
{
	struct msg_grant g = {.lease4 = ip(v4), .lease6 = ip(v6), .mtu = (uint16_t)mtu};
	struct prefix local[6];
	size_t n = local_networks(local);
	for (unsigned i = 0; i < 3 && dns && dns[i]; i++)
		g.dns[g.ndns++] = ip(dns[i]);
	return grant_judge(&g, local, n);
}

static void grant_takes_what_an_honest_exit_gives(void **state)
{
	static const struct {
		const char *v4, *v6;
		unsigned mtu;
	} rows[] = {
		{"10.73.0.2", "fd53:7370:1::2", 1371},	{"10.73.0.2", "", 576},
		{"", "fd53:7370:1::2", 1280},		{"172.16.0.1", "", 1371},
		{"172.31.255.254", "", 1371},		{"100.64.0.1", "", 1371},
		{"100.127.255.254", "", 1371},		{"10.0.0.1", "fdff:ffff::1", 65535},
		{"10.8.1.0", "fd12:3456:0:1::1", 1371}, /* next to the local ones */
	};
	static const char *const dns[3] = {"9.9.9.9", "2620:fe::fe", "203.0.113.10"};
	static const char *const inner[3] = {"10.73.0.1", "fd53:7370:1::1", NULL};
	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *why = judge(rows[i].v4, rows[i].v6, NULL, rows[i].mtu);
		if (why || (why = judge(rows[i].v4, rows[i].v6, dns, rows[i].mtu)) ||
		    (why = judge(rows[i].v4, rows[i].v6, inner, rows[i].mtu)))
			fail_msg("%u: %s", i, why);
	}
}

static void grant_refuses_hostile_leases(void **state)
{
	static const struct {
		const char *v4, *v6, *words;
	} rows[] = {
		{"", "", "no inner address"},
		/* not private: the client would answer for addresses of the internet */
		{"9.9.9.9", "", "outside"},
		{"203.0.113.10", "", "outside"},
		{"11.0.0.1", "", "outside"},
		{"172.32.0.1", "", "outside"},
		{"172.15.255.255", "", "outside"},
		{"100.128.0.1", "", "outside"},
		{"100.63.255.255", "", "outside"},
		{"192.168.77.2", "", "outside"}, /* most home networks */
		{"127.0.0.1", "", "outside"},
		{"169.254.1.1", "", "outside"},
		{"0.0.0.1", "", "outside"},
		{"224.0.0.1", "", "outside"},
		{"255.255.255.255", "", "outside"},
		{"", "2001:db8::1", "outside"},
		{"", "fc00::1", "outside"},
		{"", "fe80::1", "outside"},
		{"", "::1", "outside"},
		{"", "ff02::1", "outside"},
		/* a good one does not save a bad one */
		{"10.73.0.2", "2001:db8::1", "outside"},
		{"9.9.9.9", "fd53::2", "outside"},
		/* local */
		{"172.17.0.5", "", "this machine is on"},
		{"10.8.0.99", "", "this machine is on"},
		{"", "fd12:3456::5", "this machine is on"},
		{"10.73.0.2", "fd12:3456::5", "this machine is on"},
	};
	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *why = judge(rows[i].v4, rows[i].v6, NULL, 1371);
		if (!why || !strstr(why, rows[i].words))
			fail_msg("%s %s: %s", rows[i].v4, rows[i].v6, why ? why : "taken");
	}
}

static void grant_refuses_hostile_resolvers(void **state)
{
	static const char *const bad[] = {
		"127.0.0.1",	   "127.0.0.53", "0.0.0.0",  "169.254.169.254", "224.0.0.251",
		"255.255.255.255", "240.0.0.1",	 "::1",	     "fe80::1",		"ff02::fb",
		"192.168.1.1",	   "172.17.0.1", "10.8.0.1", "198.51.100.7",	"fd12:3456::1",
		"10.73.0.2",	   "fd53::2",	 "",
	};
	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		for (unsigned at = 0; at < 3; at++) {
			const char *dns[3] = {"9.9.9.9", "9.9.9.10", "9.9.9.11"};
			dns[at] = bad[i];
			if (!judge("10.73.0.2", "fd53::2", dns, 1371))
				fail_msg("%s is taken", bad[i]);
		}
}

static void grant_refuses_a_small_mtu(void **state)
{
	(void)state;
	assert_non_null(judge("10.73.0.2", "", NULL, 0));
	assert_non_null(judge("10.73.0.2", "", NULL, 500));
	assert_non_null(judge("10.73.0.2", "", NULL, 575));
	assert_non_null(judge("", "fd53::2", NULL, 1279));
	assert_non_null(judge("10.73.0.2", "fd53::2", NULL, 1279));
	assert_null(judge("10.73.0.2", "", NULL, 1279));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grant_takes_what_an_honest_exit_gives),
		cmocka_unit_test(grant_refuses_hostile_leases),
		cmocka_unit_test(grant_refuses_hostile_resolvers),
		cmocka_unit_test(grant_refuses_a_small_mtu),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
