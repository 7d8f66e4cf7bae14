/* relay/config.c - see config.h. */
#include "relay/config.h"
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include "base/offload.h"

#define SIZE(n) ((const void *)(size_t)(n))

static const struct config_range workers_range = {0, ENGINE_WORKERS_MOST};
static const struct config_range mbit_range = {1, 1000000};
static const struct config_range port_range = {0, 65535};

static const char *read_printable(const char *value, void *to, const void *arg)
{
	for (const char *p = value; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			return "printable ASCII";
	return config_string(value, to, arg);
}

static const char *read_family(const char *value, void *to, const void *arg)
{
	if (strlen(value) != 64 || strspn(value, "0123456789abcdef") != 64)
		return "64 lower-case hex digits, the same for all relays of one operator";
	return config_string(value, to, arg);
}

#define ROW(key, reader, field, argument)                                                          \
	{                                                                                          \
		"relay", key, reader, offsetof(struct relay_config, field), argument, false, false \
	}
#define NEED(key, reader, field, argument)                                                         \
	{                                                                                          \
		"relay", key, reader, offsetof(struct relay_config, field), argument, true, false  \
	}

static const struct config_row relay_rows[] = {
	NEED("state", config_path, state, SIZE(sizeof(((struct relay_config *)0)->state))),
	NEED("run", config_path, run, SIZE(sizeof(((struct relay_config *)0)->run))),
	NEED("network", config_path, network, SIZE(sizeof(((struct relay_config *)0)->network))),
	ROW("address4", config_addr, address4, NULL),
	ROW("address6", config_addr, address6, NULL),
	ROW("dir-port", config_u16, dir_port, &port_range),
	ROW("nickname", read_printable, nickname,
	    SIZE(sizeof(((struct relay_config *)0)->nickname))),
	ROW("contact", read_printable, contact, SIZE(sizeof(((struct relay_config *)0)->contact))),
	ROW("family", read_family, family, SIZE(sizeof(((struct relay_config *)0)->family))),
	ROW("bandwidth-mbit", config_u32, bandwidth_mbit, &mbit_range),
	ROW("workers", config_u32, workers, &workers_range),
	ROW("engine", settings_engine, engine, NULL),
	ROW("offloads-off", settings_offloads, offloads_off, NULL),
	ROW("user", config_string, user, SIZE(sizeof(((struct relay_config *)0)->user))),
	ROW("log", settings_log, log, NULL),
};
#define RELAY_ROWS (sizeof(relay_rows) / sizeof(relay_rows[0]))

static void defaults(struct relay_config *c)
{
	memset(c, 0, sizeof(*c));
	c->bandwidth_mbit = 100;
	snprintf(c->engine, sizeof(c->engine), "auto");
	c->log = LOG_INFO;
	exit_settings_init(&c->exit);
}

static int check(const char *path, const struct relay_config *c, char *err)
{
	char why[EXIT_ERROR_BYTES];

	if ((c->address4.family && c->address4.family != 4) ||
	    (c->address6.family && c->address6.family != 6)) {
		snprintf(err, CONFIG_ERROR_BYTES,
			 "%.200s: address4 takes an IPv4 and address6 an IPv6 address", path);
		return -EINVAL;
	}
	if (!c->address4.family && !c->address6.family) {
		snprintf(
			err, CONFIG_ERROR_BYTES,
			"%.200s: neither address4 nor address6 is given: say where this relay answers, for example "
			"address4 = 192.0.2.1:4500",
			path);
		return -EINVAL;
	}
	if ((c->address4.family && !c->address4.port) ||
	    (c->address6.family && !c->address6.port)) {
		snprintf(err, CONFIG_ERROR_BYTES,
			 "%.200s: address4 and address6 need a port other than 0", path);
		return -EINVAL;
	}
	if (c->exit.present && exit_settings_check(&c->exit, why)) {
		snprintf(err, CONFIG_ERROR_BYTES, "%.100s: %s", path, why);
		return -EINVAL;
	}
	return 0;
}

int relay_config_load(const char *path, struct relay_config *ret, char *err)
{
	struct config_row rows[RELAY_ROWS + EXIT_CONFIG_ROWS];
	struct relay_config c;
	size_t n = RELAY_ROWS;
	int r;

	defaults(&c);
	memcpy(rows, relay_rows, sizeof(relay_rows));
	n += exit_config_rows(rows + n, offsetof(struct relay_config, exit));
	r = config_load(path, rows, n, &c, err);
	if (r)
		return r;
	/* No [exit] section leaves both ranges unset; exit_settings_check() refuses a section
	 * without any. */
	c.exit.present = c.exit.present || c.exit.lease4.addr.family || c.exit.lease6.addr.family;
	c.exit.relay4 = c.address4;
	c.exit.relay6 = c.address6;
	snprintf(c.exit.journal, sizeof(c.exit.journal), "%s/journal", c.run);
	snprintf(c.exit.accounts, sizeof(c.exit.accounts), "%s/accounts.db", c.state);
	r = check(path, &c, err);
	if (!r)
		r = offloads_from_env(&c.offloads_off, err, CONFIG_ERROR_BYTES);
	c.exit.offloads_off = c.offloads_off;
	if (!r)
		*ret = c;
	return r;
}
