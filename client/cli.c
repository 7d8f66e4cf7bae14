/* client/cli.c - sispopnet-vpn: the command line. Thin: it asks the daemon over the control socket
 * and shows what comes.
 *
 * The token never leaves this process: only the seed of its key pair at the named exit does
 * (Argon2id, about 100 ms, while the daemon already builds the path). A token on the command line
 * is wiped from argv at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/zbase32.h"
#include "client/cli.h"
#include "crypto/kdf.h"
#include "crypto/token.h"
#include "daemon/process.h"
#include "net/control.h"
#include "onion/wire.h"

#define TIMEOUT_DEFAULT_S 30

static const char usage_text[] =
	"Usage: sispopnet-vpn COMMAND [OPTIONS]\n"
	"\n"
	"  --up --exit NAME.sispop [--exit NAME2.sispop ...] [TOKEN] [--range CIDR ...] [--hops N]\n"
	"       [--timeout S] [--no-wait]\n"
	"                  bring the tunnel up; returns 0 only when a packet came back through it. Exits are tried in\n"
	"                  their order until one serves\n"
	"  --down          take it down; the machine is as it was before\n"
	"  --swap NAME.sispop [TOKEN] [--range CIDR ...]\n"
	"                  move to another exit; the old one carries the traffic until the new one granted. Without\n"
	"                  --range the ranges stay as they are\n"
	"  --status        state, path, lease, ranges, bytes, drops\n"
	"  --watch         one line of JSON for each change, until interrupted\n"
	"  --exits         the exits that the directory lists\n"
	"\n"
	"TOKEN, in the order of preference; given once it serves all exits, else once for each --exit, in their order:\n"
	"  --token-file F  first line of F (a file that others cannot read)\n"
	"  --token-fd N    first line of descriptor N\n"
	"  --token -       first line of standard input\n"
	"  --token T       on the command line: wiped at once, but the shell's history keeps it\n"
	"  (none)          $CREDENTIALS_DIRECTORY/token when systemd gives one; else the exit must be open to all\n"
	"\n"
	"  --range CIDR    only this network goes through the tunnel (up to 16 of them, IPv4 and IPv6), the rest goes as\n"
	"                  without the VPN, and so does DNS: names are asked where they were asked before\n"
	"  --hops N        relays on the way, 1 to 8, the exit included (default 3; --swap keeps them)\n"
	"  --timeout S     give up after S seconds (default 30)\n"
	"  --no-wait       return when the attempt has begun\n"
	"  --json          with --status, --exits: JSON, schema 1\n"
	"  --socket PATH   the daemon's control socket (default " CLI_SOCKET_DEFAULT
	", or $SISPOPNET_SOCKET)\n"
	"  --version, --help\n"
	"\n"
	"Exit status: 0 done, 2 usage, 3 daemon not reachable, 4 no valid directory, 5 no such exit, 6 no path could be\n"
	"built, 7 the exit refused the token, 8 the exit does not forward, 9 the host could not be changed, 10 not\n"
	"permitted, 11 timed out.\n";

enum command { CMD_NONE, CMD_UP, CMD_DOWN, CMD_SWAP, CMD_STATUS, CMD_WATCH, CMD_EXITS };

enum {
	OPT_UP = 1,
	OPT_DOWN,
	OPT_SWAP,
	OPT_STATUS,
	OPT_WATCH,
	OPT_EXITS,
	OPT_EXIT,
	OPT_TOKEN,
	OPT_TOKEN_FILE,
	OPT_TOKEN_FD,
	OPT_RANGE,
	OPT_HOPS,
	OPT_TIMEOUT,
	OPT_NO_WAIT,
	OPT_JSON,
	OPT_SOCKET,
	OPT_VERSION,
	OPT_HELP
};

static const struct option options[] = {
	{"up", no_argument, NULL, OPT_UP},
	{"down", no_argument, NULL, OPT_DOWN},
	{"swap", required_argument, NULL, OPT_SWAP},
	{"status", no_argument, NULL, OPT_STATUS},
	{"watch", no_argument, NULL, OPT_WATCH},
	{"exits", no_argument, NULL, OPT_EXITS},
	{"exit", required_argument, NULL, OPT_EXIT},
	{"token", required_argument, NULL, OPT_TOKEN},
	{"token-file", required_argument, NULL, OPT_TOKEN_FILE},
	{"token-fd", required_argument, NULL, OPT_TOKEN_FD},
	{"range", required_argument, NULL, OPT_RANGE},
	{"hops", required_argument, NULL, OPT_HOPS},
	{"timeout", required_argument, NULL, OPT_TIMEOUT},
	{"no-wait", no_argument, NULL, OPT_NO_WAIT},
	{"json", no_argument, NULL, OPT_JSON},
	{"socket", required_argument, NULL, OPT_SOCKET},
	{"version", no_argument, NULL, OPT_VERSION},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL, 0, NULL, 0},
};

/* The exit codes of the daemon's error words. */
static const struct {
	const char *word;
	int code;
} codes[] = {
	{"bad-request", CLI_USAGE},
	{"no-directory", CLI_NO_DIRECTORY},
	{"bad-name", CLI_NO_EXIT},
	{"no-such-exit", CLI_NO_EXIT},
	{"no-path", CLI_NO_PATH},
	{"auth-bad", CLI_TOKEN},
	{"auth-expired", CLI_TOKEN},
	{"auth-quota", CLI_TOKEN},
	{"auth-in-use", CLI_TOKEN},
	{"auth-full", CLI_TOKEN},
	{"auth-policy", CLI_TOKEN},
	{"auth-version", CLI_TOKEN},
	{"exit-no-forward", CLI_NO_FORWARD},
	{"exit-bad-grant", CLI_NO_FORWARD},
	{"host-failed", CLI_HOST},
	{"not-permitted", CLI_PERMISSION},
	{"timed-out", CLI_TIMEOUT},
	{"cancelled", CLI_TIMEOUT},
};

int cli_fail(int code, const char *sentence)
{
	fprintf(stderr, "sispopnet-vpn: %s\n", sentence);
	return code;
}

static int usage(const char *sentence)
{
	fprintf(stderr, "sispopnet-vpn: %s; see sispopnet-vpn --help\n", sentence);
	return CLI_USAGE;
}

int cli_refused(const struct control_error *e)
{
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (!strcmp(codes[i].word, e->code))
			return cli_fail(codes[i].code, e->message);
	return cli_fail(CLI_DAEMON, e->message);
}

int cli_lost(int error)
{
	char line[256];

	if (error == -ETIMEDOUT)
		return cli_fail(CLI_TIMEOUT, "timed out: the daemon did not answer in time");
	snprintf(line, sizeof(line),
		 "the daemon went away or does not speak this version (%s): look at its log",
		 strerror(-error));
	return cli_fail(CLI_DAEMON, line);
}

/* --- the token --- */

static int first_line(int fd, char token[TOKEN_MAX_BYTES + 1])
{
	size_t n = 0;
	ssize_t r;

	while (n <= TOKEN_MAX_BYTES && (r = read(fd, token + n, 1)) > 0 && token[n] != '\n')
		n++;
	if (n > 0 && n <= TOKEN_MAX_BYTES && token[n - 1] == '\r')
		n--;
	if (n > TOKEN_MAX_BYTES || n == 0 || memchr(token, 0, n)) {
		wipe(token, TOKEN_MAX_BYTES + 1);
		return -EINVAL;
	}
	token[n] = 0;
	return 0;
}

static int token_from_fd(struct cli *c, int fd, const char *what)
{
	char line[300];

	if (!first_line(fd, c->token[c->tokens])) {
		c->tokens++;
		return 0;
	}
	snprintf(line, sizeof(line),
		 "no token on the first line of %s: it must hold 1 to %d bytes, none of them 0",
		 what, TOKEN_MAX_BYTES);
	return cli_fail(CLI_USAGE, line);
}

static int token_from_file(struct cli *c, const char *path)
{
	char line[400];
	int fd = open(path, O_RDONLY | O_CLOEXEC), r;

	if (fd < 0) {
		snprintf(line, sizeof(line), "the token file %.200s could not be opened: %s", path,
			 strerror(errno));
		return cli_fail(CLI_USAGE, line);
	}
	r = token_from_fd(c, fd, path);
	close(fd);
	return r;
}

static int token_from_argv(struct cli *c, char *arg)
{
	size_t n = strlen(arg);

	if (!strcmp(arg, "-"))
		return token_from_fd(c, 0, "standard input");
	if (n == 0 || n > TOKEN_MAX_BYTES) {
		wipe(arg, n);
		return cli_fail(CLI_USAGE, "--token takes 1 to 256 bytes");
	}
	memcpy(c->token[c->tokens++], arg, n + 1);
	wipe(arg, n); /* /proc/PID/cmdline shows blanks from now on */
	return 0;
}

/* systemd's LoadCredential=token:... */
static int token_from_credentials(struct cli *c)
{
	const char *folder = getenv("CREDENTIALS_DIRECTORY");
	char path[512];

	if (!folder)
		return 0;
	snprintf(path, sizeof(path), "%s/token", folder);
	return access(path, R_OK) ? 0 : token_from_file(c, path);
}

/* --- options --- */

static int number(const char *text, const char *what, long least, long most, long *ret)
{
	char *end, line[160];

	errno = 0;
	*ret = strtol(text, &end, 10);
	if (!errno && end != text && !*end && *ret >= least && *ret <= most)
		return 0;
	snprintf(line, sizeof(line), "%s takes a number from %ld to %ld, not \"%.40s\"", what,
		 least, most, text);
	return usage(line);
}

static int add_exit(struct cli *c, const char *name)
{
	uint8_t id[32];

	if (c->exits == CLI_EXITS_MOST)
		return usage("--exit may be given at most 8 times");
	if (name_to_id(name, id)) {
		char line[300];
		snprintf(
			line, sizeof(line),
			"\"%.80s\" is no exit's name: it has 52 characters of z-base-32, the last one y or o, and ends in "
			".sispop; check it for a slip",
			name);
		return cli_fail(CLI_NO_EXIT, line);
	}
	c->exit_name[c->exits] = name;
	memcpy(c->exit_id[c->exits++], id, 32);
	return 0;
}

static int add_range(struct cli *c, const char *text)
{
	char line[RANGES_SENTENCE_BYTES];

	return ranges_add(&c->ranges, text, line) ? usage(line) : 0;
}

/* Each `--token` and its kind is one more. */
static int add_token(struct cli *c, int o, char *arg)
{
	long n;
	int r;

	if (c->tokens == CLI_EXITS_MOST)
		return usage("at most 8 tokens can be given, one for each --exit");
	if (o == OPT_TOKEN)
		return token_from_argv(c, arg);
	if (o == OPT_TOKEN_FILE)
		return token_from_file(c, arg);
	r = number(arg, "--token-fd", 0, 1 << 20, &n);
	return r ? r : token_from_fd(c, (int)n, "the descriptor of --token-fd");
}

static int command(struct cli *c, enum command cmd)
{
	if (c->command != CMD_NONE && c->command != (int)cmd)
		return usage(
			"only one of --up, --down, --swap, --status, --watch and --exits can be asked for");
	c->command = cmd;
	return 0;
}

static int one_option(struct cli *c, int o)
{
	long n = 0;
	int r = 0;

	switch (o) {
	case OPT_UP:
		return command(c, CMD_UP);
	case OPT_DOWN:
		return command(c, CMD_DOWN);
	case OPT_STATUS:
		return command(c, CMD_STATUS);
	case OPT_WATCH:
		return command(c, CMD_WATCH);
	case OPT_EXITS:
		return command(c, CMD_EXITS);
	case OPT_SWAP:
		r = command(c, CMD_SWAP);
		return r ? r : add_exit(c, optarg);
	case OPT_EXIT:
		return add_exit(c, optarg);
	case OPT_TOKEN:
	case OPT_TOKEN_FILE:
	case OPT_TOKEN_FD:
		return add_token(c, o, optarg);
	case OPT_RANGE:
		return add_range(c, optarg);
	case OPT_HOPS:
		r = number(optarg, "--hops", 1, 8, &n);
		c->hops = (int)n;
		return r;
	case OPT_TIMEOUT:
		r = number(optarg, "--timeout", 1, 600, &n);
		c->timeout_s = (int)n;
		return r;
	case OPT_NO_WAIT:
		c->no_wait = true;
		return 0;
	case OPT_JSON:
		c->json = true;
		return 0;
	case OPT_SOCKET:
		c->socket = optarg;
		return 0;
	default: /* getopt said which */
		return CLI_USAGE;
	}
}

static int connect_daemon(struct cli *c)
{
	char line[400];
	int r = control_connect(c->socket, &c->client);

	if (!r)
		return 0;
	if (r == -EACCES || r == -EPERM)
		snprintf(
			line, sizeof(line),
			"not permitted to use %.180s: be root, or join the daemon's group (usually sispopnet) and log in anew",
			c->socket);
	else
		snprintf(line, sizeof(line), "no daemon answers at %.180s (%s): start sispopnetd",
			 c->socket, strerror(-r));
	return cli_fail(r == -EACCES || r == -EPERM ? CLI_PERMISSION : CLI_DAEMON, line);
}

/* What goes with what. */
static int check_options(const struct cli *c)
{
	bool is_up = c->command == CMD_UP || c->command == CMD_SWAP;

	if (c->command == CMD_NONE)
		return usage(
			"nothing was asked for: --up, --down, --swap, --status, --watch or --exits");
	if (c->command == CMD_UP && !c->exits)
		return usage("--up needs --exit NAME.sispop");
	if (c->exits && !is_up)
		return usage("--exit goes with --up");
	if (c->ranges.n && !is_up)
		return usage("--range goes with --up or --swap");
	if ((c->tokens || c->hops || c->timeout_s || c->no_wait) && !is_up)
		return usage("a token, --hops, --timeout and --no-wait go with --up or --swap");
	if (c->json && (is_up || c->command == CMD_DOWN))
		return usage("--json goes with --status or --exits");
	if (is_up && c->tokens > 1 && c->tokens != c->exits)
		return usage("give one token for all exits, or one for each --exit in their order");
	return 0;
}

static int run(struct cli *c)
{
	int r = check_options(c);

	c->timeout_s = c->timeout_s ? c->timeout_s : TIMEOUT_DEFAULT_S;
	if (!r && (c->command == CMD_UP || c->command == CMD_SWAP) && !c->tokens)
		r = token_from_credentials(c);
	c->keep_ranges = c->command == CMD_SWAP && !c->ranges.n;
	if (!r)
		r = connect_daemon(c);
	if (r)
		return r;
	switch (c->command) {
	case CMD_UP:
	case CMD_SWAP:
		return cli_up(c);
	case CMD_DOWN:
		return cli_down(c);
	case CMD_STATUS:
		return cli_status(c);
	case CMD_WATCH:
		return cli_watch(c);
	default:
		return cli_exits(c);
	}
}

int main(int argc, char **argv)
{
	const char *socket = getenv("SISPOPNET_SOCKET");
	struct cli c = {.socket = socket ? socket : CLI_SOCKET_DEFAULT};
	int o, r = 0;

	if (process_harden() || crypto_init())
		return cli_fail(CLI_DAEMON,
				"the process could not be hardened or libsodium not be started");
	if (mlock(c.token, sizeof(c.token)) < 0 && errno != EPERM && errno != ENOMEM)
		return cli_fail(CLI_DAEMON, "the token's memory could not be kept out of swap");
	while (!r && (o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (o == OPT_VERSION)
			return puts("sispopnet-vpn " SISPOPNET_VERSION) < 0;
		if (o == OPT_HELP)
			return fputs(usage_text, stdout) < 0;
		r = one_option(&c, o);
	}
	if (!r && optind != argc)
		r = usage("there is a word too many");
	if (!r)
		r = run(&c);
	control_disconnect(c.client);
	wipe(c.token, sizeof(c.token));
	return r;
}
