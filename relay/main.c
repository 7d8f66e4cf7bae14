/* relay/main.c - sispopnet-relay: run, check, keygen, status, token. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "crypto/kdf.h"
#include "daemon/process.h"
#include "relay/commands.h"
#include "relay/relay.h"

static const char usage_text[] =
	"Usage: sispopnet-relay COMMAND [--config FILE]\n"
	"\n"
	"  run                      serve, in the foreground\n"
	"  check                    look at config and machine, say what is wrong and how to mend it\n"
	"  keygen                   make this relay's identity and print its name\n"
	"  status [--json]          ask the running relay\n"
	"  token add NAME [--expires 30d] [--max-sessions N]\n"
	"                           make an account; the token is printed once and kept nowhere\n"
	"  token list [--json]      all accounts\n"
	"  token show NAME [--json] one account\n"
	"  token revoke NAME        end it; its sessions end at once\n"
	"\n"
	"  --config FILE            default " RELAY_CONFIG_DEFAULT
	", or what SISPOPNET_CONFIG names\n"
	"  --version, --help\n"
	"\n"
	"Exit status: 0 done, 1 failed, 2 usage or config.\n";

static int usage(const char *sentence)
{
	fprintf(stderr, "sispopnet-relay: %s; see sispopnet-relay --help\n", sentence);
	return 2;
}

static int token(const char *config, int argc, char **argv, struct token_options *o)
{
	static const char *const verbs[] = {"add", "list", "show", "revoke"};
	bool needs_name;

	if (argc < 2)
		return usage("token needs one of add, list, show, revoke");
	for (unsigned i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(argv[1], verbs[i]))
			continue;
		needs_name = strcmp(argv[1], "list") != 0;
		if (argc != (needs_name ? 3 : 2))
			return usage(
				needs_name
					? "this token command needs the account's name and nothing else"
					: "token list takes no name");
		o->name = needs_name ? argv[2] : NULL;
		return relay_token(config, argv[1], o);
	}
	return usage("token knows add, list, show and revoke");
}

static int run_command(const char *config, int argc, char **argv, struct token_options *o)
{
	if (argc < 1)
		return usage("a command is missing");
	if (o->json && strcmp(argv[0], "status") != 0 && strcmp(argv[0], "token") != 0)
		return usage("--json goes with status, token list and token show");
	if ((o->expires || o->sessions) && (argc < 2 || strcmp(argv[1], "add") != 0))
		return usage("--expires and --max-sessions go with token add");
	if (!strcmp(argv[0], "token"))
		return token(config, argc, argv, o);
	if (argc != 1)
		return usage("there is one word too many");
	if (!strcmp(argv[0], "run"))
		return relay_run(config);
	if (!strcmp(argv[0], "check"))
		return relay_check(config);
	if (!strcmp(argv[0], "keygen"))
		return relay_keygen(config);
	if (!strcmp(argv[0], "status"))
		return relay_status(config, o->json);
	return usage("there is no such command");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"json", no_argument, NULL, 'j'},
		{"expires", required_argument, NULL, 'e'},
		{"max-sessions", required_argument, NULL, 's'},
		{"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	const char *config = getenv("SISPOPNET_CONFIG");
	struct token_options o = {0};
	int c;

	if (process_harden() || crypto_init()) {
		fputs("sispopnet-relay: the process could not be hardened or libsodium not be started\n",
		      stderr);
		return 1;
	}
	if (!config)
		config = RELAY_CONFIG_DEFAULT;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			config = optarg;
			break;
		case 'j':
			o.json = true;
			break;
		case 'e':
			o.expires = optarg;
			break;
		case 's':
			o.sessions = optarg;
			break;
		case 'v':
			puts("sispopnet-relay " SISPOPNET_VERSION);
			return 0;
		case 'h':
			fputs(usage_text, stdout);
			return 0;
		default: /* getopt said which */
			return 2;
		}
	}
	return run_command(config, argc - optind, argv + optind, &o);
}
