/* tests/fuzz/fuzz_netconf.c - any text as network.conf, as a guards file, as policy lines. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "directory/guards.h"
#include "directory/netconf.h"
#include "directory/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void as_netconf(const char *text)
{
	struct netconf c;
	char err[CONFIG_ERROR_BYTES] = "";
	int e = netconf_load_text("f", text, &c, err);
	if ((e == 0) != (err[0] == '\0'))
		abort();
	if (e == 0 && (c.k > c.n || 2 * c.k <= c.n || c.n > NETCONF_AUTHORITIES_MAX || !c.net_id))
		abort();
}

static void as_guards(const char *text, size_t n)
{
	struct guards g, back;
	char out[GUARDS_TEXT_MAX_BYTES];
	if (guards_read(text, n, &g))
		return;
	size_t len = guards_write(&g, out, sizeof(out));
	if (len >= sizeof(out) || guards_read(out, len, &back) || back.n != g.n)
		abort();
}

static void as_policy(char *text)
{
	struct policy p = {0};
	char err[POLICY_ERROR_BYTES], line[POLICY_TEXT_BYTES], *rest;
	for (char *l = strtok_r(text, "\n", &rest); l; l = strtok_r(NULL, "\n", &rest)) {
		uint16_t before = p.n;
		if (policy_add_text(&p, l, err) == 0)
			for (struct policy q = {0}; before < p.n; before++)
				if (policy_add_text(&q, policy_rule_text(&p.rule[before], line),
						    err))
					abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	char *text = malloc(n + 1);
	if (!text)
		return 0;
	memcpy(text, bytes, n);
	text[n] = '\0';
	as_guards(text, n);
	as_netconf(text);
	as_policy(text);
	free(text);
	return 0;
}
