/* tests/preload/test_no_malloc.c - the guard of the packet path (no_malloc.c) sees what it is there
 * to see.
 *
 * Without an argument: runs itself under the guard once for each misdeed. With one: a thread named
 * worker0 waits as a worker does, then does that.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>
#include <urcu-qsbr.h>
#include <linux/futex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void *volatile block; /* so that the compiler keeps what is done to it */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static uint32_t word;
static int wake_fd, epoll_fd;

/* --- misdeeds --- */

static void do_malloc(void)
{
	block = malloc(1);
}

static void do_calloc(void)
{
	block = calloc(1, 1);
}

static void do_realloc(void)
{
	block = realloc(block, 2);
}

static void do_free(void)
{
	free(block);
}

static void do_aligned_alloc(void)
{
	block = aligned_alloc(64, 64);
}

static void do_posix_memalign(void)
{
	void *p;

	if (!posix_memalign(&p, 64, 64))
		block = p;
}

static void do_strdup(void)
{
	block = strdup("within the C library");
}

static void do_mutex(void)
{
	pthread_mutex_lock(&mutex);
	pthread_mutex_unlock(&mutex);
}

static void do_rdlock(void)
{
	pthread_rwlock_rdlock(&rwlock);
}

static void do_wrlock(void)
{
	pthread_rwlock_wrlock(&rwlock);
}

static void do_wait(void)
{
	syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
}

static void do_log(void)
{
	ssize_t n = write(STDERR_FILENO, "a line\n", 7);
	(void)n;
}

static void do_print(void)
{
	fprintf(stderr, "a line\n");
}

static void do_syslog(void)
{
	syslog(LOG_DEBUG, "a line");
}

static void do_open(void)
{
	close(open("/dev/null", O_RDONLY));
}

static void do_map(void)
{
	block = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* What a worker may do. */
static void do_nothing(void)
{
	uint64_t one = 1;

	if (write(wake_fd, &one, sizeof(one)) != sizeof(one) ||
	    read(wake_fd, &one, sizeof(one)) != sizeof(one))
		exit(3);
	syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	free(NULL);
}

static const struct misdeed {
	const char *name;
	void (*run)(void);
	const char *told; /* NULL: it is none */
} misdeeds[] = {
	{"malloc", do_malloc, "called malloc"},
	{"calloc", do_calloc, "called calloc"},
	{"realloc", do_realloc, "called realloc"},
	{"free", do_free, "called free"},
	{"aligned_alloc", do_aligned_alloc, "called aligned_alloc"},
	{"posix_memalign", do_posix_memalign, "called posix_memalign"},
	{"strdup", do_strdup, "called malloc"},
	{"mutex", do_mutex, "called pthread_mutex_lock"},
	{"rdlock", do_rdlock, "called pthread_rwlock_rdlock"},
	{"wrlock", do_wrlock, "called pthread_rwlock_wrlock"},
	{"wait", do_wait, "called system call"},
	{"log", do_log, "called system call"},
	{"print", do_print, "called system call"},
	{"syslog", do_syslog, "called "},
	{"open", do_open, "called system call"},
	{"map", do_map, "called system call"},
	{"nothing", do_nothing, NULL},
};
#define MISDEEDS (sizeof(misdeeds) / sizeof(misdeeds[0]))

/* --- under the guard --- */

static void *work(void *arg)
{
	const struct misdeed *m = arg;
	struct epoll_event ready;
	char name[16] = "";

	while (strncmp(name, "worker", 6) != 0) /* who started this thread names it */
		pthread_getname_np(pthread_self(), name, sizeof(name));
	urcu_qsbr_register_thread();
	if (epoll_wait(epoll_fd, &ready, 1, 0) < 0)
		exit(3);
	m->run();
	urcu_qsbr_unregister_thread();
	free(malloc(1)); /* the loop has ended */
	return NULL;
}

static int misbehave(const char *name)
{
	pthread_t t;

	wake_fd = eventfd(0, EFD_NONBLOCK);
	epoll_fd = epoll_create1(0);
	block = malloc(1);
	for (size_t i = 0; i < MISDEEDS; i++) {
		if (strcmp(misdeeds[i].name, name) != 0)
			continue;
		if (pthread_create(&t, NULL, work, (void *)(uintptr_t)&misdeeds[i]) ||
		    pthread_setname_np(t, "worker0"))
			return 3;
		return pthread_join(t, NULL) ? 3 : 0;
	}
	return 2;
}

/* --- the test --- */

/* Run this program under the guard; what it said goes to `said`. Its wait status. */
static int run(const char *name, char *said, size_t room)
{
	const struct rlimit none = {0, 0};
	int fds[2], status;
	size_t n = 0;
	ssize_t got;

	assert_int_equal(pipe(fds), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &none);
		dup2(fds[1], STDERR_FILENO);
		setenv("LD_PRELOAD", NO_MALLOC, 1);
		execl("/proc/self/exe", "test_no_malloc", name, NULL);
		_exit(3);
	}
	close(fds[1]);
	while ((got = read(fds[0], said + n, room - 1 - n)) > 0)
		n += (size_t)got;
	said[n] = '\0';
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void guard_ends_what_misbehaves(void **state)
{
	char said[8192], line[64];

	(void)state;
	for (size_t i = 0; i < MISDEEDS; i++) {
		const struct misdeed *m = &misdeeds[i];
		int status = run(m->name, said, sizeof(said));

		if (!strstr(said, "no_malloc: worker0 is watched\n"))
			fail_msg("%s: nobody watches: %s", m->name, said);
		if (!m->told) {
			assert_int_equal(status, 0);
			assert_null(strstr(said, "called"));
			continue;
		}
		snprintf(line, sizeof(line), "no_malloc: worker0 %s", m->told);
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT || !strstr(said, line))
			fail_msg("%s: status %x: %s", m->name, (unsigned)status, said);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guard_ends_what_misbehaves),
	};

	if (argc > 1)
		return misbehave(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
