/* client/config.c - see config.h. */
#include "client/config.h"
#include <errno.h>
#include <net/if.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/offload.h"
#include "engine/engine.h"
#include "routing/host.h"

#define SIZE_OF(field) ((const void *)sizeof(((struct client_config *)0)->field))
#define ROW(key, reader, field, argument)                                                          \
	{                                                                                          \
		"client", key, reader, offsetof(struct client_config, field), argument, false,     \
			false                                                                      \
	}

static const struct config_range workers_range = {0, ENGINE_WORKERS_MOST};
static const struct config_range number_range = {1, UINT32_MAX};

/* Into underlay4; underlay6 stands behind it. */
static const char *read_underlay(const char *value, void *to, const void *arg)
{
	bool *four = to, *six = four + 1;

	(void)arg;
	if (strcmp(value, "4") && strcmp(value, "6") && strcmp(value, "both"))
		return "4, 6 or both";
	*four = strcmp(value, "6") != 0;
	*six = strcmp(value, "4") != 0;
	return NULL;
}
_Static_assert(offsetof(struct client_config, underlay6) ==
		       offsetof(struct client_config, underlay4) + sizeof(bool),
	       "read_underlay() writes both");

static const char *read_padding(const char *value, void *to, const void *arg)
{
	enum padding *p = to;

	(void)arg;
	if (!strcmp(value, "bucket"))
		*p = PAD_BUCKET;
	else if (!strcmp(value, "none"))
		*p = PAD_NONE;
	else if (!strcmp(value, "full"))
		*p = PAD_FULL;
	else
		return "bucket, none or full";
	return NULL;
}

/* The kernel's own tables are no place for ours (routing/host.h). */
static const char *read_table(const char *value, void *to, const void *arg)
{
	uint32_t table;

	if (config_u32(value, &table, arg) || (table >= 252 && table <= 255))
		return "a number from 1 to 4294967295 other than 252 to 255";
	*(uint32_t *)to = table;
	return NULL;
}

static const char *read_interface(const char *value, void *to, const void *arg)
{
	(void)arg;
	if (!*value || strlen(value) >= IFNAMSIZ || strpbrk(value, "/ \t%:") ||
	    !strcmp(value, ".") || !strcmp(value, ".."))
		return "an interface name of 1 to 15 characters";
	snprintf(to, IFNAMSIZ, "%s", value);
	return NULL;
}

static const struct config_row rows[] = {
	ROW("socket", config_path, socket, SIZE_OF(socket)),
	ROW("group", config_string, group, SIZE_OF(group)),
	ROW("state", config_path, state, SIZE_OF(state)),
	ROW("run", config_path, run, SIZE_OF(run)),
	ROW("network", config_path, network, SIZE_OF(network)),
	ROW("interface", read_interface, interface, NULL),
	ROW("resolv-conf", config_path, resolv_conf, SIZE_OF(resolv_conf)),
	ROW("table", read_table, table, &number_range),
	ROW("mark", config_u32, mark, &number_range),
	ROW("workers", config_u32, workers, &workers_range),
	ROW("engine", settings_engine, engine, NULL),
	ROW("offloads-off", settings_offloads, offloads_off, NULL),
	ROW("underlay", read_underlay, underlay4, NULL),
	ROW("padding", read_padding, padding, NULL),
	ROW("standby", config_bool, standby, NULL),
	ROW("notrack", config_bool, notrack, NULL),
	ROW("log", settings_log, log, NULL),
};

static const struct client_config defaults = {
	.socket = CLIENT_SOCKET_DEFAULT,
	.group = "sispopnet",
	.state = "/var/lib/sispopnet",
	.run = "/run/sispopnet",
	.network = "/etc/sispopnet/network.conf",
	.interface = "sispop0",
	.resolv_conf = "/etc/resolv.conf",
	.engine = "auto",
	.table = HOST_DEFAULT_TABLE,
	.mark = HOST_DEFAULT_MARK,
	.underlay4 = true,
	.underlay6 = true,
	.padding = PAD_BUCKET,
	.standby = true,
	.notrack = true,
	.log = LOG_INFO,
};

int client_config_load(const char *path, struct client_config *ret, char *err)
{
	struct client_config c = defaults;
	int r = 0;

	if (strcmp(path, CLIENT_CONFIG_DEFAULT) || access(path, F_OK) == 0)
		r = config_load(path, rows, sizeof(rows) / sizeof(rows[0]), &c, err);
	if (!r)
		r = offloads_from_env(&c.offloads_off, err, CONFIG_ERROR_BYTES);
	if (!r)
		*ret = c;
	return r;
}
