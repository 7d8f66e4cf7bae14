/* tests/bench/load.c - the load generator: plays the neighbours of one real sispopnet-relay and
 *measures it.
 *
 *	load MODE --relay PROGRAM [OPTION...]        one JSON object on stdout; 0 when all checks
 *hold
 *
 * It makes a network namespace of its own (root), in it a relay's folder and a relay, and is, on
 *one thread, the previous and the next hop of as many paths as asked for. Nothing is left behind.
 *What the modes measure stands in modes.c; tests/bench/relay_load.py runs several and compares.
 */
#include <errno.h>
#include <getopt.h>
#include <net/if.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "crypto/kdf.h"
#include "tests/bench/load.h"

#define LINKS_NSEC  (10 * NSEC_PER_SEC)
#define BUILDS_NSEC (60 * NSEC_PER_SEC)
#define DRAIN_NSEC  (5 * NSEC_PER_SEC)
#define BATCH	    10000 /* BUILDs made ahead at once: 10 MB */
#define SKIPPED	    77	  /* what ctest calls skipped */
#define PATHS_MOST  1000000

static volatile sig_atomic_t interrupted;

/* --- the report --- */

void load_problem(struct load *l, const char *fmt, ...)
{
	char text[256];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	fprintf(stderr, "load %s: %s\n", l->o.mode, text);
	json_array_append_new(l->problems, json_string(text));
}

/* --- the loop --- */

static void on_data(void *arg, struct neighbour *p, const struct header *h, uint8_t *d, size_t n)
{
	struct load *l = arg;
	for (unsigned i = 0; i < l->streams; i++) {
		if (stream_receiver(&l->stream[i]) == p->kind) {
			stream_on_data(&l->stream[i], h, d, n, clock_now());
			return;
		}
	}
	p->set->strange++;
}

static void on_frame(void *arg, struct neighbour *p, enum frame_type type, const uint8_t *data,
		     nsec_t now)
{
	struct load *l = arg;
	paths_on_frame(&l->paths, p, type, data, now);
}

void load_turn(struct load *l)
{
	nsec_t now = clock_now();
	bool more = false;
	for (unsigned i = 0; i < l->streams; i++)
		more |= stream_pump(&l->stream[i], now);
	if (l->building)
		more |= paths_pump(&l->paths, now);
	neighbours_serve(&l->around, more ? 0 : 1);
}

bool load_until(struct load *l, bool (*done)(struct load *l), nsec_t most)
{
	nsec_t until = clock_now() + most;
	while (!done(l)) {
		if (interrupted || clock_now() > until)
			return false;
		load_turn(l);
	}
	return true;
}

static bool never(struct load *l)
{
	(void)l;
	return false;
}

void load_for(struct load *l, nsec_t time)
{
	bool done = load_until(l, never, time);
	(void)done; /* the time is over */
}

/* --- links and paths --- */

static bool are_linked(struct load *l)
{
	for (unsigned i = 0; i < l->around.previous; i++)
		if (!neighbour_find(&l->around, NEIGHBOUR_PREVIOUS, i)->up)
			return false;
	return true;
}

void load_link_all(struct load *l)
{
	for (unsigned i = 0; i < l->around.previous; i++) {
		int e = neighbour_link(neighbour_find(&l->around, NEIGHBOUR_PREVIOUS, i));
		CHECK(l, !e, "a link could not be begun: %s", strerror(-e));
		load_turn(l);
	}
	CHECK(l, load_until(l, are_linked, LINKS_NSEC), "not all links came up");
}

static bool are_answered(struct load *l)
{
	return paths_are_answered(&l->paths);
}

static void build_batch(struct load *l, unsigned n)
{
	int e = paths_make(&l->paths, n);
	CHECK(l, !e, "BUILDs could not be made: %s", strerror(-e));
	l->building = true;
	CHECK(l, load_until(l, are_answered, BUILDS_NSEC), "%llu of %u BUILDs were answered",
	      (unsigned long long)l->paths.answered, n);
	l->building = false;
	paths_verify(&l->paths);
	CHECK(l, !l->paths.bad && l->paths.status[BUILD_OK] == n,
	      "of %u BUILDs %llu made a circuit and %llu were broken", n,
	      (unsigned long long)l->paths.status[BUILD_OK], (unsigned long long)l->paths.bad);
}

unsigned load_build(struct load *l, unsigned n)
{
	unsigned first = l->paths.made;
	for (unsigned done = 0; done < n && !interrupted; done += BATCH)
		build_batch(l, n - done < BATCH ? n - done : BATCH);
	return first;
}

static bool is_named(const char *const *names, const char *name)
{
	for (; names && *names; names++)
		if (!strcmp(*names, name))
			return true;
	return false;
}

void load_check_status(struct load *l, const char *const *drops)
{
	json_t *s = relay_process_status(&l->relay), *value;
	const char *name;
	CHECK(l, s, "the relay tells no status");
	CHECK(l, status_number(s, "circuits") == l->paths.live && !status_number(s, "pending"),
	      "the relay has %llu circuits and %llu that pend, we have %u",
	      (unsigned long long)status_number(s, "circuits"),
	      (unsigned long long)status_number(s, "pending"), l->paths.live);
	json_object_foreach(json_object_get(s, "drops"), name, value)
		CHECK(l, is_named(drops, name), "the relay dropped %lld: %s",
		      (long long)json_integer_value(value), name);
	json_decref(s);
	for (unsigned d = 1; d < DROP_COUNT; d++)
		CHECK(l, !drops_get(&l->around.drops, (enum drop)d), "our links dropped: %s",
		      drop_name((enum drop)d));
	CHECK(l, !l->around.strange && !l->around.send_full && !l->paths.closed,
	      "%llu strange datagrams, %llu not sent, %llu circuits closed",
	      (unsigned long long)l->around.strange, (unsigned long long)l->around.send_full,
	      (unsigned long long)l->paths.closed);
}

/* --- streams --- */

static void begin_one(struct load *l, enum stream_direction direction, unsigned first, unsigned n)
{
	struct stream_config c = l->o.data;
	c.direction = direction;
	c.first = first;
	c.n = n;
	int e = stream_init(&l->stream[l->streams], &l->paths, &c);
	if (e) {
		stream_done(&l->stream[l->streams]);
		load_problem(l, "data over %u paths could not begin: %s", n, strerror(-e));
		return;
	}
	l->streams++;
}

void load_streams_begin(struct load *l, unsigned first, unsigned n)
{
	if (l->o.forward)
		begin_one(l, STREAM_FORWARD, first, n);
	if (l->o.backward)
		begin_one(l, STREAM_BACKWARD, first, n);
}

static bool are_drained(struct load *l)
{
	bool drained = true;
	for (unsigned i = 0; i < l->streams; i++) {
		l->stream[i].c.per_s = 0; /* nothing more is sent */
		l->stream[i].c.window = 0;
		drained &= stream_is_drained(&l->stream[i], clock_now());
	}
	return drained;
}

void load_streams_end(struct load *l)
{
	CHECK(l, load_until(l, are_drained, DRAIN_NSEC), "data does not stop");
	for (unsigned i = 0; i < l->streams; i++) {
		const struct stream_count *c = &l->stream[i].count;
		CHECK(l, c->received == c->sent && !c->lost && !c->late && !c->bad && c->verified,
		      "%s: sent %llu, came %llu, lost %llu, late %llu, bad %llu, verified %llu",
		      l->stream[i].c.direction == STREAM_FORWARD ? "forward" : "backward",
		      (unsigned long long)c->sent, (unsigned long long)c->received,
		      (unsigned long long)c->lost, (unsigned long long)c->late,
		      (unsigned long long)c->bad, (unsigned long long)c->verified);
		stream_done(&l->stream[i]);
	}
	l->streams = 0;
}

/* --- options --- */

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

static struct load_options read_options(int argc, char **argv)
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
	o.mode = argv[optind];
	return o;
}

static void (*find_mode(const char *name))(struct load *)
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

/* --- life --- */

/* A network namespace that ends with us. -errno. */
static int leave_network(void)
{
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	if (unshare(CLONE_NEWNET) < 0)
		return -errno;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int e = fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo) < 0 ? -errno : 0;
	if (fd >= 0)
		close(fd);
	return e;
}

static void on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
}

static int open_all(struct load *l, char *err)
{
	const struct neighbours_ops ops = {l, on_data, on_frame};
	unsigned room = PATHS_MOST;
	int e = network_new(&l->net, 2 * l->o.neighbours, l->o.workers, l->o.engine, err);
	if (!e)
		e = relay_process_start(&l->relay, l->o.relay, &l->net, &l->o.relay_cpus, err);
	if (e)
		return e;
	if (sched_setaffinity(0, sizeof(l->o.own_cpus), &l->o.own_cpus) < 0)
		e = -errno;
	if (!e)
		e = neighbours_init(&l->around, &l->net, &ops, l->o.gso);
	if (!e)
		e = paths_init(&l->paths, &l->around, room);
	if (e)
		snprintf(err, NETWORK_ERROR_BYTES, "the neighbours could not be made: %s",
			 strerror(-e));
	return e;
}

static void print_log(const struct load *l)
{
	char line[512];
	FILE *f = fopen(l->net.log, "re");
	while (f && fgets(line, sizeof(line), f))
		if (!strstr(line, "127.0.0.1:9")) /* the authority that nobody plays */
			fprintf(stderr, "relay: %s", line);
	if (f)
		fclose(f);
}

static void close_all(struct load *l)
{
	for (unsigned i = 0; i < l->streams; i++)
		stream_done(&l->stream[i]);
	bool ended = relay_process_stop(&l->relay);
	CHECK(l, ended, "the relay did not end well");
	if (json_array_size(l->problems))
		print_log(l);
	paths_done(&l->paths);
	neighbours_done(&l->around);
	network_done(&l->net);
}

int main(int argc, char **argv)
{
	struct load l = {.o = read_options(argc, argv), .around.epoll_fd = -1};
	void (*run)(struct load *) = find_mode(l.o.mode);
	char err[NETWORK_ERROR_BYTES] = "";
	if (geteuid() != 0) {
		fputs("load: skipped: a network namespace needs root\n", stderr);
		return SKIPPED;
	}
	int e = leave_network();
	if (e || crypto_init() || aead_engine_choose(l.o.engine)) {
		fprintf(stderr, "load: no network namespace, or no such engine: %s\n",
			strerror(-e));
		return 1;
	}
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	l.problems = json_array();
	l.report = json_pack("{s:s,s:i,s:s}", "mode", l.o.mode, "workers", (int)l.o.workers,
			     "engine", aead_engine_name());
	e = open_all(&l, err);
	if (e)
		load_problem(&l, "%s", err);
	else
		run(&l);
	CHECK(&l, !interrupted, "interrupted");
	close_all(&l);
	size_t problems = json_array_size(l.problems);
	json_object_set_new(l.report, "problems", l.problems);
	json_dumpf(l.report, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
	putchar('\n');
	json_decref(l.report);
	return problems ? 1 : 0;
}
