/* tests/gate/kernel.c - see kernel.h. One thread; one job at a time. */
#include "tests/gate/kernel.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <valgrind/callgrind.h>

#define FDS_MOST      256
#define ROUND_NSEC    20000 /* the clock's step from round to round: no queue ever waits for long */
#define FIRST_SECONDS 1000

void must_hold(_Bool fact, const char *text, const char *file, int line)
{
	if (fact)
		return;
	fprintf(stderr, "%s:%d: this does not hold: %s\n", file, line, text);
	exit(1);
}

/* --- parcels --- */

struct parcel *parcels_add(struct parcels *s, unsigned round, size_t len)
{
	struct parcel *p;

	if (s->n == s->room) {
		s->room = s->room ? 2 * s->room : 64;
		s->p = realloc(s->p, s->room * sizeof(*s->p));
		must(s->p != NULL);
	}
	must(s->n == 0 || s->p[s->n - 1].round <= round);
	p = &s->p[s->n++];
	*p = (struct parcel){.round = round, .len = (uint32_t)len, .bytes = malloc(len)};
	must(p->bytes != NULL);
	return p;
}

void parcels_free(struct parcels *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->p[i].bytes);
	free(s->p);
	*s = (struct parcels){0};
}

/* --- the job --- */

static const struct job *job;
static size_t next;		/* of job->in: to be received */
static unsigned round_now;	/* 0 before the first, which is 1 */
static bool counting;		/* but for what happens in here */
static uint64_t clock_nsec;	/* since FIRST_SECONDS */
static uint64_t told[FDS_MOST]; /* what epoll says of a descriptor */
static struct thread started;
static struct asked asked;

/* Around each system call. */
static inline void count_no_more(void)
{
	if (counting) {
		CALLGRIND_TOGGLE_COLLECT;
		asked.calls++;
	}
}

static inline void count_on(void)
{
	if (counting)
		CALLGRIND_TOGGLE_COLLECT;
}

static bool something_waits(void)
{
	return next < job->in->n && job->in->p[next].round == round_now;
}

/* How many descriptors became readable: one, or none. */
static int next_event(struct epoll_event *ret, int timeout)
{
	if (!something_waits()) {
		if (timeout == 0)
			return 0; /* it has work of its own */
		if (round_now == job->rounds) {
			atomic_store(job->stop, true);
			counting = false;
			return 0;
		}
		round_now++;
		clock_nsec += ROUND_NSEC;
		counting = job->name && round_now > job->warm;
		if (!something_waits())
			return 0;
	}
	*ret = (struct epoll_event){.events = EPOLLIN, .data.u64 = told[job->fd]};
	return 1;
}

struct asked kernel_run(const struct job *j)
{
	job = j;
	asked = (struct asked){0};
	next = round_now = 0;
	atomic_store(j->stop, false);
	CALLGRIND_ZERO_STATS;
	j->thread.run(j->thread.arg);
	must(round_now == j->rounds && next == j->in->n);
	if (j->name)
		CALLGRIND_DUMP_STATS_AT(j->name);
	job = NULL;
	return asked;
}

struct thread kernel_thread(void)
{
	return started;
}

static struct parcel *arrive(void)
{
	if (!job || !something_waits())
		return NULL;
	asked.messages += counting;
	return &job->in->p[next++];
}

/* --- sockets --- */

static void fill_message(struct mmsghdr *m, const struct parcel *p)
{
	struct msghdr *h = &m->msg_hdr;
	struct sockaddr_storage ss;
	struct cmsghdr *c = CMSG_FIRSTHDR(h);
	int segment = (int)p->segment;

	must(h->msg_iovlen == 1 && h->msg_iov[0].iov_len >= p->len);
	memcpy(h->msg_iov[0].iov_base, p->bytes, p->len);
	m->msg_len = p->len;
	must(h->msg_namelen >= sizeof(struct sockaddr_in));
	h->msg_namelen = addr_to_sockaddr(&p->from, &ss);
	memcpy(h->msg_name, &ss, h->msg_namelen);
	h->msg_flags = 0;
	if (p->segment == p->len) { /* one datagram */
		h->msg_controllen = 0;
		return;
	}
	must(c && h->msg_controllen >= CMSG_SPACE(sizeof(segment)));
	c->cmsg_level = SOL_UDP;
	c->cmsg_type = UDP_GRO;
	c->cmsg_len = CMSG_LEN(sizeof(segment));
	memcpy(CMSG_DATA(c), &segment, sizeof(segment));
	h->msg_controllen = CMSG_SPACE(sizeof(segment));
}

int __wrap_recvmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags, struct timespec *timeout);
int __wrap_recvmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags, struct timespec *timeout)
{
	unsigned got = 0;

	(void)flags, (void)timeout;
	count_no_more();
	must(fd == job->fd);
	while (got < n && something_waits())
		fill_message(&msgs[got++], arrive());
	errno = EAGAIN;
	count_on();
	return got ? (int)got : -1;
}

static size_t gathered_bytes(const struct iovec *iov, size_t n)
{
	size_t bytes = 0;

	for (size_t i = 0; i < n; i++)
		bytes += iov[i].iov_len;
	return bytes;
}

static struct parcel *gather(const struct iovec *iov, size_t n)
{
	struct parcel *p = parcels_add(job->out, round_now, gathered_bytes(iov, n));
	uint8_t *at = p->bytes;

	for (size_t i = 0; i < n; i++) {
		memcpy(at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	p->segment = p->len;
	asked.messages += counting;
	return p;
}

static void take_message(const struct msghdr *h)
{
	struct parcel *p = gather(h->msg_iov, h->msg_iovlen);
	const struct cmsghdr *c = CMSG_FIRSTHDR(h);
	uint16_t segment;

	p->from = job->self;
	p->to = addr_from_sockaddr(h->msg_name);
	if (!c)
		return;
	must(c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_SEGMENT &&
	     c->cmsg_len == CMSG_LEN(sizeof(segment)));
	memcpy(&segment, CMSG_DATA(c), sizeof(segment));
	p->segment = segment;
}

int __wrap_sendmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags);
int __wrap_sendmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags)
{
	(void)fd, (void)flags;
	count_no_more();
	must(job != NULL);
	for (unsigned i = 0; i < n; i++)
		take_message(&msgs[i].msg_hdr);
	count_on();
	return (int)n;
}

/* Every option there is: the offloads do not depend on where this runs. */
int __wrap_setsockopt(int fd, int level, int option, const void *value, socklen_t n);
int __wrap_setsockopt(int fd, int level, int option, const void *value, socklen_t n)
{
	(void)fd, (void)level, (void)option, (void)value, (void)n;
	return 0;
}

/* --- the TUN --- */

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode = 0;

	if (strcmp(path, "/dev/net/tun") == 0)
		return eventfd(0, EFD_CLOEXEC);
	va_start(ap, flags);
	if (flags & O_CREAT)
		mode = va_arg(ap, mode_t);
	va_end(ap);
	return __real_open(path, flags, mode);
}

int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...)
{
	(void)fd, (void)request;
	return 0;
}

ssize_t __real_read(int fd, void *to, size_t n);
ssize_t __wrap_read(int fd, void *to, size_t n);
ssize_t __wrap_read(int fd, void *to, size_t n)
{
	const struct parcel *p;

	if (!job || fd != job->fd)
		return __real_read(fd, to, n);
	count_no_more();
	p = arrive();
	if (p) {
		must(p->len <= n);
		memcpy(to, p->bytes, p->len);
	}
	errno = EAGAIN;
	count_on();
	return p ? (ssize_t)p->len : -1;
}

ssize_t __wrap_writev(int fd, const struct iovec *iov, int n);
ssize_t __wrap_writev(int fd, const struct iovec *iov, int n)
{
	ssize_t bytes;

	(void)fd;
	count_no_more();
	must(job != NULL);
	bytes = (ssize_t)gather(iov, (size_t)n)->len;
	count_on();
	return bytes;
}

/* --- waiting, time, threads --- */

int __real_epoll_ctl(int epfd, int what, int fd, struct epoll_event *ev);
int __wrap_epoll_ctl(int epfd, int what, int fd, struct epoll_event *ev);
int __wrap_epoll_ctl(int epfd, int what, int fd, struct epoll_event *ev)
{
	must(fd >= 0 && fd < FDS_MOST);
	if (what == EPOLL_CTL_ADD)
		told[fd] = ev->data.u64;
	return __real_epoll_ctl(epfd, what, fd, ev);
}

int __wrap_epoll_wait(int epfd, struct epoll_event *ret, int most, int timeout);
int __wrap_epoll_wait(int epfd, struct epoll_event *ret, int most, int timeout)
{
	int n;

	(void)epfd, (void)most;
	count_no_more();
	must(job != NULL);
	n = next_event(ret, timeout);
	count_on();
	return n;
}

int __wrap_clock_gettime(clockid_t which, struct timespec *ret);
int __wrap_clock_gettime(clockid_t which, struct timespec *ret)
{
	(void)which;
	count_no_more();
	asked.calls -= counting; /* it does not enter the kernel */
	ret->tv_sec = FIRST_SECONDS + (time_t)(clock_nsec / 1000000000);
	ret->tv_nsec = (long)(clock_nsec % 1000000000);
	count_on();
	return 0;
}

int __wrap_pthread_create(pthread_t *ret, const pthread_attr_t *attr, void *(*run)(void *),
			  void *arg);
int __wrap_pthread_create(pthread_t *ret, const pthread_attr_t *attr, void *(*run)(void *),
			  void *arg)
{
	(void)attr;
	*ret = pthread_self();
	started = (struct thread){run, arg};
	return 0;
}

int __wrap_pthread_join(pthread_t thread, void **ret);
int __wrap_pthread_join(pthread_t thread, void **ret)
{
	(void)thread, (void)ret;
	return 0;
}
