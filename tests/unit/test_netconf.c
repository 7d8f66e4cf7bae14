/* tests/unit/test_netconf.c - directory/netconf.c and params.c: network.conf, its errors, its
 * defaults. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "directory/netconf.h"

#define A      "y"
#define KEY(c) c "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
#define HEAD   "[network]\nid = 7\nk = 2\n"
#define THREE                                                                                      \
	"authority = " KEY("n") " http://192.0.2.3:80\n"                                           \
				"authority = " KEY(                                                \
					"y") " http://192.0.2.1:80\n"                              \
					     "authority = " KEY(                                   \
						     "b") "  http://[2001:db8::2]:8080\n"

static void netconf_reads_a_good_file(void **state)
{
	(void)state;
	struct netconf c;
	char err[CONFIG_ERROR_BYTES] = "", text[ADDR_TEXT_BYTES];
	assert_int_equal(netconf_load_text("f", HEAD THREE "subnet-rule = no\npath-lifetime = 1m\n",
					   &c, err),
			 0);
	assert_int_equal(c.net_id, 7);
	assert_int_equal(c.k, 2);
	assert_int_equal(c.n, 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(netconf_find(&c, c.authority[i].key), i);
	assert_true(memcmp(c.authority[0].key, c.authority[1].key, 32) < 0);
	assert_true(memcmp(c.authority[1].key, c.authority[2].key, 32) < 0);
	assert_string_equal(addr_text(&c.authority[1].addr, text), "[2001:db8::2]:8080");
	assert_int_equal(c.params.v[PARAM_SUBNET_RULE], 0);
	assert_true(c.params.set[PARAM_SUBNET_RULE]);
	assert_int_equal(c.params.v[PARAM_PATH_LIFETIME], 60);
	assert_int_equal(c.params.v[PARAM_LINK_RENEW], 3000);
	assert_false(c.params.set[PARAM_LINK_RENEW]);
	uint8_t other[32] = {9};
	assert_int_equal(netconf_find(&c, other), -1);
}

static void netconf_says_where_and_what_is_wrong(void **state)
{
	(void)state;
	static const struct {
		const char *text, *begins, *has;
	} rows[] = {
		{"", "f:", "id"},
		{"[network]\nid = 7\nk = 1\n", "f:", "authority"},
		{HEAD "authority = zzz http://192.0.2.1:80\n", "f:4:", "KEY http://IP:PORT"},
		{HEAD "authority = " KEY("y") "http://192.0.2.1:80\n", "f:4:", "http://IP:PORT"},
		{HEAD "authority = " KEY("y") " https://192.0.2.1:80\n", "f:4:", "http://IP:PORT"},
		{HEAD "authority = " KEY("y") " http://auth.example:80\n", "f:4:", "no name"},
		{HEAD "authority = " KEY("y") " http://192.0.2.1\n", "f:4:", "http://IP:PORT"},
		{HEAD "authority = " KEY("y") " http://192.0.2.1:0\n", "f:4:", "http://IP:PORT"},
		{HEAD THREE "authority = " KEY("y") " http://192.0.2.9:80\n", "f:7:", "key once"},
		{"[network]\nid = 0\nk = 2\n" THREE, "f:2:", "from 1"},
		{"[network]\nid = 7\nk = 1\n" THREE, "f:", "more than half"},
		{"[network]\nid = 7\nk = 1\nauthority = " KEY(
			 "y") " http://192.0.2.1:80\n"
			      "authority = " KEY("b") " http://192.0.2.2:80\n",
		 "f:", "more than half"},
		{"[network]\nid = 7\nk = 4\n" THREE, "f:", "more than half"},
		{"[network]\nid = 7\nk = 0\n" THREE, "f:3:", "from 1"},
		{HEAD THREE "path-lifetime = 5\n", "f:7:", "from 6 to 1200"},
		{HEAD THREE "path-lifetime = 1201\n", "f:7:", "from 6 to 1200"},
		{HEAD THREE "subnet-rule = maybe\n", "f:7:", "yes or no"},
		{HEAD THREE "path-life = 60\n", "f:7:", "path-life"},
		{HEAD THREE "consensus-fresh = 2d\n", "f:7:", "from 2 to 86400"},
		{HEAD THREE "consensus-valid = 10s\n", "f:", "consensus-fresh"},
		{HEAD THREE "onion-key-valid = 1h\n", "f:", "onion-key-period"},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct netconf c, untouched;
		char err[CONFIG_ERROR_BYTES] = "";
		memset(&c, 0x5a, sizeof(c));
		untouched = c;
		assert_int_equal(netconf_load_text("f", rows[i].text, &c, err), -EINVAL);
		if (strncmp(err, rows[i].begins, strlen(rows[i].begins)) ||
		    !strstr(err, rows[i].has))
			fail_msg("row %zu: %s", i, err);
		assert_memory_equal(&c, &untouched, sizeof(c));
	}
	char err[CONFIG_ERROR_BYTES];
	struct netconf c;
	assert_int_equal(netconf_load("/nonexistent/network.conf", &c, err), -ENOENT);
	assert_non_null(strstr(err, "/nonexistent/network.conf"));
}

static void params_take_only_what_a_consensus_may_say(void **state)
{
	(void)state;
	struct params p;
	params_init(&p);
	assert_null(params_check(&p));
	assert_true(params_take(&p, 1, 300));
	assert_int_equal(p.v[PARAM_PATH_LIFETIME], 300);
	assert_true(p.set[PARAM_PATH_LIFETIME]);
	assert_false(params_take(&p, 1, 1201));
	assert_false(params_take(&p, 1, 5));
	assert_int_equal(p.v[PARAM_PATH_LIFETIME], 300);
	assert_false(params_take(&p, 13, 0)); /* subnet-rule is the network file's alone */
	assert_int_equal(p.v[PARAM_SUBNET_RULE], 1);
	assert_false(params_take(&p, 0, 1));
	assert_false(params_take(&p, 999, 1));
	for (int i = 0; i < PARAM_COUNT; i++) {
		assert_int_equal(param_find(param_rows[i].id), i);
		assert_in_range(param_rows[i].standard, param_rows[i].least, param_rows[i].most);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(netconf_reads_a_good_file),
		cmocka_unit_test(netconf_says_where_and_what_is_wrong),
		cmocka_unit_test(params_take_only_what_a_consensus_may_say),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
