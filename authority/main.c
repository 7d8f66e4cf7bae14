/* authority/main.c - sispopnet-authority: init, run, show. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "authority/authority.h"
#include "crypto/kdf.h"
#include "daemon/process.h"

static const char usage_text[] =
	"Usage: sispopnet-authority COMMAND [--config FILE]\n"
	"\n"
	"  init           make this authority's key, once, and print its line for network.conf\n"
	"  run            collect descriptors, test relays, sign and serve the consensus\n"
	"  show [--json]  print the consensus that was signed last\n"
	"\n"
	"  --config FILE  default " AUTHORITY_CONFIG_PATH ", or what SISPOPNET_CONFIG names\n"
	"  --version, --help\n"
	"\n"
	"Exit status: 0 done, 1 failed, 2 usage or config.\n";

static int usage(const char *sentence)
{
	fprintf(stderr, "sispopnet-authority: %s; see sispopnet-authority --help\n", sentence);
	return 2;
}

static int command(const char *config, bool json, int argc, char **argv)
{
	if (argc != 1)
		return usage(argc ? "there is one word too many" : "a command is missing");
	if (!strcmp(argv[0], "show"))
		return authority_show(config, json);
	if (json)
		return usage("--json belongs to show");
	if (!strcmp(argv[0], "init"))
		return authority_init(config);
	if (!strcmp(argv[0], "run"))
		return authority_run(config);
	return usage("there is no such command");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"json", no_argument, NULL, 'j'},
		{"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	const char *config = getenv("SISPOPNET_CONFIG");
	bool json = false;
	int c;
	if (process_harden() || crypto_init()) {
		fputs("sispopnet-authority: the process could not be hardened, or libsodium "
		      "not started\n",
		      stderr);
		return 1;
	}
	if (!config)
		config = AUTHORITY_CONFIG_PATH;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			config = optarg;
			break;
		case 'j':
			json = true;
			break;
		case 'v':
			puts("sispopnet-authority " SISPOPNET_VERSION);
			return 0;
		case 'h':
			fputs(usage_text, stdout);
			return 0;
		default: /* getopt said which */
			return 2;
		}
	}
	return command(config, json, argc - optind, argv + optind);
}
