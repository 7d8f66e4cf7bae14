/* tests/unit/test_relay_config.c - relay.ini: what is taken, and the sentence for each thing that
 * is not. */
#include "relay/config.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/offload.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define BASE  "[relay]\nstate = /var/lib/x\nrun = /run/x\nnetwork = /etc/x/network.conf\n"
#define ADDR4 "address4 = 192.0.2.1:4500\n"

static int load(const char *text, struct relay_config *c, char *err)
{
	char path[] = "/tmp/test_relay_config.XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	size_t n = strlen(text);
	assert_int_equal(write(fd, text, n), n);
	close(fd);
	int r = relay_config_load(path, c, err);
	unlink(path);
	return r;
}

static void relay_config_takes_all_keys(void **state)
{
	(void)state;
	struct relay_config c;
	char err[CONFIG_ERROR_BYTES] = "";
	int r = load(
		BASE ADDR4
		"address6 = [2001:db8::1]:4501\ndir-port = 8080\nnickname = bob\n"
		"contact = bob@example.org\nbandwidth-mbit = 1000\nworkers = 2\nengine = openssl\noffloads-off = all\n"
		"user = nobody\nlog = debug\n"
		"family = 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n",
		&c, err);
	assert_string_equal(err, "");
	assert_int_equal(r, 0);
	assert_string_equal(c.state, "/var/lib/x");
	assert_string_equal(c.run, "/run/x");
	assert_int_equal(c.address4.port, 4500);
	assert_int_equal(c.address6.family, 6);
	assert_int_equal(c.dir_port, 8080);
	assert_string_equal(c.nickname, "bob");
	assert_string_equal(c.engine, "openssl");
	assert_int_equal(c.offloads_off, OFFLOAD_ALL);
	assert_string_equal(c.user, "nobody");
	assert_int_equal(c.bandwidth_mbit, 1000);
	assert_int_equal(c.workers, 2);
	assert_int_equal(c.log, LOG_DEBUG);
	assert_false(c.exit.present);
}

static void relay_config_has_defaults(void **state)
{
	(void)state;
	struct relay_config c;
	char err[CONFIG_ERROR_BYTES];
	assert_int_equal(load(BASE ADDR4, &c, err), 0);
	assert_int_equal(c.bandwidth_mbit, 100);
	assert_string_equal(c.engine, "auto");
	assert_int_equal(c.offloads_off, 0);
	assert_string_equal(c.user, "");
	assert_int_equal(c.dir_port, 0);
	assert_int_equal(c.workers, 0);
	assert_int_equal(c.address6.family, 0);
}

static void relay_config_with_an_exit_section_is_an_exit(void **state)
{
	(void)state;
	struct relay_config c;
	char err[CONFIG_ERROR_BYTES] = "";
	assert_int_equal(load(BASE ADDR4 "[exit]\nlease4 = 10.73.0.0/16\n", &c, err), 0);
	assert_true(c.exit.present);
	assert_string_equal(c.exit.journal, "/run/x/journal");
	assert_string_equal(c.exit.accounts, "/var/lib/x/accounts.db");
}

/* What is wrong, and words that its sentence must hold. */
static void relay_config_refuses(void **state)
{
	static const struct {
		const char *text, *words;
	} table[] = {
		{"", "state"},
		{BASE, "address4"},
		{"[relay]\nstate = /x\nrun = /y\n" ADDR4, "network"},
		{BASE ADDR4 "colour = blue\n", ":6: "},
		{BASE ADDR4 "[node]\nx = 1\n", ":7: "},
		{BASE ADDR4 ADDR4, ":6: "},
		{BASE "address4 = 192.0.2.1\n", ":5: "},
		{BASE "address4 = [2001:db8::1]:4500\n", "IPv4"},
		{BASE "address6 = 192.0.2.1:4500\n", "IPv"},
		{BASE "address4 = 192.0.2.1:0\n", "port"},
		{BASE "address4 = example.org:4500\n", ":5: "},
		{BASE ADDR4 "dir-port = 65536\n", ":6: "},
		{BASE ADDR4 "dir-port = -1\n", ":6: "},
		{BASE ADDR4 "workers = 17\n", ":6: "},
		{BASE ADDR4 "bandwidth-mbit = 0\n", ":6: "},
		{BASE ADDR4 "engine = aes\n", "auto, ipsec-mb or openssl"},
		{BASE ADDR4 "offloads-off = gso lro\n", "gso, gro, csum, tso and uso"},
		{BASE ADDR4 "log = loud\n", "error, warn, info or debug"},
		{BASE ADDR4 "nickname = 123456789012345678901\n", ":6: "},
		{BASE ADDR4 "nickname = b\xc3\xb6\n", "printable"},
		{BASE ADDR4 "family = abc\n", "64"},
		{BASE ADDR4
		 "family = 00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff\n",
		 "lower-case"},
		{"[relay]\nstate = var/lib\n", ":2: "},
		{BASE ADDR4 "[exit]\n[relay]\nstate = /z\n", ":8: "},
		{BASE ADDR4 "[exit]\ndns = 192.0.2.53\n", "lease"},
		{BASE ADDR4 "[exit]\nlease4 = 10.73.0.1/16\n", ":7: "},
		{BASE ADDR4 "[exit]\nlease4 = 10.73.0.0/16\npolicy = shut\n", ":8: "},
	};
	(void)state;
	for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct relay_config c;
		char err[CONFIG_ERROR_BYTES] = "";
		memset(&c, 0x5a, sizeof(c));
		if (load(table[i].text, &c, err) != -EINVAL || !strstr(err, table[i].words) ||
		    strchr(err, '\n'))
			fail_msg("%u: \"%s\" for:\n%s", i, err, table[i].text);
		assert_int_equal(((uint8_t *)&c)[0], 0x5a); /* untouched */
	}
}

static void relay_config_names_a_missing_file(void **state)
{
	(void)state;
	struct relay_config c;
	char err[CONFIG_ERROR_BYTES] = "";
	assert_int_equal(relay_config_load("/nowhere/relay.ini", &c, err), -ENOENT);
	assert_non_null(strstr(err, "/nowhere/relay.ini"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(relay_config_takes_all_keys),
		cmocka_unit_test(relay_config_has_defaults),
		cmocka_unit_test(relay_config_with_an_exit_section_is_an_exit),
		cmocka_unit_test(relay_config_refuses),
		cmocka_unit_test(relay_config_names_a_missing_file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
