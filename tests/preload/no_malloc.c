/* tests/preload/no_malloc.c - LD_PRELOAD for the daemons: what a packet worker must not do ends the
 * process with SIGABRT and one line that says what, and a backtrace.
 *
 * A worker (a thread named worker0, worker1, ...) is watched from its first wait on, as long as its
 * loop runs. Then it may not allocate or free, lock, or make a system call beyond those below: so
 * it writes to no log either, and asks the system nothing. A seccomp filter (seccomp(2)) of the
 * thread's own says no to the calls, whoever makes them. Only for builds without a sanitizer.
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define FRAMES		 16
#define LINE_BYTES	 160
#define REPORT_FD	 100 /* or the next free one: stderr, where a worker may not write */
#define NAME_PREFIX	 "worker"
#define NAME_PATIENCE_MS 1000

#if defined(__x86_64__)
#define OWN_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OWN_ARCH AUDIT_ARCH_AARCH64
#else
#error "name the architecture for the filter"
#endif

enum state { UNKNOWN, OTHER, WATCHED, REPORTING, LEAVING };

static __thread enum state state __attribute__((tls_model("initial-exec")));
static char program[16];
static int report_fd = -1;

/* glibc's own allocator, under the names that no library can take over. */
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);
void __libc_free(void *p);
void urcu_qsbr_unregister_thread(void);

/* --- what is reported --- */

static void own_name(char name[16])
{
	memset(name, 0, 16);
	prctl(PR_GET_NAME, name);
}

/* One line: the thread, and what it did. */
static void say(const char *what, const char *which)
{
	char line[LINE_BYTES], name[16];
	int n;

	own_name(name);
	n = snprintf(line, sizeof(line), "no_malloc: %s %s %s\n", name, what, which);
	if (n <= 0 || write(report_fd, line, (size_t)n) != n)
		abort();
}

static void refuse(const char *what)
{
	void *frames[FRAMES];

	state = REPORTING;
	say("called", what);
	backtrace_symbols_fd(frames, backtrace(frames, FRAMES), report_fd);
	abort();
}

static void check(const char *what)
{
	if (state == WATCHED)
		refuse(what);
}

/* --- memory --- */

void *malloc(size_t n)
{
	check("malloc");
	return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	check("calloc");
	return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	check("realloc");
	return __libc_realloc(p, n);
}

void free(void *p)
{
	if (p)
		check("free");
	__libc_free(p);
}

void *aligned_alloc(size_t align, size_t n)
{
	check("aligned_alloc");
	return __libc_memalign(align, n);
}

int posix_memalign(void **ret, size_t align, size_t n)
{
	void *p;

	check("posix_memalign");
	if (align % sizeof(void *) || align & (align - 1) || align == 0)
		return EINVAL;
	p = __libc_memalign(align, n);
	if (!p)
		return ENOMEM;
	*ret = p;
	return 0;
}

/* --- locks --- */

/* The function that this file hides. */
static void *hidden(const char *name)
{
	void *f = dlsym(RTLD_NEXT, name);

	if (!f)
		abort();
	return f;
}

#define CALL_HIDDEN(name, type, ...)                                                               \
	static type real;                                                                          \
	if (!real)                                                                                 \
		real = (type)hidden(name);                                                         \
	return real(__VA_ARGS__)

typedef int mutex_fn(pthread_mutex_t *m);
typedef int rwlock_fn(pthread_rwlock_t *l);
typedef int epoll_fn(int fd, struct epoll_event *events, int most, int ms);
typedef void void_fn(void);

int pthread_mutex_lock(pthread_mutex_t *m)
{
	check("pthread_mutex_lock");
	CALL_HIDDEN("pthread_mutex_lock", mutex_fn *, m);
}

int pthread_rwlock_rdlock(pthread_rwlock_t *l)
{
	check("pthread_rwlock_rdlock");
	CALL_HIDDEN("pthread_rwlock_rdlock", rwlock_fn *, l);
}

int pthread_rwlock_wrlock(pthread_rwlock_t *l)
{
	check("pthread_rwlock_wrlock");
	CALL_HIDDEN("pthread_rwlock_wrlock", rwlock_fn *, l);
}

/* --- system calls --- */

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ALLOW	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define TRAP	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP)
#define PERMIT(nr)  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), 0, 1), ALLOW

/* Low halves of arguments are enough: descriptors and operations are ints. */
static struct sock_filter filter[] = {
	LOAD(arch),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OWN_ARCH, 1, 0),
	TRAP,
	LOAD(nr),
#ifdef __NR_epoll_wait
	PERMIT(__NR_epoll_wait),
#endif
	PERMIT(__NR_epoll_pwait),
	PERMIT(__NR_epoll_ctl), /* a TUN device that is gone */
	PERMIT(__NR_recvmmsg),
	PERMIT(__NR_sendmmsg),
	PERMIT(__NR_readv),
	PERMIT(__NR_read),
	PERMIT(__NR_sched_yield),   /* others on this core first */
	PERMIT(__NR_clock_gettime), /* where the vDSO cannot tell the time */
	/* what ends a thread, or the process by abort() */
	PERMIT(__NR_rt_sigprocmask),
	PERMIT(__NR_rt_sigaction),
	PERMIT(__NR_rt_sigreturn),
	PERMIT(__NR_madvise),
	PERMIT(__NR_munmap),
	PERMIT(__NR_exit),
	PERMIT(__NR_exit_group),
	PERMIT(__NR_getpid),
	PERMIT(__NR_gettid),
	PERMIT(__NR_tgkill),
	PERMIT(__NR_prctl),
	/* to wake is fine, to wait is not (a reader of RCU wakes who waits for it) */
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_futex, 0, 5),
	LOAD(args[1]),
	BPF_STMT(BPF_ALU | BPF_AND | BPF_K, FUTEX_CMD_MASK),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FUTEX_WAKE, 0, 1),
	ALLOW,
	TRAP,
	/* neither standard output nor the log */
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_write, 1, 0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_writev, 0, 2),
	LOAD(args[0]),
	BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, STDERR_FILENO, 1, 0),
	TRAP,
	ALLOW,
};

/* Once the loop has ended a lock may be busy, and the heap be trimmed: who asks is told to try
 * again. */
static void on_sigsys(int number, siginfo_t *info, void *context)
{
	ucontext_t *u = context;
	char what[32];

	(void)number;
	if (state != LEAVING) {
		snprintf(what, sizeof(what), "system call %d", info->si_syscall);
		refuse(what);
	}
#if defined(__x86_64__)
	u->uc_mcontext.gregs[REG_RAX] = -EAGAIN;
#else
	u->uc_mcontext.regs[0] = (unsigned long long)-EAGAIN;
#endif
}

static void watch(void)
{
	const struct sock_fprog code = {sizeof(filter) / sizeof(filter[0]), filter};
	sigset_t sigsys;

	sigemptyset(&sigsys);
	sigaddset(&sigsys, SIGSYS);
	if (pthread_sigmask(SIG_UNBLOCK, &sigsys, NULL) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &code)) {
		say("cannot be watched:", strerror(errno));
		abort();
	}
	say("is", "watched");
	state = WATCHED;
}

/* Who starts a worker names it a moment later: until then it has the name of the whole. */
static void look_at_name(void)
{
	char name[16];

	own_name(name);
	for (int i = 0; i < NAME_PATIENCE_MS && !strcmp(name, program); i++) {
		usleep(1000);
		own_name(name);
	}
	if (!strncmp(name, NAME_PREFIX, strlen(NAME_PREFIX)))
		watch();
	else
		state = OTHER;
}

int epoll_wait(int fd, struct epoll_event *events, int most, int ms)
{
	if (state == UNKNOWN && getpid() != gettid())
		look_at_name();
	CALL_HIDDEN("epoll_wait", epoll_fn *, fd, events, most, ms);
}

/* The end of a worker's loop. */
void urcu_qsbr_unregister_thread(void)
{
	if (state == WATCHED)
		state = LEAVING;
	CALL_HIDDEN("urcu_qsbr_unregister_thread", void_fn *);
}

__attribute__((constructor)) static void start(void)
{
	const struct sigaction on = {.sa_sigaction = on_sigsys,
				     .sa_flags = SA_SIGINFO | SA_NODEFER};
	void *frame;

	report_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, REPORT_FD);
	own_name(program);
	backtrace(&frame, 1); /* the first call loads a library */
	if (report_fd < 0 || sigaction(SIGSYS, &on, NULL))
		abort();
}
