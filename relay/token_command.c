/* relay/token_command.c - `sispopnet-relay token …`: the accounts of this exit. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "crypto/keyfile.h"
#include "crypto/token.h"
#include "daemon/process.h"
#include "exit/accounts.h"
#include "relay/commands.h"
#include "relay/config.h"

static const struct config_range expires_range = {1, UINT64_C(100) * 366 * 86400};
static const struct config_range sessions_range = {1, 1024};

static int say(const char *sentence)
{
	fprintf(stderr, "sispopnet-relay: %s\n", sentence);
	return 1;
}

static int exit_id(const struct relay_config *c, uint8_t id[32])
{
	char path[200], err[KEYFILE_ERROR_BYTES];
	struct sign_keypair k;
	uint8_t seed[32];

	snprintf(path, sizeof(path), "%s/identity", c->state);
	if (keyfile_read(path, seed, sizeof(seed), err))
		return say(err);
	sign_keypair_from_seed(&k, seed);
	memcpy(id, k.public_key, 32);
	sign_keypair_done(&k);
	wipe(seed, sizeof(seed));
	return 0;
}

static int read_options(const struct token_options *o, struct account *a)
{
	uint64_t seconds = 0;
	const char *expected;

	if (o->expires) {
		expected = config_seconds(o->expires, &seconds, &expires_range);
		if (expected) {
			fprintf(stderr, "sispopnet-relay: --expires %s: expected %s\n", o->expires,
				expected);
			return 2;
		}
		a->expires = clock_unix_seconds() + seconds;
	}
	if (o->sessions) {
		expected = config_u32(o->sessions, &a->max_sessions, &sessions_range);
		if (expected) {
			fprintf(stderr, "sispopnet-relay: --max-sessions %s: expected %s\n",
				o->sessions, expected);
			return 2;
		}
	}
	return 0;
}

static int add(struct accounts *db, const struct relay_config *c, const struct token_options *o)
{
	struct account a = {.created = clock_unix_seconds()};
	char token[TOKEN_CHARS + 1], err[ACCOUNT_ERROR_BYTES];
	struct sign_keypair k;
	uint8_t id[32], seed[32];
	int r = read_options(o, &a);

	if (!r)
		r = exit_id(c, id);
	if (r)
		return r;
	if (strlen(o->name) >= sizeof(a.name))
		return say("the account's name is longer than 64 characters: choose a shorter one");
	strcpy(a.name, o->name);
	token_new(token, &rng_system);
	if (token_seed(token, id, seed)) {
		wipe(token, sizeof(token));
		return say("no memory for Argon2id (64 MiB are needed)");
	}
	sign_keypair_from_seed(&k, seed);
	memcpy(a.public_key, k.public_key, 32);
	sign_keypair_done(&k);
	wipe(seed, sizeof(seed));
	if (accounts_add(db, &a, err)) {
		wipe(token, sizeof(token));
		return say(err);
	}
	r = puts(token) < 0 || fflush(stdout) == EOF
		    ? say("the token could not be written to standard output: revoke the account")
		    : 0;
	wipe(token, sizeof(token));
	return r;
}

static const char *date(uint64_t unix_s, const char *none, char buf[32])
{
	time_t t = (time_t)unix_s;
	struct tm tm;

	if (!unix_s || !gmtime_r(&t, &tm))
		return none;
	strftime(buf, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return buf;
}

static const char *state_of(const struct account *a)
{
	if (a->revoked)
		return "revoked";
	return a->expires && a->expires <= clock_unix_seconds() ? "expired" : "valid";
}

static json_t *account_json(const struct account *a)
{
	return json_pack("{s:s,s:s,s:I,s:I,s:I,s:I}", "name", a->name, "state", state_of(a),
			 "created", (json_int_t)a->created, "expires", (json_int_t)a->expires,
			 "revoked", (json_int_t)a->revoked, "max_sessions",
			 (json_int_t)a->max_sessions);
}

static void print_account(const struct account *a)
{
	char created[32], expires[32];

	printf("%-24s %-8s created %s  expires %s\n", a->name, state_of(a),
	       date(a->created, "-", created), date(a->expires, "never", expires));
}

struct listing {
	json_t *json; /* NULL: lines */
};

static bool list_one(void *arg, const struct account *a)
{
	struct listing *l = arg;

	if (l->json)
		json_array_append_new(l->json, account_json(a));
	else
		print_account(a);
	return true;
}

static void print_json(json_t *o)
{
	json_dumpf(o, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(o);
}

static int list(struct accounts *db, const struct token_options *o)
{
	struct listing l = {.json = o->json ? json_array() : NULL};

	if (accounts_each(db, list_one, &l))
		return say("the accounts could not be read");
	if (l.json)
		print_json(l.json);
	return 0;
}

static int show(struct accounts *db, const struct token_options *o)
{
	struct account a;
	int r = accounts_find_name(db, o->name, &a);

	if (r)
		return say(
			r == -ENOENT
				? "there is no account of that name: see `sispopnet-relay token list`"
				: "the accounts could not be read");
	if (o->json)
		print_json(account_json(&a));
	else
		print_account(&a);
	return 0;
}

int relay_token(const char *config_path, const char *verb, const struct token_options *o)
{
	char err[CONFIG_ERROR_BYTES];
	struct relay_config c;
	struct accounts *db = NULL;
	int r;

	if (relay_config_load(config_path, &c, err)) {
		fprintf(stderr, "%s\n", err);
		return 2;
	}
	if (!c.exit.present) {
		fprintf(stderr, "%s has no [exit] section: only an exit has tokens\n", config_path);
		return 2;
	}
	/* The accounts' file shall be its who runs the relay. */
	if (process_make_folder(c.state, 0700, c.user, err) || process_drop(c.user, false, err) ||
	    accounts_open(c.exit.accounts, &db, err))
		return say(err);
	if (!strcmp(verb, "add"))
		r = add(db, &c, o);
	else if (!strcmp(verb, "list"))
		r = list(db, o);
	else if (!strcmp(verb, "show"))
		r = show(db, o);
	else
		r = accounts_revoke(db, o->name, clock_unix_seconds(), err) ? say(err) : 0;
	accounts_close(db);
	return r;
}
