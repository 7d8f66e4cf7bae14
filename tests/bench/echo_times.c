/* tests/bench/echo_times.c - ICMP echoes at an even pace, and how long each took.
 *
 *   echo_times ADDRESS INTERVAL_US SECONDS      one line of JSON; times in microseconds
 *
 * ping spins below 10 ms and drifts above; beside a load it would measure itself. This one sleeps
 * until the next is due. A time ends when the kernel took the answer in, as ping's does
 * (SO_TIMESTAMPNS).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/icmp.h>
#include <netinet/ip.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>

#define NSEC_PER_SEC  1000000000LL
#define NSEC_PER_US   1000LL
#define SLACK_NS      1000
#define ECHOES_MAX    60000
#define DATA_BYTES    56 /* as ping's */
#define INTERVAL_MAX  1000000
#define SECONDS_MAX   600
#define LAST_WAIT_NS  (2 * NSEC_PER_SEC)
#define BUFFER_BYTES  2048
#define CONTROL_BYTES 128

struct echoes {
	int fd;
	uint16_t id;
	unsigned sent, answered, wanted;
	int64_t sent_ns[ECHOES_MAX]; /* CLOCK_REALTIME, as the kernel's stamps */
	int64_t took_ns[ECHOES_MAX]; /* 0: no answer yet */
};

static struct echoes echoes;

_Noreturn static void die(const char *what)
{
	fprintf(stderr, "echo_times: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t clock_ns(clockid_t id)
{
	struct timespec ts;
	clock_gettime(id, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

static uint16_t checksum(const uint8_t *bytes, size_t length)
{
	uint32_t sum = 0;
	for (size_t i = 0; i + 1 < length; i += 2)
		sum += (uint32_t)(bytes[i] << 8 | bytes[i + 1]);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static void send_one(struct echoes *e)
{
	uint8_t bytes[sizeof(struct icmphdr) + DATA_BYTES] = {0};
	struct icmphdr head = {.type = ICMP_ECHO,
			       .un.echo = {.id = e->id, .sequence = htons((uint16_t)e->sent)}};
	memcpy(bytes, &head, sizeof(head));
	head.checksum = checksum(bytes, sizeof(bytes));
	memcpy(bytes, &head, sizeof(head));
	e->sent_ns[e->sent++] = clock_ns(CLOCK_REALTIME);
	if (send(e->fd, bytes, sizeof(bytes), 0) < 0 && errno != ENOBUFS && errno != EAGAIN)
		die("send");
}

/* When the kernel took a message in, 0 when it did not say. */
static int64_t stamp(struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		struct timespec ts;
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS)
			continue;
		memcpy(&ts, CMSG_DATA(c), sizeof(ts));
		return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
	}
	return 0;
}

/* Takes one answer from the socket; false when there is none. */
static bool take_one(struct echoes *e)
{
	uint8_t bytes[BUFFER_BYTES], control[CONTROL_BYTES];
	struct iovec iov = {bytes, sizeof(bytes)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof(control)};
	ssize_t length = recvmsg(e->fd, &msg, MSG_DONTWAIT);
	if (length < 0) {
		if (errno != EAGAIN && errno != EINTR)
			die("recvmsg");
		return false;
	}
	struct iphdr ip;
	struct icmphdr icmp;
	if ((size_t)length < sizeof(ip))
		return true;
	memcpy(&ip, bytes, sizeof(ip));
	if ((size_t)length < ip.ihl * 4U + sizeof(icmp) + DATA_BYTES)
		return true;
	memcpy(&icmp, bytes + ip.ihl * 4U, sizeof(icmp));
	unsigned sequence = ntohs(icmp.un.echo.sequence);
	int64_t at = stamp(&msg);
	if (icmp.type != ICMP_ECHOREPLY || icmp.un.echo.id != e->id || sequence >= e->sent ||
	    e->took_ns[sequence] || at <= e->sent_ns[sequence])
		return true;
	e->took_ns[sequence] = at - e->sent_ns[sequence];
	e->answered++;
	return true;
}

/* Sends each when it is due, takes what comes, and waits a while for the last ones. */
static void run(struct echoes *e, int64_t interval_ns)
{
	int64_t begin = clock_ns(CLOCK_MONOTONIC);
	for (;;) {
		int64_t now = clock_ns(CLOCK_MONOTONIC), due = begin + e->sent * interval_ns;
		if (e->sent < e->wanted && now >= due) {
			send_one(e);
			continue;
		}
		if (e->sent == e->wanted) {
			due = begin + e->wanted * interval_ns + LAST_WAIT_NS;
			if (e->answered == e->sent || now >= due)
				return;
		}
		struct pollfd fd = {.fd = e->fd, .events = POLLIN};
		struct timespec wait = {(due - now) / NSEC_PER_SEC, (due - now) % NSEC_PER_SEC};
		if (ppoll(&fd, 1, &wait, NULL) < 0 && errno != EINTR)
			die("ppoll");
		while (take_one(e))
			;
	}
}

static int open_socket(const struct sockaddr_in *to)
{
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
	if (fd < 0)
		die("raw socket (only root may)");
	struct icmp_filter filter = {.data = ~(1U << ICMP_ECHOREPLY)};
	int yes = 1;
	if (setsockopt(fd, SOL_RAW, ICMP_FILTER, &filter, sizeof(filter)) ||
	    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &yes, sizeof(yes)))
		die("options of the socket");
	if (connect(fd, (const struct sockaddr *)to, sizeof(*to)))
		die("connect");
	return fd;
}

int main(int argc, char **argv)
{
	struct echoes *e = &echoes;
	struct sockaddr_in to = {.sin_family = AF_INET};
	long interval_us = argc == 4 ? strtol(argv[2], NULL, 10) : 0;
	double seconds = argc == 4 ? strtod(argv[3], NULL) : 0;
	if (argc != 4 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1 || interval_us < 100 ||
	    interval_us > INTERVAL_MAX || !(seconds > 0 && seconds <= SECONDS_MAX)) {
		fprintf(stderr, "usage: echo_times ADDRESS INTERVAL_US SECONDS\n");
		return 2;
	}
	double wanted = seconds * 1e6 / (double)interval_us;
	e->wanted = wanted < 1 ? 1 : wanted > ECHOES_MAX ? ECHOES_MAX : (unsigned)wanted;
	if (getrandom(&e->id, sizeof(e->id), 0) != sizeof(e->id))
		die("getrandom");
	if (prctl(PR_SET_TIMERSLACK, SLACK_NS))
		die("PR_SET_TIMERSLACK");
	e->fd = open_socket(&to);
	run(e, interval_us * NSEC_PER_US);
	printf("{\"sent\":%u,\"answered\":%u,\"times_us\":[", e->sent, e->answered);
	const char *comma = "";
	for (unsigned i = 0; i < e->sent; i++) {
		if (!e->took_ns[i])
			continue;
		printf("%s%.1f", comma, (double)e->took_ns[i] / NSEC_PER_US);
		comma = ",";
	}
	printf("]}\n");
	return 0;
}
