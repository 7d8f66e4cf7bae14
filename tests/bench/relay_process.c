/* tests/bench/relay_process.c - see relay_process.h. */
#include "tests/bench/relay_process.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "net/control.h"

#define START_NSEC  (10 * NSEC_PER_SEC)
#define STOP_NSEC   (30 * NSEC_PER_SEC) /* it says CLOSE for each circuit */
#define STATUS_NSEC (5 * NSEC_PER_SEC)
#define LOOK_NSEC   (5 * NSEC_PER_MSEC) /* between two looks at what nobody tells us */

static void wait_a_little(void)
{
	const struct timespec t = {0, LOOK_NSEC};
	nanosleep(&t, NULL);
}

/* --- what it says --- */

json_t *relay_process_status(const struct relay_process *r)
{
	struct control_client *c = NULL;
	struct control_error error;
	json_t *result = NULL;
	if (control_connect(r->net->socket, &c))
		return NULL;
	int e = control_call(c, "status", NULL, STATUS_NSEC, NULL, NULL, &result, &error);
	control_disconnect(c);
	return e ? NULL : result;
}

uint64_t status_number(const json_t *status, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(status, name));
}

uint64_t status_drop(const json_t *status, const char *drop)
{
	return status_number(json_object_get(status, "drops"), drop);
}

/* --- life --- */

static void become_relay(const char *program, const struct network *n, const cpu_set_t *cpus)
{
	int log = open(n->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (log < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0 ||
	    prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || sched_setaffinity(0, sizeof(*cpus), cpus) < 0)
		_exit(126);
	execl(program, program, "run", "--config", n->config, NULL);
	_exit(127);
}

static bool is_running(const struct relay_process *r)
{
	json_t *s = relay_process_status(r);
	bool runs = s && status_number(s, "relays") == r->net->n + 1;
	json_decref(s);
	return runs;
}

int relay_process_start(struct relay_process *r, const char *program, const struct network *n,
			const cpu_set_t *cpus, char *err)
{
	nsec_t until = clock_now() + START_NSEC;
	*r = (struct relay_process){.pid = fork(), .net = n};
	if (r->pid < 0) {
		r->pid = 0;
		snprintf(err, NETWORK_ERROR_BYTES, "fork: %s", strerror(errno));
		return -EAGAIN;
	}
	if (r->pid == 0)
		become_relay(program, n, cpus);
	while (!is_running(r)) {
		if (clock_now() > until || waitpid(r->pid, NULL, WNOHANG) == r->pid) {
			if (kill(r->pid, 0) < 0)
				r->pid = 0;
			snprintf(err, NETWORK_ERROR_BYTES, "%s does not come up", program);
			return -ETIMEDOUT;
		}
		wait_a_little();
	}
	return 0;
}

bool relay_process_stop(struct relay_process *r, char *how)
{
	nsec_t until = clock_now() + STOP_NSEC;
	int status = 0;
	bool killed = false;
	if (!r->pid)
		return true;
	kill(r->pid, SIGTERM);
	while (waitpid(r->pid, &status, WNOHANG) == 0) {
		if (!killed && clock_now() > until)
			killed = kill(r->pid, SIGKILL) == 0;
		wait_a_little();
	}
	r->pid = 0;
	if (WIFEXITED(status))
		snprintf(how, NETWORK_ERROR_BYTES, "ended with %d", WEXITSTATUS(status));
	else
		snprintf(how, NETWORK_ERROR_BYTES, killed ? "did not end" : "died by signal %d",
			 WTERMSIG(status));
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* --- what it costs --- */

static bool read_proc(pid_t pid, const char *file, char *to, size_t room)
{
	char path[96];
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t n = read(fd, to, room - 1);
	close(fd);
	to[n > 0 ? n : 0] = 0;
	return n > 0;
}

/* schedstat counts to the nanosecond; stat in ticks, a thread's alone, because the kernel scales
 * them by all that its owner ever did. False when it ended between the list and now. */
static bool add_thread(const struct relay_process *r, const char *tid, struct cpu_use *sum)
{
	char name[64], text[512];
	unsigned long long ran, waited;
	unsigned long user, kernel;
	snprintf(name, sizeof(name), "task/%.20s/schedstat", tid);
	if (!read_proc(r->pid, name, text, sizeof(text)) ||
	    sscanf(text, "%llu %llu", &ran, &waited) != 2)
		return false;
	snprintf(name, sizeof(name), "task/%.20s/stat", tid);
	const char *rest = read_proc(r->pid, name, text, sizeof(text)) ? strrchr(text, ')') : NULL;
	if (!rest || sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
			    &kernel) != 2) /* behind the name, which may hold anything */
		return false;
	bool control = atoi(tid) == r->pid;
	*(control ? &sum->control : &sum->workers) += (double)ran / NSEC_PER_SEC;
	*(control ? &sum->control_waited : &sum->workers_waited) += (double)waited / NSEC_PER_SEC;
	sum->user_ticks += (double)user;
	sum->kernel_ticks += (double)kernel;
	return true;
}

int relay_process_cpu(const struct relay_process *r, struct cpu_use *ret)
{
	struct cpu_use sum = {0};
	char path[64];
	unsigned threads = 0;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)r->pid);
	DIR *d = opendir(path);
	if (!d)
		return -errno;
	const struct dirent *e;
	while ((e = readdir(d)))
		threads += e->d_name[0] != '.' && add_thread(r, e->d_name, &sum);
	closedir(d);
	if (threads == 0)
		return -ESRCH;
	*ret = sum;
	return 0;
}

uint64_t relay_process_rss(const struct relay_process *r)
{
	char text[128];
	unsigned long long pages;
	if (!read_proc(r->pid, "statm", text, sizeof(text)) ||
	    sscanf(text, "%*u %llu", &pages) != 1)
		return 0;
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}
