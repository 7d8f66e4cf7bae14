/* client/methods.c - the control socket's methods: docs/CONTROL.md. Control thread. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/log.h"
#include "base/zbase32.h"
#include "client/client.h"
#include "crypto/kdf.h"

#define TIMEOUT_LEAST_S 1
#define TIMEOUT_MOST_S	600
#define PARAMS_MOST	5

static const char *const step_words[STEP_COUNT] = {"directory", "guard", "path",
						   "session",	"tun",	 "verified"};

/* --- events --- */

void methods_step(struct client *c, enum step s, const char *text, nsec_t now)
{
	if (c->step_done[s])
		return;
	c->step_done[s] = true;
	log_info("%s after %lld ms", step_words[s],
		 (long long)((now - c->attempt_started) / NSEC_PER_MSEC));
	if (c->control && control_watchers(c->control))
		control_event(c->control, "step",
			      json_pack("{s:I,s:s,s:s,s:f}", "attempt", (json_int_t)c->attempt,
					"step", step_words[s], "text", text, "after_ms",
					(double)(now - c->attempt_started) / NSEC_PER_MSEC));
}

void methods_state_changed(struct client *c)
{
	if (c->control && control_watchers(c->control))
		control_event(c->control, "state", status_json(c));
}

/* --- waiting for an attempt --- */

static void answer_waiter(struct client *c, struct control_request *q)
{
	if (c->fault == FAULT_NONE)
		control_reply(q, status_json(c));
	else
		control_reply_error(q, fault_word(c->fault), "%s", c->sentence);
}

void methods_attempt_over(struct client *c)
{
	for (unsigned i = 0; i < WAITERS_MOST; i++) {
		struct control_request *q = c->waiter[i];

		c->waiter[i] = NULL;
		if (q)
			answer_waiter(c, q);
	}
}

static void on_waiter_gone(void *arg, struct control_request *q)
{
	struct client *c = arg;

	for (unsigned i = 0; i < WAITERS_MOST; i++)
		if (c->waiter[i] == q)
			c->waiter[i] = NULL;
	control_reply(q, NULL);
}

static void method_wait(struct client *c, struct control_request *q, json_t *params)
{
	json_int_t attempt = json_integer_value(json_object_get(params, "attempt"));

	if (attempt <= 0 || (uint64_t)attempt != c->attempt) {
		control_reply_error(q, fault_word(FAULT_CANCELLED), "another --up took over");
		return;
	}
	if (c->attempt_over) {
		answer_waiter(c, q);
		return;
	}
	for (unsigned i = 0; i < WAITERS_MOST; i++) {
		if (c->waiter[i])
			continue;
		c->waiter[i] = q;
		control_request_on_gone(q, on_waiter_gone, c);
		return;
	}
	control_reply_error(q, "busy", "too many programs wait for this attempt: end one");
}

/* --- up, token, down --- */

static bool read_exit(const json_t *v, uint8_t id[32])
{
	const char *name = json_string_value(v);

	return name && !name_to_id(name, id);
}

/* NULL, or what is wrong with them. */
static const char *read_ranges(const json_t *list, struct ranges *r)
{
	static char sentence[RANGES_SENTENCE_BYTES];

	if (list && !json_is_array(list))
		return "ranges must be a list of networks";
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i));

		if (!text)
			return "ranges must be a list of networks";
		if (ranges_add(r, text, sentence))
			return sentence;
	}
	return NULL;
}

/* NULL, or what is wrong with the request. */
static const char *read_wish(const struct client *c, json_t *params, struct wish *w)
{
	json_t *exits = json_object_get(params, "exits"), *hops = json_object_get(params, "hops");
	json_t *timeout = json_object_get(params, "timeout_s");
	const char *auth = json_string_value(json_object_get(params, "auth"));
	json_int_t seconds = timeout ? json_integer_value(timeout) : UP_TIMEOUT_S;
	json_int_t as_now = c->carrier ? c->carrier->hops : HOPS_DEFAULT;
	json_int_t count = hops ? json_integer_value(hops) : as_now;

	memset(w, 0, sizeof(*w));
	if (!json_is_array(exits) || !json_array_size(exits) || json_array_size(exits) > EXITS_MOST)
		return "exits must be a list of 1 to 8 names";
	w->exits = (unsigned)json_array_size(exits);
	for (unsigned i = 0; i < w->exits; i++)
		if (!read_exit(json_array_get(exits, i), w->exit[i].id))
			return "";
	if (count < 1 || count > HOPS_MAX)
		return "hops must be a number from 1 to 8";
	w->hops = (unsigned)count;
	if (!auth || (strcmp(auth, "token") && strcmp(auth, "open")))
		return "auth must be token or open";
	w->open = !strcmp(auth, "open");
	if (seconds < TIMEOUT_LEAST_S || seconds > TIMEOUT_MOST_S)
		return "timeout_s must be a number from 1 to 600";
	w->timeout = seconds * NSEC_PER_SEC;
	return read_ranges(json_object_get(params, "ranges"), &w->ranges);
}

static bool is_up_with(const struct client *c, const struct wish *w)
{
	return c->state == CLIENT_UP && c->attempt_over && c->carrier &&
	       !memcmp(c->carrier->id, w->exit[0].id, 32) && c->carrier->hops == w->hops &&
	       ranges_equal(&c->carrier->ranges, &w->ranges);
}

static void method_up(struct client *c, struct control_request *q, json_t *params)
{
	nsec_t now = clock_now();
	struct wish w;
	char err[ROUTING_ERROR_BYTES];
	const char *wrong = read_wish(c, params, &w);
	enum fault f;

	if (wrong) {
		if (*wrong)
			control_reply_error(q, fault_word(FAULT_BAD_REQUEST), "%s", wrong);
		else
			control_reply_error(
				q, fault_word(FAULT_BAD_NAME),
				"a name of an exit is 52 characters of z-base-32 and .sispop: check it for a slip");
		return;
	}
	if (is_up_with(c, &w)) { /* --up while up is a success */
		control_reply(
			q, json_pack("{s:I,s:b}", "attempt", (json_int_t)c->attempt, "already", 1));
		return;
	}
	f = tunnel_up(c, &w, now, err);
	if (f != FAULT_NONE)
		control_reply_error(q, fault_word(f), "%s", err);
	else
		control_reply(
			q, json_pack("{s:I,s:b}", "attempt", (json_int_t)c->attempt, "already", 0));
}

static bool read_seed(const char *hex, uint8_t seed[32])
{
	if (!hex || strlen(hex) != 64 || strspn(hex, "0123456789abcdef") != 64)
		return false;
	for (unsigned i = 0; i < 32; i++) {
		unsigned v;
		if (sscanf(hex + 2 * i, "%2x", &v) != 1)
			return false;
		seed[i] = (uint8_t)v;
	}
	return true;
}

static void method_token(struct client *c, struct control_request *q, json_t *params)
{
	const json_t *attempt = json_object_get(params, "attempt");
	uint8_t id[32], seed[32];

	if (attempt && (uint64_t)json_integer_value(attempt) != c->attempt)
		control_reply_error(q, fault_word(FAULT_CANCELLED), "another --up took over");
	else if (!read_exit(json_object_get(params, "exit"), id) ||
		 !read_seed(json_string_value(json_object_get(params, "seed")), seed))
		control_reply_error(q, fault_word(FAULT_BAD_REQUEST),
				    "token needs exit (a name) and seed (64 hex digits)");
	else if (tunnel_seed(c, id, seed, clock_now()))
		control_reply_error(q, fault_word(FAULT_CANCELLED),
				    "no --up waits for this exit's token");
	else
		control_reply(q, NULL);
	wipe(seed, sizeof(seed));
}

static void method_down(struct client *c, struct control_request *q, json_t *params)
{
	char err[ROUTING_ERROR_BYTES];

	(void)params;
	if (tunnel_down(c, clock_now(), err))
		control_reply_error(q, fault_word(FAULT_HOST), "%s", err);
	else
		control_reply(q, status_json(c));
}

/* --- looking --- */

static void method_status(struct client *c, struct control_request *q, json_t *params)
{
	(void)params;
	control_reply(q, status_json(c));
}

static void method_watch(struct client *c, struct control_request *q, json_t *params)
{
	(void)params;
	control_watch(q);
	control_reply(q, status_json(c));
}

static void method_exits(struct client *c, struct control_request *q, json_t *params)
{
	const struct directory *d = dirsync_current(c->dirsync, clock_now());
	json_t *list;
	char name[NAME_BYTES], text[ADDR_TEXT_BYTES];

	(void)params;
	if (!d) {
		control_reply_error(q, fault_word(FAULT_NO_DIRECTORY),
				    "there is no valid directory: %s", dirsync_error(c->dirsync));
		return;
	}
	list = json_array();
	for (size_t i = 0; i < d->n; i++) {
		const struct relay *r = &d->relay[i];

		if (!(r->flags & RELAY_FLAG_EXIT))
			continue;
		name_from_id(r->id, name);
		json_array_append_new(
			list, json_pack("{s:s,s:s,s:s,s:I}", "name", name, "address",
					addr_ip_text(r->v4.family ? &r->v4 : &r->v6, text),
					"nickname", r->nickname, "mbit", (json_int_t)r->mbit));
	}
	control_reply(q, json_pack("{s:i,s:o}", "schema", 1, "exits", list));
}

/* One table: method, who may, what it takes, what is done. */
static const struct {
	const char *name;
	bool changes;
	const char *params[PARAMS_MOST + 1];
	void (*run)(struct client *c, struct control_request *q, json_t *params);
} methods[] = {
	{"up", true, {"exits", "hops", "timeout_s", "auth", "ranges"}, method_up},
	{"token", true, {"attempt", "exit", "seed"}, method_token},
	{"wait", true, {"attempt"}, method_wait},
	{"down", true, {NULL}, method_down},
	{"status", false, {NULL}, method_status},
	{"watch", false, {NULL}, method_watch},
	{"exits", false, {NULL}, method_exits},
};

/* The first parameter that the method does not take; NULL: all are known. */
static const char *unknown_param(const char *const *known, json_t *params)
{
	const char *key;
	json_t *value;

	json_object_foreach(params, key, value)
	{
		unsigned i = 0;

		while (known[i] && strcmp(known[i], key))
			i++;
		if (!known[i])
			return key;
	}
	return NULL;
}

static void run_method(struct client *c, struct control_request *q, size_t i, json_t *params)
{
	const char *unknown = unknown_param(methods[i].params, params);

	if (methods[i].changes && !control_request_peer(q)->may_change)
		control_reply_error(
			q, fault_word(FAULT_PERMISSION),
			"changing the tunnel needs root or membership in the daemon's group: add yourself to it and "
			"log in anew");
	else if (unknown)
		control_reply_error(
			q, fault_word(FAULT_BAD_REQUEST),
			"%s has no parameter %.40s: the daemon may be older than the program that asks",
			methods[i].name, unknown);
	else
		methods[i].run(c, q, params);
}

static void handle(void *arg, struct control_request *q, const char *method, json_t *params)
{
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (!strcmp(methods[i].name, method)) {
			run_method(arg, q, i, params);
			return;
		}
	control_reply_error(
		q, "unknown-method",
		"there is no method of that name: up, token, wait, down, status, watch, exits");
}

int methods_open(struct client *c, char *err)
{
	const struct control_config cc = {
		.path = c->config.socket, .group = c->config.group, .handle = handle, .arg = c};
	int r = control_open(c->base, &cc, &c->control);

	if (r)
		snprintf(
			err, SENTENCE_BYTES, "the control socket %s could not be opened: %s",
			c->config.socket,
			r == -EADDRINUSE
				? "another daemon serves it; end that one first, or set `socket` to another path"
				: strerror(-r));
	return r;
}
