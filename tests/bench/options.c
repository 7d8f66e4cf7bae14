/* tests/bench/options.c - the load generator's command line. See load.h. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/bench/load.h"

static const char usage_text[] =
	"Usage: load MODE --relay PROGRAM [OPTION...]\n"
	"\n"
	"  forward    data over --circuits paths, in the directions of --direction\n"
	"  circuits   data over one path, then --circuits are built, memory, data spread over them\n"
	"  builds     --builds BUILDs as fast as the relay answers, against its Diffie-Hellman bound\n"
	"  flood      data over --circuits paths without and with --flood BUILDs a second\n"
	"  limits     more BUILDs than a client's link may send, and one that only says that it is a relay\n"
	"  relay-limit  more BUILDs than a relay's link may send\n"
	"\n"
	"  --relay PROGRAM         sispopnet-relay\n"
	"  --relay-cpus 0,1        cores of the relay (0)\n"
	"  --own-cpus 1            cores of the generator (1)\n"
	"  --workers N             of the relay (1)\n"
	"  --engine NAME           auto, ipsec-mb or openssl (auto)\n"
	"  --neighbours N          links into the relay, and as many out of it (16)\n"
	"  --direction D           forward, backward or both (forward)\n"
	"  --circuits N, --builds N, --flood N\n"
	"  --seconds S, --windows N  each window, and how many of a kind (2, 3)\n"
	"  --settle S              before memory is looked at the last time (12)\n"
	"  --bytes N               of a datagram, 84 to 1440 (1440)\n"
	"  --rate N                datagrams a second and direction; 0, the default: as fast as --window lets\n"
	"  --window N              datagrams under way in a direction (128)\n"
	"  --burst N               datagrams sent at once (32)\n"
	"  --run N                 datagrams of one path in a row (1)\n"
	"  --verify N              open and compare one of N (64)\n"
	"  --no-gso                send datagrams one by one\n";

enum {
	OPT_RELAY = 256,
	OPT_RELAY_CPUS,
	OPT_OWN_CPUS,
	OPT_WORKERS,
	OPT_ENGINE,
	OPT_NEIGHBOURS,
	OPT_DIRECTION,
	OPT_CIRCUITS,
	OPT_BUILDS,
	OPT_FLOOD,
	OPT_SECONDS,
	OPT_WINDOWS,
	OPT_SETTLE,
	OPT_BYTES,
	OPT_RATE,
	OPT_WINDOW,
	OPT_BURST,
	OPT_RUN,
	OPT_VERIFY,
	OPT_NO_GSO,
	OPT_HELP,
};

static void usage(const char *sentence)
{
	fprintf(stderr, "load: %s (see load --help)\n", sentence);
	exit(2);
}

static unsigned number(const char *text, unsigned least, unsigned most)
{
	char *end;
	errno = 0;
	unsigned long n = strtoul(text, &end, 10);
	if (errno || *end || end == text || n < least || n > most)
		usage("a number is none, or out of range");
	return (unsigned)n;
}

static double seconds(const char *text)
{
	char *end;
	double s = strtod(text, &end);
	if (*end || end == text || !(s > 0 && s <= 3600))
		usage("--seconds needs a time");
	return s;
}

static cpu_set_t cpus(const char *text)
{
	cpu_set_t set;
	char *end = (char *)text;
	CPU_ZERO(&set);
	do {
		CPU_SET(strtoul(text, &end, 10), &set);
		if (end == text || (*end && *end != ','))
			usage("a list of cores is like 0,1");
		text = end + 1;
	} while (*end);
	return set;
}

static void set_direction(struct load_options *o, const char *word)
{
	o->forward = !strcmp(word, "forward") || !strcmp(word, "both");
	o->backward = !strcmp(word, "backward") || !strcmp(word, "both");
	if (!o->forward && !o->backward)
		usage("--direction is forward, backward or both");
}

static void set_data_option(struct stream_config *d, int c, const char *value)
{
	switch (c) {
	case OPT_BYTES:
		d->bytes = (uint16_t)number(value, DATAGRAM_MIN, DATAGRAM_FULL_MOST);
		break;
	case OPT_RATE:
		d->per_s = number(value, 0, 100000000);
		break;
	case OPT_WINDOW:
		d->window = number(value, 1, 1000000);
		break;
	case OPT_BURST:
		d->burst = number(value, 1, GSO_DATAGRAMS_MOST);
		break;
	case OPT_RUN:
		d->run = number(value, 1, 1000000);
		break;
	case OPT_VERIFY:
		d->verify_each = number(value, 1, 1000000);
		break;
	default: /* getopt said which */
		exit(2);
	}
}

static void set_option(struct load_options *o, int c, const char *value)
{
	switch (c) {
	case OPT_RELAY:
		o->relay = value;
		break;
	case OPT_RELAY_CPUS:
		o->relay_cpus = cpus(value);
		break;
	case OPT_OWN_CPUS:
		o->own_cpus = cpus(value);
		break;
	case OPT_WORKERS:
		o->workers = number(value, 1, 16);
		break;
	case OPT_ENGINE:
		o->engine = value;
		break;
	case OPT_NEIGHBOURS:
		o->neighbours = number(value, 1, NETWORK_MEMBERS_MOST / 2);
		break;
	case OPT_DIRECTION:
		set_direction(o, value);
		break;
	case OPT_CIRCUITS:
		o->circuits = number(value, 1, PATHS_MOST);
		break;
	case OPT_BUILDS:
		o->builds = number(value, 1, PATHS_MOST);
		break;
	case OPT_FLOOD:
		o->flood_per_s = number(value, 1, 100000);
		break;
	case OPT_SECONDS:
		o->seconds = seconds(value);
		break;
	case OPT_WINDOWS:
		o->windows = number(value, 1, 1000);
		break;
	case OPT_SETTLE:
		o->settle_s = number(value, 0, 600);
		break;
	case OPT_NO_GSO:
		o->gso = false;
		break;
	case OPT_HELP:
		fputs(usage_text, stdout);
		exit(0);
	default:
		set_data_option(&o->data, c, value);
	}
}

static void (*find_mode(const char *name))(struct load *l)
{
	static const struct {
		const char *name;
		void (*run)(struct load *);
	} modes[] = {{"forward", mode_forward}, {"circuits", mode_circuits},
		     {"builds", mode_builds},	{"flood", mode_flood},
		     {"limits", mode_limits},	{"relay-limit", mode_relay_limit}};
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (!strcmp(modes[i].name, name))
			return modes[i].run;
	usage("there is no such mode");
	return NULL;
}

struct load_options load_options_read(int argc, char **argv)
{
#define ROW(name, opt)                                                                             \
	{                                                                                          \
		name, required_argument, NULL, opt                                                 \
	}
	static const struct option rows[] = {
		ROW("relay", OPT_RELAY),
		ROW("relay-cpus", OPT_RELAY_CPUS),
		ROW("own-cpus", OPT_OWN_CPUS),
		ROW("workers", OPT_WORKERS),
		ROW("engine", OPT_ENGINE),
		ROW("neighbours", OPT_NEIGHBOURS),
		ROW("direction", OPT_DIRECTION),
		ROW("circuits", OPT_CIRCUITS),
		ROW("builds", OPT_BUILDS),
		ROW("flood", OPT_FLOOD),
		ROW("seconds", OPT_SECONDS),
		ROW("windows", OPT_WINDOWS),
		ROW("settle", OPT_SETTLE),
		ROW("bytes", OPT_BYTES),
		ROW("rate", OPT_RATE),
		ROW("window", OPT_WINDOW),
		ROW("burst", OPT_BURST),
		ROW("run", OPT_RUN),
		ROW("verify", OPT_VERIFY),
		{"no-gso", no_argument, NULL, OPT_NO_GSO},
		{"help", no_argument, NULL, OPT_HELP},
		{NULL, 0, NULL, 0},
	};
#undef ROW
	struct load_options o = {
		.engine = "auto",
		.relay_cpus = cpus("0"),
		.own_cpus = cpus("1"),
		.workers = 1,
		.neighbours = 16,
		.forward = true,
		.gso = true,
		.circuits = 1,
		.builds = 20000,
		.seconds = 2,
		.windows = 3,
		.flood_per_s = 8000,
		.settle_s = 12,
		.data = {.bytes = DATAGRAM_FULL_MOST,
			 .run = 1,
			 .burst = 32,
			 .window = 128,
			 .verify_each = 64},
	};
	int c;
	while ((c = getopt_long(argc, argv, "", rows, NULL)) != -1)
		set_option(&o, c, optarg);
	if (optind + 1 != argc || !o.relay)
		usage("one mode and --relay are needed");
	if ((size_t)o.data.burst * o.data.bytes > GSO_BYTES_MOST)
		usage("a burst is at most 65000 bytes: --burst times --bytes is more");
	if (o.data.per_s == 0 && o.data.window < o.data.burst)
		usage("--window holds at least one --burst");
	o.mode = argv[optind];
	o.run = find_mode(o.mode);
	return o;
}
