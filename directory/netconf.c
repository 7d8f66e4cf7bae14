/* directory/netconf.c - network.conf by base/config.h. */
#include "directory/netconf.h"
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/zbase32.h"
#include "directory/params.h"

#define SECTION	   "network"
#define SCHEME	   "http://"
#define FIXED_ROWS 3
#define ROWS	   (FIXED_ROWS + PARAM_COUNT)

static const char *read_authority(const char *value, void *to, const void *arg)
{
	(void)arg;
	struct netconf *c = to;
	struct netconf_authority a = {0};
	if (c->n == NETCONF_AUTHORITIES_MAX)
		return "at most 16 authorities";
	if (zbase32_decode_key(value, a.key))
		return "KEY http://IP:PORT with the key of 52 characters that "
		       "`sispopnet-authority init` prints";
	const char *url = value + ZBASE32_KEY_CHARS;
	size_t blanks = strspn(url, " \t");
	if (!blanks || strncmp(url + blanks, SCHEME, strlen(SCHEME)) ||
	    addr_parse(url + blanks + strlen(SCHEME), &a.addr) || !a.addr.port)
		return "http://IP:PORT after the key (an address, no name; IPv6 in brackets)";
	if (netconf_find(c, a.key) >= 0)
		return "each authority's key once";
	c->authority[c->n++] = a;
	return NULL;
}

/* `arg` is the row of params.c. */
static const char *read_param(const char *value, void *to, const void *arg)
{
	const struct param_row *row = arg;
	struct params *p = to;
	size_t i = (size_t)(row - param_rows);
	uint64_t v = 0;
	bool yes = false;
	struct config_range range = {row->least, row->most};
	const char *expected = row->unit == PARAM_BOOL ? config_bool(value, &yes, NULL)
						       : config_seconds(value, &v, &range);
	if (expected)
		return expected;
	p->v[i] = row->unit == PARAM_BOOL ? yes : (uint32_t)v;
	p->set[i] = true;
	return NULL;
}

static const char *read_k(const char *value, void *to, const void *arg)
{
	static const struct config_range range = {1, NETCONF_AUTHORITIES_MAX};
	uint16_t k;
	(void)arg;
	const char *expected = config_u16(value, &k, &range);
	if (!expected)
		*(uint8_t *)to = (uint8_t)k;
	return expected;
}

static int by_key(const void *a, const void *b)
{
	const struct netconf_authority *x = a, *y = b;
	return memcmp(x->key, y->key, sizeof(x->key));
}

static void make_rows(struct config_row rows[ROWS])
{
	static const struct config_range ids = {1, UINT32_MAX};
	rows[0] = (struct config_row){SECTION, "id", config_u32, offsetof(struct netconf, net_id),
				      &ids,    true, false};
	rows[1] = (struct config_row){SECTION, "authority", read_authority, 0, NULL, true, true};
	rows[2] = (struct config_row){SECTION, "k",  read_k, offsetof(struct netconf, k),
				      NULL,    true, false};
	for (int i = 0; i < PARAM_COUNT; i++)
		rows[FIXED_ROWS + i] =
			(struct config_row){SECTION,	    param_rows[i].word,
					    read_param,	    offsetof(struct netconf, params),
					    &param_rows[i], false,
					    false};
}

static int check(const char *name, struct netconf *c, char *err)
{
	if (c->k > c->n || 2 * c->k <= c->n) {
		snprintf(err, CONFIG_ERROR_BYTES,
			 "%.200s: k = %u does not fit %u authorities: give more than half of them "
			 "and not more than there are, so that no two lists can both be valid",
			 name, c->k, c->n);
		return -EINVAL;
	}
	const char *sentence = params_check(&c->params);
	if (sentence) {
		snprintf(err, CONFIG_ERROR_BYTES, "%.200s: %s", name, sentence);
		return -EINVAL;
	}
	qsort(c->authority, c->n, sizeof(c->authority[0]), by_key);
	return 0;
}

/* One path for both sources: `text` NULL means the file `name`. */
static int load(const char *name, const char *text, struct netconf *ret, char *err)
{
	struct config_row rows[ROWS];
	struct netconf c = {0};
	params_init(&c.params);
	make_rows(rows);
	int e = text ? config_load_text(name, text, rows, ROWS, &c, err)
		     : config_load(name, rows, ROWS, &c, err);
	if (!e)
		e = check(name, &c, err);
	if (!e)
		*ret = c;
	return e;
}

int netconf_load(const char *path, struct netconf *ret, char *err)
{
	return load(path, NULL, ret, err);
}

int netconf_load_text(const char *name, const char *text, struct netconf *ret, char *err)
{
	return load(name, text, ret, err);
}

int netconf_find(const struct netconf *c, const uint8_t key[32])
{
	for (int i = 0; i < c->n; i++)
		if (!memcmp(c->authority[i].key, key, 32))
			return i;
	return -1;
}
