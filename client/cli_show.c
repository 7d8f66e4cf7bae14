/* client/cli_show.c - `--status`, `--exits`, `--watch`: for people, and as JSON for programs. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "client/cli.h"

static const char *str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s ? s : "-";
}

static int print_json(json_t *o)
{
	int r = json_dumpf(o, stdout, JSON_COMPACT) < 0 || putchar('\n') == EOF ||
		fflush(stdout) == EOF;

	return r ? cli_fail(CLI_DAEMON, "the answer could not be written to standard output")
		 : CLI_DONE;
}

static void print_bytes(const char *what, double n)
{
	static const char *const unit[] = {"B", "kB", "MB", "GB", "TB"};
	unsigned u = 0;

	for (; n >= 1000 && u < 4; u++)
		n /= 1000;
	printf(u ? "%s %.1f %s" : "%s %.0f %s", what, n, unit[u]);
}

static void print_path(const json_t *p)
{
	const json_t *hop;
	size_t i;

	printf("%-10s", str(p, "role"));
	json_array_foreach(json_object_get(p, "hops"), i, hop)
		printf("%s%s", i ? " > " : "", str(hop, "address"));
	printf("   round trip %.1f ms, %.0f s old\n",
	       json_number_value(json_object_get(p, "rtt_ms")),
	       json_number_value(json_object_get(p, "age_s")));
}

static void print_lease(const json_t *l)
{
	const json_t *d;
	size_t i;

	printf("lease     %s  %s  MTU %lld", str(l, "ipv4"), str(l, "ipv6"),
	       (long long)json_integer_value(json_object_get(l, "mtu")));
	json_array_foreach(json_object_get(l, "dns"), i, d)
		printf("%s%s", i ? " " : "  DNS ", json_string_value(d));
	printf("\n");
}

static void print_ranges(const json_t *ranges)
{
	if (!json_array_size(ranges))
		return;
	printf("ranges   ");
	for (size_t i = 0; i < json_array_size(ranges); i++)
		printf(" %s", json_string_value(json_array_get(ranges, i)));
	printf("\n");
}

static void print_status(json_t *s)
{
	const json_t *exit = json_object_get(s, "exit"), *bytes = json_object_get(s, "bytes"), *p,
		     *n;
	const char *key;
	size_t i;

	printf("state     %s", str(s, "state"));
	if (json_object_get(s, "why"))
		printf(": %s", str(s, "why"));
	if (json_number_value(json_object_get(s, "up_s")) > 0)
		printf(", for %.0f s", json_number_value(json_object_get(s, "up_s")));
	printf("\n");
	if (json_is_object(exit))
		printf("exit      %s  %s\n", str(exit, "name"), str(exit, "address"));
	if (json_is_object(json_object_get(s, "lease")))
		print_lease(json_object_get(s, "lease"));
	print_ranges(json_object_get(s, "ranges"));
	json_array_foreach(json_object_get(s, "paths"), i, p) print_path(p);
	print_bytes("traffic   up", json_number_value(json_object_get(bytes, "up")));
	print_bytes(", down", json_number_value(json_object_get(bytes, "down")));
	printf("\n");
	json_object_foreach(json_object_get(s, "drops"), key, n)
		printf("dropped   %-20s %lld\n", key, (long long)json_integer_value(n));
}

int cli_status(struct cli *c)
{
	json_t *s = NULL;
	int r = cli_ask(c, "status", NULL, CLI_ANSWER_TIMEOUT, &s);

	if (r)
		return r;
	if (c->json)
		r = print_json(s);
	else
		print_status(s);
	json_decref(s);
	return r;
}

int cli_exits(struct cli *c)
{
	json_t *o = NULL, *e;
	size_t i;
	int r = cli_ask(c, "exits", NULL, CLI_ANSWER_TIMEOUT, &o);

	if (r)
		return r;
	if (c->json)
		r = print_json(o);
	else
		json_array_foreach(json_object_get(o, "exits"), i, e)
			printf("%s  %-39s %6lld Mbit/s  %s\n", str(e, "name"), str(e, "address"),
			       (long long)json_integer_value(json_object_get(e, "mbit")),
			       str(e, "nickname"));
	json_decref(o);
	return r;
}

static void print_event(void *arg, const char *event, json_t *data)
{
	json_t *line = json_pack("{s:s,s:O}", "event", event, "data", data);

	(void)arg;
	if (line)
		print_json(line);
	json_decref(line);
}

int cli_watch(struct cli *c)
{
	json_t *first = NULL;
	int r = cli_ask(c, "watch", NULL, CLI_ANSWER_TIMEOUT, &first);

	if (r)
		return r;
	print_event(NULL, "state", first);
	json_decref(first);
	while (!(r = control_wait_event(c->client, NSEC_NEVER, print_event, NULL)))
		if (ferror(stdout))
			return cli_fail(CLI_DAEMON, "standard output was closed");
	return r == -EINTR ? CLI_DONE : cli_lost(r);
}
