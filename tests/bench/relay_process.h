/* tests/bench/relay_process.h - the real sispopnet-relay: start, end, and what it costs (/proc) and
 * says (status).
 */
#pragma once
#include <jansson.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "tests/bench/network.h"

struct relay_process {
	pid_t pid; /* 0: none */
	const struct network *net;
};

/* CPU time since the process began, in seconds, kernel work on its behalf (softirqs of what it
 * sends) included; proc(5): /proc/PID/task/TID/stat, schedstat. */
struct cpu_use {
	double control, workers;	       /* by thread: the first one, and all others */
	double control_waited, workers_waited; /* ready to run, but the core was somebody else's */
	double user_ticks,
		kernel_ticks; /* how all of it divides, coarsely: one is 1/sysconf(_SC_CLK_TCK) */
};

/* Start `program` run --config on these CPUs and wait until its status says that it runs with the
 * directory of n. It dies with the caller. 0, or -errno with a sentence in
 * err[NETWORK_ERROR_BYTES]. */
int relay_process_start(struct relay_process *r, const char *program, const struct network *n,
			const cpu_set_t *cpus, char *err) __attribute__((warn_unused_result));
/* End it by SIGTERM, after 30 s by SIGKILL. True when it ended by itself with 0; else
 * how[NETWORK_ERROR_BYTES] says how. Nothing to end is well, too. */
bool relay_process_stop(struct relay_process *r, char *how) __attribute__((warn_unused_result));
/* 0 or -errno. */
int relay_process_cpu(const struct relay_process *r, struct cpu_use *ret)
	__attribute__((warn_unused_result));
/* Resident memory in bytes; 0 when it is gone. */
uint64_t relay_process_rss(const struct relay_process *r);
/* The answer to method "status", to be json_decref'ed; NULL when there is none within 5 s. */
json_t *relay_process_status(const struct relay_process *r);
/* One number of a status; `drop` names one of its drops, 0 when it is not there. */
uint64_t status_number(const json_t *status, const char *name);
uint64_t status_drop(const json_t *status, const char *drop);
