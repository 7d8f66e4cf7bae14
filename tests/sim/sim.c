/* tests/sim/sim.c - run a network of relays and paths over bad wires and look that the properties
 * hold (sim.h).
 *
 * usage: sim [--seed N] [--relays 50] [--clients 60] [--paths 300] [--hops H] [--seconds T] [--loss
 * PCT] [--dup PCT]
 *            [--reorder PCT] [--flip PCT] [--bursts PCT] [--hostile PER_S] [--deaths N]
 * [--sessions]
 * [--short-periods]
 * [--repeat] [--verbose] [--trace CLIENT]
 *
 * --trace prints what one client's path set goes through. --hops 0 (default): each path its own
 * number, 1..8. --repeat: run it twice; both must be equal to the last byte. Exit status: 0 all
 * held, 1 a property did not, 2 usage.
 */
#include "sim/sim.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "sim/sealed.h"

#define QUIET_SECONDS 2000 /* after the traffic: longer than any circuit or link may live */
#define MEMORY_EVENTS 4096 /* look at the tables each so many events */

static struct sim *sim_new(const struct sim_options *o)
{
	struct sim *s = calloc(1, sizeof(*s));
	if (!s || !(s->aead = aead_ctx_new()))
		abort();
	s->o = *o;
	s->rng = seeded_rng(&s->seeded, o->seed);
	s->periods = (struct periods)PERIODS_DEFAULT;
	if (o->short_periods)
		s->periods = (struct periods){.path_lifetime_s = 6,
					      .path_lifetime_max_s = 12,
					      .path_grace_s = 2,
					      .link_renew_s = 8,
					      .link_drain_s = 15,
					      .link_idle_s = 5,
					      .circuit_ungranted_s = 10};
	s->now = 1 * NSEC_PER_SEC;
	s->traffic_ends = s->now + o->seconds * NSEC_PER_SEC;
	s->digest = UINT64_C(0xcbf29ce484222325);
	s->nhosts = o->relays + o->clients;
	s->hosts = aligned_alloc(64, (s->nhosts * sizeof(*s->hosts) + 63) / 64 * 64);
	s->wishes = calloc(o->paths, sizeof(*s->wishes));
	if (!s->hosts || !s->wishes)
		abort();
	memset(s->hosts, 0, s->nhosts * sizeof(*s->hosts));
	for (unsigned i = 0; i < s->nhosts; i++)
		host_init(s, i);
	return s;
}

/* What is still on the wires or waits for its grace period. */
static void sim_free(struct sim *s)
{
	for (unsigned i = 0; i < s->nhosts; i++)
		host_done(&s->hosts[i]);
	check_forget_sealed(s);
	for (struct event e; sim_pop(s, &e);) {
		if (e.kind == EVENT_ARRIVE)
			wire_drop(s, e.object);
		else if (e.kind == EVENT_RETIRE)
			e.free_fn(e.object);
	}
	aead_ctx_free(s->aead);
	free(s->heap);
	free(s->hosts);
	free(s->wishes);
	free(s);
}

static void arrive(struct sim *s, struct flight *f)
{
	struct host *h = wire_host_at(s, &f->to);
	struct flight *all[DP_BATCH] = {f};
	size_t n = 1;
	while (n < DP_BATCH && (f = sim_pop_burst(s, all[0])))
		all[n++] = f;
	s->count.largest_burst = n > s->count.largest_burst ? n : s->count.largest_burst;
	if (h && !h->dead) {
		for (size_t i = 0; i < n; i++) {
			sim_digest(s, &h->index, sizeof(h->index));
			sim_digest(s, all[i]->d, all[i]->n);
		}
		host_receive(h, all, n);
	}
	for (size_t i = 0; i < n; i++)
		wire_drop(s, all[i]);
}

/* A relay that is no exit falls silent, with all that it holds: paths must find another way. */
static void death(struct sim *s)
{
	struct host *h;
	do
		h = &s->hosts[rng_below(&s->rng, s->o.relays)];
	while (h->is_exit || h->dead);
	h->dead = true;
}

static void hostile(struct sim *s)
{
	wire_hostile(s);
	if (s->now < s->traffic_ends)
		sim_push(s, s->now + NSEC_PER_SEC / s->o.hostile, EVENT_HOSTILE, NULL, NULL);
}

/* The traffic is over: the attacker keeps nothing that a count could miss. */
static void forget_caught(struct sim *s)
{
	if (s->caught)
		wire_drop(s, s->caught);
	s->caught = NULL;
}

static void handle(struct sim *s, const struct event *e)
{
	struct host *h = e->object;
	s->now = e->at;
	if (e->kind != EVENT_RETIRE)
		sim_digest(s, &e->at, sizeof(e->at));
	switch (e->kind) {
	case EVENT_ARRIVE:
		arrive(s, e->object);
		break;
	case EVENT_TIMER:
		if (h->timer == e->at && !h->dead)
			host_on_timer(h);
		break;
	case EVENT_RETIRE:
		e->free_fn(e->object);
		break;
	case EVENT_APP:
		app_on_wish(s, e->object);
		break;
	case EVENT_HOSTILE:
		hostile(s);
		break;
	case EVENT_DEATH:
		death(s);
		break;
	case EVENT_CLIENT:
		session_on_client(s, e->object);
		break;
	}
}

static void report(const struct sim *s)
{
	const struct sim_counts *n = &s->count;
	printf("seed %ju: %ju datagrams, %ju lost, %ju doubled, %ju changed, %ju hostile; paths: %ju built, "
	       "%ju failed, %ju gone; forward %ju of %ju, backward %ju of %ju; %zu seals, %zu twice; %ju "
	       "violations; digest %016jx\n",
	       (uintmax_t)s->o.seed, (uintmax_t)n->datagrams, (uintmax_t)n->lost,
	       (uintmax_t)n->doubled, (uintmax_t)n->flipped, (uintmax_t)n->hostile,
	       (uintmax_t)n->built, (uintmax_t)n->failed, (uintmax_t)n->gone,
	       (uintmax_t)n->got_forward, (uintmax_t)n->sent_forward, (uintmax_t)n->got_backward,
	       (uintmax_t)n->sent_backward, sealed_count(), sealed_twice(),
	       (uintmax_t)n->violations, (uintmax_t)s->digest);
	if (!s->o.verbose)
		return;
	for (enum drop d = DROP_NONE; d < DROP_COUNT; d++) {
		uint64_t sum = 0;
		for (unsigned i = 0; i < s->nhosts; i++)
			sum += drops_get(&s->hosts[i].drops, d);
		if (sum > 0)
			printf("  %-20s %ju\n", drop_name(d), (uintmax_t)sum);
	}
}

/* One whole run. Returns the violations; *ret_digest tells it from others. */
static uint64_t run(const struct sim_options *o, uint64_t *ret_digest)
{
	sealed_reset();
	struct sim *s = sim_new(o);
	check_start(s);
	if (o->sessions)
		session_start(s);
	else
		app_start(s);
	if (o->hostile > 0)
		sim_push(s, s->now, EVENT_HOSTILE, NULL, NULL);
	for (unsigned i = 0; i < o->deaths; i++)
		sim_push(s, s->now + (s->traffic_ends - s->now) / 2, EVENT_DEATH, NULL, NULL);
	nsec_t end = s->traffic_ends + QUIET_SECONDS * NSEC_PER_SEC;
	uint64_t events = 0;
	for (struct event e; sim_pop(s, &e);) {
		if (e.at > end) {
			sim_push(s, e.at, e.kind, e.object, e.free_fn);
			break;
		}
		handle(s, &e);
		if (++events % MEMORY_EVENTS == 0)
			check_memory(s);
	}
	forget_caught(s);
	check_end(s);
	app_end(s);
	if (o->bursts > 0 && s->count.largest_burst < DP_BATCH / 2)
		violated(s, "no burst larger than %ju arrived", (uintmax_t)s->count.largest_burst);
	if (o->sessions)
		session_end(s);
	report(s);
	uint64_t violations = s->count.violations;
	*ret_digest = s->digest;
	sim_free(s);
	return violations;
}

/* --- the command line --- */

static const struct option long_options[] = {
	{"seed", required_argument, NULL, 's'},
	{"relays", required_argument, NULL, 'r'},
	{"clients", required_argument, NULL, 'c'},
	{"paths", required_argument, NULL, 'p'},
	{"hops", required_argument, NULL, 'h'},
	{"seconds", required_argument, NULL, 't'},
	{"loss", required_argument, NULL, 'l'},
	{"dup", required_argument, NULL, 'd'},
	{"reorder", required_argument, NULL, 'o'},
	{"flip", required_argument, NULL, 'f'},
	{"bursts", required_argument, NULL, 'b'},
	{"hostile", required_argument, NULL, 'a'},
	{"deaths", required_argument, NULL, 'k'},
	{"sessions", no_argument, NULL, 'e'},
	{"short-periods", no_argument, NULL, 'S'},
	{"repeat", no_argument, NULL, 'R'},
	{"verbose", no_argument, NULL, 'v'},
	{"trace", required_argument, NULL, 'x'},
	{NULL, 0, NULL, 0},
};

static void usage(void)
{
	fprintf(stderr,
		"usage: sim [--seed N] [--relays N] [--clients N] [--paths N] [--hops 0..8] "
		"[--seconds T]\n           [--loss PCT] [--dup PCT] [--reorder PCT] [--flip PCT] "
		"[--bursts PCT] [--hostile PER_S] [--deaths N] [--sessions]\n           [--short-periods] [--repeat] [--verbose] [--trace CLIENT]\n");
	exit(2);
}

static unsigned number(const char *text, unsigned least, unsigned most)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);
	if (*text == '\0' || *end != '\0' || v < least || v > most)
		usage();
	return (unsigned)v;
}

static uint32_t percent(const char *text)
{
	char *end;
	double v = strtod(text, &end);
	if (*text == '\0' || *end != '\0' || !(v >= 0 && v <= 50))
		usage();
	return (uint32_t)(v * (PER_MILLION / 100));
}

static bool read_option(struct sim_options *o, int option, const char *value)
{
	switch (option) {
	case 's':
		o->seed = number(value, 0, UINT32_MAX);
		return true;
	case 'r':
		o->relays = number(value, HOPS_MAX + 4, 200);
		return true;
	case 'c':
		o->clients = number(value, 1, 1000);
		return true;
	case 'p':
		o->paths = number(value, 1, 10000);
		return true;
	case 'h':
		o->hops = number(value, 0, HOPS_MAX);
		return true;
	case 't':
		o->seconds = number(value, 1, 3600);
		return true;
	case 'l':
		o->loss = percent(value);
		return true;
	case 'd':
		o->dup = percent(value);
		return true;
	case 'o':
		o->reorder = percent(value);
		return true;
	case 'f':
		o->flip = percent(value);
		return true;
	case 'b':
		o->bursts = percent(value);
		return true;
	case 'a':
		o->hostile = number(value, 0, 100000);
		return true;
	case 'k':
		o->deaths = number(value, 0, 20);
		return true;
	case 'S':
		o->short_periods = true;
		return true;
	case 'e':
		o->sessions = true;
		return true;
	case 'x':
		o->trace = number(value, 0, 2000);
		return true;
	case 'v':
		o->verbose = true;
		return true;
	default:
		return false;
	}
}

int main(int argc, char **argv)
{
	struct sim_options o = {.seed = 1, .relays = 50, .clients = 60, .paths = 300, .seconds = 8};
	bool repeat = false;
	for (int option; (option = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
		if (option == 'R')
			repeat = true;
		else if (!read_option(&o, option, optarg))
			usage();
	}
	if (optind != argc || crypto_init() < 0)
		usage();
	uint64_t first, second;
	uint64_t violations = run(&o, &first);
	if (repeat) {
		violations += run(&o, &second);
		if (first != second) {
			fprintf(stderr, "sim: the same seed gave another run\n");
			violations++;
		}
	}
	return violations > 0;
}
