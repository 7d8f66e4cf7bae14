/* authority/config.c - authority.ini by base/config.h. */
#include "authority/config.h"
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/zbase32.h"

static const char *read_revoked(const char *value, void *to, const void *arg)
{
	struct authority_config *c = to;
	(void)arg;
	if (c->nrevoked == AUTHORITY_REVOKED_MAX)
		return "at most 256 revoked relays";
	if (name_to_id(value, c->revoked[c->nrevoked]))
		return "a relay's name: 52 characters and .sispop";
	c->nrevoked++;
	return NULL;
}

static const char *read_log(const char *value, void *to, const void *arg)
{
	enum log_level level;
	if (log_level_parse(value, &level))
		return "error, warn, info or debug";
	return config_string(value, to, arg);
}

#define SECTION	    "authority"
#define AT(field)   offsetof(struct authority_config, field)
#define ROOM(field) ((const void *)sizeof(((struct authority_config *)0)->field))
static const struct config_range relays = {1, CONSENSUS_RELAYS_MAX};
static const struct config_row rows[] = {
	{SECTION, "listen", config_addr, AT(listen), NULL, true, false},
	{SECTION, "address", config_addr, AT(address), NULL, false, false},
	{SECTION, "state", config_path, AT(state), ROOM(state), false, false},
	{SECTION, "network", config_path, AT(network), ROOM(network), false, false},
	{SECTION, "user", config_string, AT(user), ROOM(user), false, false},
	{SECTION, "log", read_log, AT(log), ROOM(log), false, false},
	{SECTION, "max-relays", config_u32, AT(max_relays), &relays, false, false},
	{SECTION, "revoked", read_revoked, 0, NULL, false, true},
};

static int by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, 32);
}

/* Sorted and each once, as a vote lists them. */
static void sort_revoked(struct authority_config *c)
{
	unsigned kept = 0;
	qsort(c->revoked, c->nrevoked, sizeof(c->revoked[0]), by_bytes);
	for (unsigned i = 0; i < c->nrevoked; i++)
		if (!kept || memcmp(c->revoked[kept - 1], c->revoked[i], 32))
			memmove(c->revoked[kept++], c->revoked[i], 32);
	c->nrevoked = (uint16_t)kept;
}

int authority_config_load(const char *path, struct authority_config *ret, char *err)
{
	struct authority_config c = {.state = "/var/lib/sispopnet/authority",
				     .network = NETCONF_DEFAULT_PATH,
				     .log = "info",
				     .max_relays = 4096};
	int e = config_load(path, rows, sizeof(rows) / sizeof(rows[0]), &c, err);
	if (e)
		return e;
	if (!c.listen.port) {
		snprintf(err, CONFIG_ERROR_BYTES,
			 "%.200s: `listen` has port 0: give the port that network.conf names",
			 path);
		return -EINVAL;
	}
	if (!c.address.family)
		c.address = c.listen;
	sort_revoked(&c);
	*ret = c;
	return 0;
}

const char *authority_file(const struct authority_config *c, const char *name, char *buf)
{
	snprintf(buf, AUTHORITY_FILE_BYTES, "%s/%s", c->state, name);
	return buf;
}
