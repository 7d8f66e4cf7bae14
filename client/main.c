/* client/main.c - sispopnetd's options. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/log.h"
#include "client/client.h"
#include "crypto/kdf.h"
#include "daemon/process.h"

static const char usage_text[] =
	"Usage: sispopnetd [--config FILE] [--cleanup]\n"
	"\n"
	"The client daemon, in the foreground; sispopnet-vpn drives it.\n"
	"  --config FILE  default " CLIENT_CONFIG_DEFAULT ", or what SISPOPNET_CONFIG names\n"
	"  --cleanup      take back what a daemon that died left on this host, then end\n"
	"  --version, --help\n"
	"\n"
	"Exit status: 0 ended as asked, 1 failed, 2 usage or config, 9 the host does not let it work.\n";

static int fail(const char *sentence)
{
	fprintf(stderr, "sispopnetd: %s\n", sentence);
	return 1;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"cleanup", no_argument, NULL, 'C'},
		{"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	static struct client c = {.periods = PERIODS_DEFAULT};
	const char *path = getenv("SISPOPNET_CONFIG");
	char err[CONFIG_ERROR_BYTES];
	bool only_cleanup = false;
	int o;

	if (process_harden() || crypto_init())
		return fail("the process could not be hardened or libsodium not be started");
	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (o == 'c')
			path = optarg;
		else if (o == 'C')
			only_cleanup = true;
		else if (o == 'v')
			return puts("sispopnetd " SISPOPNET_VERSION) < 0;
		else if (o == 'h')
			return fputs(usage_text, stdout) < 0;
		else
			return 2;
	}
	if (optind != argc) {
		fail("there is a word too many; see sispopnetd --help");
		return 2;
	}
	if (client_config_load(path ? path : CLIENT_CONFIG_DEFAULT, &c.config, err) ||
	    (!only_cleanup && netconf_load(c.config.network, &c.net, err))) {
		fprintf(stderr, "%s\n", err);
		return 2;
	}
	log_set_level(c.config.log);
	if (only_cleanup)
		return client_cleanup(&c);
	if (aead_engine_choose(c.config.engine)) {
		fail("the AES engine of `engine` does not run on this CPU: set engine = auto");
		return 2;
	}
	return client_run(&c);
}
