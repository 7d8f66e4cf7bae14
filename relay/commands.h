/* relay/commands.h - what sispopnet-relay can be asked for besides `run`. Each returns the exit
 * status. */
#pragma once
#include <stdbool.h>

/* Look at config and environment: one line a finding, with its mend. 0 when nothing stands in the
 * way, else 1; 2 for a config that cannot be read. */
int relay_check(const char *config_path);
/* Make the identity and print the name that it gives. */
int relay_keygen(const char *config_path);
/* Ask the running relay. */
int relay_status(const char *config_path, bool json);

struct token_options {
	const char *name;
	const char *expires;  /* "30d"; NULL: never */
	const char *sessions; /* NULL: the default */
	bool json;
};
/* `token add|list|show|revoke`. add prints the token alone on stdout: it is shown this once. */
int relay_token(const char *config_path, const char *verb, const struct token_options *o);
