/* tests/bench/report.c - what happened between two looks, as JSON. See load.h. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include "tests/bench/load.h"

#define GB 1e9

static double own_cpu(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* RcvbufErrors of this network namespace: both ends are in it. */
static uint64_t no_buffer(void)
{
	char line[1024];
	unsigned long long n = 0;
	FILE *f = fopen("/proc/self/net/snmp", "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Udp: %*u %*u %*u %*u %llu", &n) == 1)
			break;
	if (f)
		fclose(f);
	return n;
}

void look(struct load *l, struct look *ret)
{
	*ret = (struct look){.at = clock_now(), .own_s = own_cpu(), .no_buffer = no_buffer()};
	if (relay_process_cpu(&l->relay, &ret->relay))
		load_problem(l, "the relay is gone");
	for (unsigned i = 0; i < l->streams; i++) {
		const struct stream_count *c = &l->stream[i].count;
		ret->received += c->received;
		ret->bytes += c->bytes;
		ret->sent += c->sent;
		ret->lost += c->lost;
	}
	ret->answered = l->paths.answered;
}

double looks_cpu(const struct look *a, const struct look *b)
{
	return b->relay.control + b->relay.workers - a->relay.control - a->relay.workers;
}

static double per(double a, double b)
{
	return b > 0 ? a / b : 0;
}

/* Of the relay's CPU what its own code took; the rest is the kernel's. Exact is the sum, ticks
 * divide it. */
static double user_s(const struct look *a, const struct look *b)
{
	double user = b->relay.user_ticks - a->relay.user_ticks;
	double kernel = b->relay.kernel_ticks - a->relay.kernel_ticks;
	return looks_cpu(a, b) * per(user, user + kernel);
}

static void set_real(json_t *o, const char *name, double value)
{
	json_object_set_new(o, name, json_real(value));
}

/* What both kinds have: time, and who had the cores. */
static json_t *common(const struct look *a, const struct look *b)
{
	json_t *o = json_object();
	set_real(o, "seconds", (double)(b->at - a->at) / NSEC_PER_SEC);
	set_real(o, "relay_cpu_s", looks_cpu(a, b));
	set_real(o, "relay_user_s", user_s(a, b));
	set_real(o, "control_s", b->relay.control - a->relay.control);
	set_real(o, "control_waited_s", b->relay.control_waited - a->relay.control_waited);
	set_real(o, "workers_s", b->relay.workers - a->relay.workers);
	set_real(o, "workers_waited_s", b->relay.workers_waited - a->relay.workers_waited);
	set_real(o, "generator_cpu_s", b->own_s - a->own_s);
	json_object_set_new(o, "no_buffer",
			    json_integer((json_int_t)(b->no_buffer - a->no_buffer)));
	return o;
}

json_t *looks_data(const struct look *a, const struct look *b)
{
	double seconds = (double)(b->at - a->at) / NSEC_PER_SEC, cpu = looks_cpu(a, b);
	double n = (double)(b->received - a->received), gb = (double)(b->bytes - a->bytes) / GB;
	json_t *o = common(a, b);
	json_object_set_new(o, "datagrams", json_integer((json_int_t)(b->received - a->received)));
	json_object_set_new(o, "lost", json_integer((json_int_t)(b->lost - a->lost)));
	set_real(o, "datagrams_per_s", per(n, seconds));
	set_real(o, "datagrams_per_core_s", per(n, cpu));
	set_real(o, "gbit_per_s", per(gb * 8, seconds));
	set_real(o, "cpu_ns_each", per(cpu * 1e9, n));
	set_real(o, "cpu_s_per_gb", per(cpu, gb));
	set_real(o, "user_s_per_gb", per(user_s(a, b), gb));
	set_real(o, "kernel_s_per_gb", per(cpu - user_s(a, b), gb));
	return o;
}

json_t *looks_builds(const struct look *a, const struct look *b)
{
	double seconds = (double)(b->at - a->at) / NSEC_PER_SEC, cpu = looks_cpu(a, b);
	double n = (double)(b->answered - a->answered);
	json_t *o = common(a, b);
	json_object_set_new(o, "builds", json_integer((json_int_t)(b->answered - a->answered)));
	set_real(o, "builds_per_s", per(n, seconds));
	set_real(o, "builds_per_core_s", per(n, cpu));
	set_real(o, "cpu_us_each", per(cpu * 1e6, n));
	return o;
}
