/* client/cli_up.c - `--up` and `--swap`: ask, derive the token's key while the daemon builds, show
 * the steps, wait. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "client/cli.h"
#include "crypto/kdf.h"

/* --- steps on a terminal --- */

static void show_step(json_t *data)
{
	static const struct {
		const char *word, *text;
	} steps[] = {{"directory", "directory"}, {"guard", "guard answers"},
		     {"path", "path"},		 {"session", "exit granted"},
		     {"tun", "TUN and routes"},	 {"verified", "verified"}};
	const char *word = json_string_value(json_object_get(data, "step"));
	const char *text = json_string_value(json_object_get(data, "text"));
	double ms = json_number_value(json_object_get(data, "after_ms"));

	for (size_t i = 0; word && i < sizeof(steps) / sizeof(steps[0]); i++)
		if (!strcmp(steps[i].word, word))
			fprintf(stderr, "  %-16s %7.1f ms   %s\n", steps[i].text, ms,
				text ? text : "");
}

static void on_event(void *arg, const char *event, json_t *data)
{
	(void)arg;
	if (!strcmp(event, "step") && isatty(2))
		show_step(data);
}

int cli_ask(struct cli *c, const char *method, json_t *params, nsec_t timeout, json_t **ret)
{
	struct control_error e;
	int r = control_call(c->client, method, params, timeout, on_event, c, ret, &e);

	if (!r)
		return CLI_DONE;
	return r == -EREMOTEIO ? cli_refused(&e) : cli_lost(r);
}

/* --- the token's key, one for each exit --- */

static json_t *token_params(const struct cli *c, json_int_t attempt, unsigned i,
			    const uint8_t seed[32])
{
	static const char digits[] = "0123456789abcdef";
	char hex[65];
	json_t *o;

	for (unsigned k = 0; k < 32; k++) {
		hex[2 * k] = digits[seed[k] >> 4];
		hex[2 * k + 1] = digits[seed[k] & 15];
	}
	hex[64] = 0;
	o = json_pack("{s:I,s:s,s:s}", "attempt", attempt, "exit", c->exit_name[i], "seed", hex);
	wipe(hex, sizeof(hex));
	return o;
}

static int send_seeds(struct cli *c, json_int_t attempt)
{
	uint8_t seed[32];
	struct control_error e;
	int r;

	for (unsigned i = 0; i < c->exits; i++) {
		r = token_seed(c->token[c->tokens > 1 ? i : 0], c->exit_id[i], seed);
		if (r)
			return cli_fail(
				CLI_USAGE,
				"the token's key could not be derived: 64 MiB of memory are needed");
		r = control_call(c->client, "token", token_params(c, attempt, i, seed),
				 CLI_ANSWER_TIMEOUT, on_event, c, NULL, &e);
		wipe(seed, sizeof(seed));
		if (r == -EREMOTEIO)
			return CLI_DONE; /* the attempt is over already: `wait` says why */
		if (r)
			return cli_lost(r);
	}
	return CLI_DONE;
}

static json_t *wish_params(const struct cli *c)
{
	json_t *exits = json_array(), *ranges = json_array(), *wish;
	char text[ADDR_TEXT_BYTES];

	for (unsigned i = 0; i < c->exits; i++)
		json_array_append_new(exits, json_string(c->exit_name[i]));
	for (size_t i = 0; i < c->ranges.n; i++)
		json_array_append_new(ranges, json_string(prefix_text(&c->ranges.range[i], text)));
	wish = json_pack("{s:o,s:s,s:i,s:o}", "exits", exits, "auth", c->tokens ? "token" : "open",
			 "timeout_s", c->timeout_s, "ranges", ranges);
	if (wish && c->hops) /* else as many as now, or the default */
		json_object_set_new(wish, "hops", json_integer(c->hops));
	return wish;
}

static int wait_for(struct cli *c, json_int_t attempt)
{
	/* The daemon keeps the time; a little more, so that its answer comes first. */
	nsec_t most = c->timeout_s * NSEC_PER_SEC + CLI_ANSWER_TIMEOUT;
	json_t *status = NULL;
	int r = cli_ask(c, "wait", json_pack("{s:I}", "attempt", attempt), most, &status);

	if (!r && isatty(2))
		fprintf(stderr, "up through %s\n",
			json_string_value(
				json_object_get(json_object_get(status, "exit"), "name")));
	json_decref(status);
	return r;
}

/* --swap changes the exit, not what goes through it. */
static int keep_ranges(struct cli *c)
{
	char err[RANGES_SENTENCE_BYTES];
	json_t *status = NULL;
	int r = cli_ask(c, "status", NULL, CLI_ANSWER_TIMEOUT, &status);
	const json_t *list = json_object_get(status, "ranges");

	for (size_t i = 0; i < json_array_size(list) && !r; i++) {
		const char *text = json_string_value(json_array_get(list, i));

		if (ranges_add(&c->ranges, text ? text : "", err))
			r = cli_fail(CLI_DAEMON, err);
	}
	json_decref(status);
	return r;
}

int cli_up(struct cli *c)
{
	json_t *started = NULL;
	json_int_t attempt;
	bool already;
	int r = CLI_DONE;

	if (isatty(2) && !c->no_wait)
		r = cli_ask(c, "watch", NULL, CLI_ANSWER_TIMEOUT, NULL);
	if (!r && c->keep_ranges)
		r = keep_ranges(c);
	if (!r)
		r = cli_ask(c, "up", wish_params(c), CLI_ANSWER_TIMEOUT, &started);
	if (r)
		return r;
	attempt = json_integer_value(json_object_get(started, "attempt"));
	already = json_is_true(json_object_get(started, "already"));
	json_decref(started);
	if (already)
		return CLI_DONE;
	if (c->tokens)
		r = send_seeds(c, attempt);
	wipe(c->token, sizeof(c->token));
	return r || c->no_wait ? r : wait_for(c, attempt);
}

int cli_down(struct cli *c)
{
	return cli_ask(c, "down", NULL, CLI_ANSWER_TIMEOUT, NULL);
}
