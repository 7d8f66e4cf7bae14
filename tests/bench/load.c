/* tests/bench/load.c - the load generator: plays the neighbours of one real sispopnet-relay and
 * measures it. Usage: options.c.
 *
 * It makes a network namespace of its own (root), in it a relay's folder and a relay, and is, on
 * one thread, the previous and the next hop of as many paths as asked for. It tells one JSON object
 * on stdout and exits with 0 when all checks hold. Nothing is left behind. What the modes measure
 * stands in modes.c; tests/bench/relay_load.py runs several and compares.
 */
#include <errno.h>
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
#define DRAIN_NSEC  (10 * NSEC_PER_SEC)
#define BATCH	    10000 /* BUILDs made ahead at once: 10 MB */
#define SKIPPED	    77	  /* what ctest calls skipped */

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
			stream_on_data(&l->stream[i], h, d, n);
			return;
		}
	}
	p->set->strange++;
}

static void on_frame(void *arg, struct neighbour *p, enum frame_type type, const uint8_t *data,
		     nsec_t now)
{
	struct load *l = arg;
	load_paths_on_frame(&l->paths, p, type, data, now);
}

void load_turn(struct load *l)
{
	nsec_t now = clock_now();
	bool more = false;
	for (unsigned i = 0; i < l->streams; i++)
		more |= stream_pump(&l->stream[i], now);
	if (l->building)
		more |= load_paths_pump(&l->paths, now);
	neighbours_serve(&l->around, more || l->spins ? 0 : 1);
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
	return load_paths_are_answered(&l->paths);
}

static void build_batch(struct load *l, unsigned n)
{
	int e = load_paths_make(&l->paths, n);
	CHECK(l, !e, "BUILDs could not be made: %s", strerror(-e));
	l->building = true;
	CHECK(l, load_until(l, are_answered, BUILDS_NSEC), "%llu of %u BUILDs were answered",
	      (unsigned long long)l->paths.answered, n);
	l->building = false;
	load_paths_verify(&l->paths);
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

/* Many links at once are asked for cookies, which is no fault. */
static bool is_named(const char *const *names, const char *name)
{
	if (!strcmp(name, drop_name(DROP_COOKIE_SENT)))
		return true;
	for (; names && *names; names++)
		if (!strcmp(*names, name))
			return true;
	return false;
}

/* A relay whose core is somebody else's for long drops what waited for it, data and BUILDs alike.
 * That is honest when it is counted. */
static const char *const congestion[] = {"queue-late", NULL};

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
		CHECK(l, is_named(drops, name) || is_named(congestion, name),
		      "the relay dropped %lld: %s", (long long)json_integer_value(value), name);
	if (!is_named(drops, congestion[0]))
		CHECK(l, status_drop(s, congestion[0]) >= l->lost,
		      "%llu datagrams did not come, of which the relay counted %llu",
		      (unsigned long long)l->lost,
		      (unsigned long long)status_drop(s, congestion[0]));
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
	/* To wake us would cost the relay as much as some datagrams do. Not where that takes its
	 * cores. */
	cpu_set_t both;
	CPU_AND(&both, &l->o.relay_cpus, &l->o.own_cpus);
	l->spins = c.per_s == 0 && CPU_COUNT(&both) == 0;
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

void load_streams_end(struct load *l, bool may_lose)
{
	CHECK(l, load_until(l, are_drained, DRAIN_NSEC), "data does not stop");
	for (unsigned i = 0; i < l->streams; i++) {
		const struct stream_count *c = &l->stream[i].count;
		bool in_order = c->received + c->lost == c->sent && !c->late;
		l->lost += c->sent > c->received ? c->sent - c->received : 0;
		CHECK(l, (in_order || may_lose) && !c->bad && c->verified,
		      "%s: sent %llu, came %llu, lost %llu, late %llu, bad %llu, verified %llu",
		      l->stream[i].c.direction == STREAM_FORWARD ? "forward" : "backward",
		      (unsigned long long)c->sent, (unsigned long long)c->received,
		      (unsigned long long)c->lost, (unsigned long long)c->late,
		      (unsigned long long)c->bad, (unsigned long long)c->verified);
		stream_done(&l->stream[i]);
	}
	l->streams = 0;
	l->spins = false;
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
		e = load_paths_init(&l->paths, &l->around, room);
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
	char how[NETWORK_ERROR_BYTES];
	CHECK(l, relay_process_stop(&l->relay, how), "the relay %s", how);
	if (json_array_size(l->problems))
		print_log(l);
	load_paths_done(&l->paths);
	neighbours_done(&l->around);
	network_done(&l->net);
}

int main(int argc, char **argv)
{
	struct load l = {.o = load_options_read(argc, argv), .around.epoll_fd = -1};
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
		l.o.run(&l);
	CHECK(&l, !interrupted, "interrupted");
	nsec_t gap = l.around.longest_gap;
	struct cpu_use cpu = {0};
	CHECK(&l, relay_process_cpu(&l.relay, &cpu) == 0, "the relay is gone");
	double waited = cpu.control_waited + cpu.workers_waited;
	double wanted = waited + cpu.control + cpu.workers;
	close_all(&l);
	size_t problems = json_array_size(l.problems);
	json_object_set_new(l.report, "longest_gap_s", json_real((double)gap / NSEC_PER_SEC));
	json_object_set_new(l.report, "relay_waited", json_real(wanted > 0 ? waited / wanted : 0));
	json_object_set_new(l.report, "problems", l.problems);
	json_dumpf(l.report, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
	putchar('\n');
	json_decref(l.report);
	return problems ? 1 : 0;
}
