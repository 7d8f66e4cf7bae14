/* tests/unit/test_client_config.c - client.ini: what is taken, and the sentence for each thing that
 * is not. */
#include "client/config.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "routing/host.h"
#include "base/offload.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static int load(const char *text, struct client_config *c, char *err)
{
	char path[] = "/tmp/test_client_config.XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	size_t n = strlen(text);
	assert_int_equal(write(fd, text, n), n);
	close(fd);
	int r = client_config_load(path, c, err);
	unlink(path);
	return r;
}

static void client_config_has_defaults(void **state)
{
	(void)state;
	struct client_config c;
	char err[CONFIG_ERROR_BYTES];
	assert_int_equal(load("", &c, err), 0);
	assert_string_equal(c.socket, CLIENT_SOCKET_DEFAULT);
	assert_string_equal(c.group, "sispopnet");
	assert_string_equal(c.state, "/var/lib/sispopnet");
	assert_string_equal(c.run, "/run/sispopnet");
	assert_string_equal(c.network, "/etc/sispopnet/network.conf");
	assert_string_equal(c.interface, "sispop0");
	assert_string_equal(c.resolv_conf, "/etc/resolv.conf");
	assert_int_equal(c.table, HOST_DEFAULT_TABLE);
	assert_int_equal(c.mark, HOST_DEFAULT_MARK);
	assert_int_equal(c.workers, 0);
	assert_true(c.underlay4 && c.underlay6 && c.standby && c.notrack);
	assert_int_equal(c.padding, PAD_BUCKET);
	assert_int_equal(c.log, LOG_INFO);
}

static void client_config_takes_all_keys(void **state)
{
	(void)state;
	struct client_config c;
	char err[CONFIG_ERROR_BYTES] = "";
	int r = load(
		"[client]\nsocket = /a/s\ngroup = vpn\nstate = /a/st\nrun = /a/r\nnetwork = /a/n\n"
		"interface = x1\nresolv-conf = /a/rc\ntable = 7\nmark = 8\nworkers = 3\n"
		"engine = ipsec-mb\noffloads-off = gso, uso\nunderlay = 6\npadding = full\nstandby = no\nnotrack = no\nlog = error\n",
		&c, err);
	assert_string_equal(err, "");
	assert_int_equal(r, 0);
	assert_string_equal(c.socket, "/a/s");
	assert_string_equal(c.group, "vpn");
	assert_string_equal(c.state, "/a/st");
	assert_string_equal(c.run, "/a/r");
	assert_string_equal(c.network, "/a/n");
	assert_string_equal(c.interface, "x1");
	assert_string_equal(c.resolv_conf, "/a/rc");
	assert_int_equal(c.table, 7);
	assert_int_equal(c.mark, 8);
	assert_int_equal(c.workers, 3);
	assert_string_equal(c.engine, "ipsec-mb");
	assert_int_equal(c.offloads_off, OFFLOAD_GSO | OFFLOAD_USO);
	assert_false(c.underlay4);
	assert_true(c.underlay6);
	assert_int_equal(c.padding, PAD_FULL);
	assert_false(c.standby || c.notrack);
	assert_int_equal(c.log, LOG_ERROR);
}

static void client_config_underlay_words(void **state)
{
	static const struct {
		const char *word;
		bool four, six;
	} rows[] = {{"4", true, false}, {"6", false, true}, {"both", true, true}};
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct client_config c;
		char text[64], err[CONFIG_ERROR_BYTES];
		snprintf(text, sizeof(text), "[client]\nunderlay = %s\n", rows[i].word);
		assert_int_equal(load(text, &c, err), 0);
		assert_int_equal(c.underlay4, rows[i].four);
		assert_int_equal(c.underlay6, rows[i].six);
	}
}

static void client_config_refuses(void **state)
{
	static const char *const lines[] = {
		"socket = vpn.sock",
		"state = lib",
		"interface = 1234567890123456",
		"interface = a/b",
		"interface = .",
		"interface = ..",
		"interface = a%d",
		"table = 0",
		"table = 254",
		"table = 255",
		"table = 4294967296",
		"table = main",
		"mark = 0",
		"mark = -1",
		"workers = 17",
		"engine = AES",
		"offloads-off = gso lro",
		"underlay = 5",
		"padding = some",
		"standby = maybe",
		"log = all",
		"colour = blue",
		"group = 123456789012345678901234567890123",
	};
	(void)state;
	for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct client_config c;
		char text[128], err[CONFIG_ERROR_BYTES] = "";
		memset(&c, 0x5a, sizeof(c));
		snprintf(text, sizeof(text), "[client]\nlog = info\n%s\n", lines[i]);
		if (load(text, &c, err) != -EINVAL || !strstr(err, ":3: ") || strchr(err, '\n'))
			fail_msg("%s: \"%s\"", lines[i], err);
		assert_int_equal(((uint8_t *)&c)[0], 0x5a); /* untouched */
	}
}

static void client_config_names_a_missing_file(void **state)
{
	(void)state;
	struct client_config c;
	char err[CONFIG_ERROR_BYTES] = "";
	assert_int_equal(client_config_load("/nowhere/client.ini", &c, err), -ENOENT);
	assert_non_null(strstr(err, "/nowhere/client.ini"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(client_config_has_defaults),
		cmocka_unit_test(client_config_takes_all_keys),
		cmocka_unit_test(client_config_underlay_words),
		cmocka_unit_test(client_config_refuses),
		cmocka_unit_test(client_config_names_a_missing_file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
