/* client/cli.h - the command line's parts: cli.c reads options, cli_up.c brings up, cli_show.c
 * shows. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "client/ranges.h"
#include "crypto/token.h"
#include "net/control.h"

#define CLI_SOCKET_DEFAULT "/run/sispopnet/vpn.sock"
#define CLI_EXITS_MOST	   8
#define CLI_ANSWER_TIMEOUT (10 * NSEC_PER_SEC) /* for what the daemon answers at once */

/* Exit codes: a contract (docs/CONTROL.md). */
enum cli_code {
	CLI_DONE = 0,
	CLI_USAGE = 2,
	CLI_DAEMON = 3,
	CLI_NO_DIRECTORY = 4,
	CLI_NO_EXIT = 5,
	CLI_NO_PATH = 6,
	CLI_TOKEN = 7,
	CLI_NO_FORWARD = 8,
	CLI_HOST = 9,
	CLI_PERMISSION = 10,
	CLI_TIMEOUT = 11,
};

struct cli {
	int command;
	const char *socket;
	const char *exit_name[CLI_EXITS_MOST];
	uint8_t exit_id[CLI_EXITS_MOST][32];
	unsigned exits;
	unsigned tokens; /* 0: none; 1: for all exits; else one for each, in their order */
	char token[CLI_EXITS_MOST][TOKEN_MAX_BYTES + 1];
	struct ranges ranges;
	bool keep_ranges; /* --swap without --range: those that are in use */
	bool no_wait, json;
	int hops, timeout_s; /* 0: not given */
	struct control_client *client;
};

/* Each prints what it has to say and returns the exit code. */
int cli_up(struct cli *c);
int cli_down(struct cli *c);
int cli_status(struct cli *c);
int cli_watch(struct cli *c);
int cli_exits(struct cli *c);

/* One sentence to stderr; returns code. */
int cli_fail(int code, const char *sentence);
/* The daemon's error, with its exit code. */
int cli_refused(const struct control_error *e);
/* The connection failed with this -errno. */
int cli_lost(int error);
/* Ask; 0 and *ret (json_decref it), or the exit code, said. params is taken. */
int cli_ask(struct cli *c, const char *method, json_t *params, nsec_t timeout, json_t **ret);
