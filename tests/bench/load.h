/* tests/bench/load.h - one run of the load generator: what was asked for, the parts, the loop, the
 * report. For load.c, options.c, modes.c and report.c. */
#pragma once
#include <jansson.h>
#include "tests/bench/relay_process.h"
#include "tests/bench/stream.h"

#define PATHS_MOST 1000000 /* in one run */

struct load;

struct load_options {
	const char *mode;
	void (*run)(struct load *l);
	const char *relay;  /* program */
	const char *engine; /* of both sides */
	cpu_set_t relay_cpus, own_cpus;
	unsigned workers;
	unsigned neighbours; /* previous ones, and as many next ones */
	bool forward, backward;
	bool gso;
	unsigned circuits;
	unsigned builds;
	double seconds; /* of one window */
	unsigned windows;
	unsigned flood_per_s;
	unsigned settle_s;	   /* wait before memory is looked at the last time */
	struct stream_config data; /* direction, first, n set by the mode */
};

struct load {
	struct load_options o;
	struct network net;
	struct relay_process relay;
	struct neighbours around;
	struct load_paths paths;
	struct stream stream[2];
	unsigned streams;
	bool building; /* load_paths_pump() runs too */
	uint64_t lost; /* datagrams of all streams that have ended */
	bool spins;    /* looks for datagrams without ever waiting for one */
	json_t *report, *problems;
};

/* Everything that is wrong ends here: the run goes on, and fails. */
__attribute__((format(printf, 2, 3))) void load_problem(struct load *l, const char *fmt, ...);
#define CHECK(l, good, ...)                                                                        \
	do {                                                                                       \
		if (!(good))                                                                       \
			load_problem(l, __VA_ARGS__);                                              \
	} while (0)

/* One turn of the loop: send what is due, take what came. */
void load_turn(struct load *l);
/* Turns until `done` says so. False when it did not within `most`. */
bool load_until(struct load *l, bool (*done)(struct load *l), nsec_t most)
	__attribute__((warn_unused_result));
void load_for(struct load *l, nsec_t time);
/* Open links from all previous neighbours, wait until they stand. */
void load_link_all(struct load *l);
/* Build n more paths, all of which must become live; returns the number of the first. */
unsigned load_build(struct load *l, unsigned n);
/* Compare the relay's status with what we know: its circuits, no drops but those named (NULL ends
 * the list), and datagrams that waited too long for a core: no fewer than did not come. */
void load_check_status(struct load *l, const char *const *drops);
/* Begin streams over paths [first, first + n) in the directions asked for; end them: what came is
 * as it was sent, and unless they may lose, in order, and what did not come is counted in ->lost.
 */
void load_streams_begin(struct load *l, unsigned first, unsigned n);
void load_streams_end(struct load *l, bool may_lose);

/* options.c. Ends the process, with a sentence, when they are wrong. */
struct load_options load_options_read(int argc, char **argv);

/* modes.c. Each measures and puts what it found into l->report. */
void mode_forward(struct load *l);
void mode_circuits(struct load *l);
void mode_builds(struct load *l);
void mode_flood(struct load *l);
void mode_limits(struct load *l);
void mode_relay_limit(struct load *l);

/* report.c: what happens between two looks. */
struct look {
	nsec_t at;
	struct cpu_use relay;
	double own_s; /* CPU of the generator */
	uint64_t received, bytes, sent, lost;
	uint64_t answered;
	uint64_t no_buffer; /* datagrams that found no room in a socket: the relay's or ours */
};
void look(struct load *l, struct look *ret);
/* The relay's CPU between two looks, in all. */
double looks_cpu(const struct look *a, const struct look *b);
/* Datagrams: rates, and CPU for each and for each GB. */
json_t *looks_data(const struct look *a, const struct look *b);
/* BUILDs: rates, and CPU for each. */
json_t *looks_builds(const struct look *a, const struct look *b);
