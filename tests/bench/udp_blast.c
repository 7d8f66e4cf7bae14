/* tests/bench/udp_blast.c - small datagrams at a given rate, counted at the other end.
 *
 *   udp_blast serve ADDRESS PORT                          until it is ended
 *   udp_blast up|down ADDRESS PORT SIZE PPS SECONDS       one line of JSON; PPS 0: as fast as it
 * can
 *
 * SIZE is the UDP payload. "up" sends from here to the server, "down" asks the server to send here,
 * so that a NAT on the way lets it through. A datagram counts once, and only when length, run and
 * number fit. Batches of sendmmsg() and recvmmsg() and a socket that sleeps between its turns keep
 * the cost of the generator low; what its own receive buffer lost is told apart ("overflowed").
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sock_diag.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH	       64
#define MAGIC	       0x53584231 /* "SXB1" */
#define SIZE_MAX_BYTES 9000
#define SEQ_LIMIT      (1ULL << 28) /* datagrams of one run: the bitmap is 32 MB at most */
#define BUFFER_BYTES   (16 << 20)
#define SLACK_NS       1000
#define NAP_NS	       20000
#define NSEC_PER_SEC   1000000000LL
#define ASK_TIMEOUT_US 50000
#define START_TRIES    100
#define RESULT_TRIES   200
#define QUIET_NS       (NSEC_PER_SEC / 5)
#define LATE_NS	       (3 * NSEC_PER_SEC)
#define SECONDS_MAX    600
#define US_PER_SEC     1000000LL

enum kind { DATA, START_UP, START_DOWN, READY, ASK, RESULT };

/* The head of a datagram of data. Both ends run on one machine: host byte order. */
struct head {
	uint32_t magic, kind;
	uint64_t run, seq;
};

struct counts {
	uint64_t delivered, repeated, late, foreign, overflowed;
	uint64_t sent;		   /* by this end */
	int64_t first_ns, last_ns; /* of data received */
	int64_t took_ns;	   /* of sending */
	int64_t cpu_us;		   /* of this end's process during the run */
};

struct control {
	struct head head;
	uint64_t size, pps, milliseconds;
	struct counts counts;
};

#define CONTROL_BYTES sizeof(struct control)

struct run {
	uint64_t id, size, pps;
	int64_t length_ns;
	struct counts counts;
	uint64_t highest;
	uint32_t overflowed_before;
	int64_t cpu_before;
	uint64_t *seen; /* one bit a number */
};

struct blaster {
	int fd;
	struct run run;
	uint8_t buffer[BATCH][SIZE_MAX_BYTES];
	struct iovec iov[BATCH];
	struct mmsghdr msg[BATCH];
	struct sockaddr_in from[BATCH];
};

static struct blaster blaster;

_Noreturn static void die(const char *what)
{
	fprintf(stderr, "udp_blast: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

static int64_t cpu_us(void)
{
	struct rusage use;
	if (getrusage(RUSAGE_SELF, &use))
		die("getrusage");
	return (use.ru_utime.tv_sec + use.ru_stime.tv_sec) * US_PER_SEC + use.ru_utime.tv_usec +
	       use.ru_stime.tv_usec;
}

/* Datagrams that this socket had no room for, since it was opened. */
static uint32_t overflowed(int fd)
{
	uint32_t info[SK_MEMINFO_VARS] = {0};
	socklen_t length = sizeof(info);
	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &length))
		die("SO_MEMINFO");
	return info[SK_MEMINFO_DROPS];
}

static void run_begin(struct blaster *b, const struct control *start)
{
	struct run *run = &b->run;
	free(run->seen);
	*run = (struct run){
		.id = start->head.run,
		.size = start->size,
		.pps = start->pps,
		.length_ns = (int64_t)start->milliseconds * (NSEC_PER_SEC / 1000),
		.overflowed_before = overflowed(b->fd),
		.cpu_before = cpu_us(),
		.seen = calloc(SEQ_LIMIT / 64, sizeof(uint64_t)),
	};
	if (!run->seen)
		die("memory");
}

/* One datagram that came: counted as what it is. */
static void count(struct run *run, const uint8_t *bytes, size_t length, int64_t now)
{
	struct head head;
	struct counts *c = &run->counts;
	if (length < sizeof(head) || length != run->size) {
		c->foreign++;
		return;
	}
	memcpy(&head, bytes, sizeof(head));
	if (head.magic != MAGIC || head.kind != DATA || head.run != run->id ||
	    head.seq >= SEQ_LIMIT) {
		c->foreign++;
		return;
	}
	uint64_t bit = 1ULL << (head.seq % 64);
	if (run->seen[head.seq / 64] & bit) {
		c->repeated++;
		return;
	}
	run->seen[head.seq / 64] |= bit;
	if (c->delivered == 0)
		c->first_ns = now;
	else if (head.seq < run->highest)
		c->late++;
	if (head.seq > run->highest)
		run->highest = head.seq;
	c->delivered++;
	c->last_ns = now;
}

/* Numbered datagrams to `to` (NULL: where the socket is connected to), until the run's time is
 * over. */
static void blast(struct blaster *b, struct sockaddr_in *to)
{
	struct run *run = &b->run;
	for (int i = 0; i < BATCH; i++) {
		memset(b->buffer[i], i, run->size);
		b->iov[i] = (struct iovec){b->buffer[i], run->size};
		b->msg[i].msg_hdr = (struct msghdr){.msg_name = to,
						    .msg_namelen = to ? sizeof(*to) : 0,
						    .msg_iov = &b->iov[i],
						    .msg_iovlen = 1};
	}
	uint64_t seq = 0;
	int64_t start = now_ns(), now = start;
	for (; now - start < run->length_ns && seq < SEQ_LIMIT; now = now_ns()) {
		uint64_t due = BATCH;
		if (run->pps) {
			due = (uint64_t)((double)(now - start) / NSEC_PER_SEC * (double)run->pps);
			due = due > seq ? due - seq : 0;
		}
		if (due == 0) {
			nanosleep(&(struct timespec){.tv_nsec = NAP_NS}, NULL);
			continue;
		}
		unsigned n = due < BATCH ? (unsigned)due : BATCH;
		for (unsigned i = 0; i < n; i++) {
			struct head head = {MAGIC, DATA, run->id, seq + i};
			memcpy(b->buffer[i], &head, sizeof(head));
		}
		int sent = sendmmsg(b->fd, b->msg, n, 0);
		if (sent < 0 && errno != EINTR && errno != ENOBUFS && errno != EAGAIN)
			die("sendmmsg");
		if (sent > 0)
			seq += (unsigned)sent;
	}
	run->counts.sent = seq;
	run->counts.took_ns = now - start;
}

static void fill_counts(struct blaster *b)
{
	b->run.counts.overflowed = overflowed(b->fd) - b->run.overflowed_before;
	b->run.counts.cpu_us = cpu_us() - b->run.cpu_before;
}

static bool is_control(const uint8_t *bytes, size_t length, struct control *ret)
{
	if (length != CONTROL_BYTES)
		return false;
	memcpy(ret, bytes, sizeof(*ret));
	return ret->head.magic == MAGIC && ret->head.kind != DATA;
}

/* Room for a batch; the sender of each goes to b->from. Returns how many came, 0 at a timeout. */
static int receive(struct blaster *b)
{
	for (int i = 0; i < BATCH; i++) {
		b->iov[i] = (struct iovec){b->buffer[i], SIZE_MAX_BYTES};
		b->msg[i].msg_hdr = (struct msghdr){.msg_name = &b->from[i],
						    .msg_namelen = sizeof(b->from[i]),
						    .msg_iov = &b->iov[i],
						    .msg_iovlen = 1};
	}
	int n = recvmmsg(b->fd, b->msg, BATCH, MSG_WAITFORONE, NULL);
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		die("recvmmsg");
	return n > 0 ? n : 0;
}

static void reply(struct blaster *b, struct control *c, enum kind kind, struct sockaddr_in *to)
{
	c->head.kind = kind;
	c->counts = b->run.counts;
	if (sendto(b->fd, c, CONTROL_BYTES, 0, (struct sockaddr *)to, sizeof(*to)) < 0)
		die("sendto");
}

static void serve_control(struct blaster *b, struct control *c, struct sockaddr_in from)
{
	bool fits = c->size >= sizeof(struct head) && c->size <= SIZE_MAX_BYTES &&
		    c->size != CONTROL_BYTES && c->milliseconds <= SECONDS_MAX * 1000;
	switch (c->head.kind) {
	case START_UP:
	case START_DOWN:
		if (!fits)
			return;
		if (c->head.run ==
		    b->run.id) { /* asked again: our answer was lost, or is on its way */
			reply(b, c, READY, &from);
			return;
		}
		run_begin(b, c);
		bool is_down = c->head.kind == START_DOWN;
		reply(b, c, READY, &from);
		if (is_down)
			blast(b, &from);
		return;
	case ASK:
		if (c->head.run != b->run.id)
			return;
		fill_counts(b);
		reply(b, c, RESULT, &from);
		return;
	default:
		return;
	}
}

_Noreturn static void serve(struct blaster *b)
{
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		int n = receive(b);
		int64_t now = now_ns();
		for (int i = 0; i < n; i++) {
			struct control c;
			if (is_control(b->buffer[i], b->msg[i].msg_len, &c)) {
				bool starts = c.head.kind == START_DOWN && c.head.run != b->run.id;
				serve_control(b, &c, b->from[i]);
				if (starts)
					break; /* the batch's buffers were used to send */
			} else if (b->run.seen) {
				count(&b->run, b->buffer[i], b->msg[i].msg_len, now);
			}
		}
	}
}

/* Sends a control message. Datagrams that come meanwhile are counted. True when the answer came. */
static bool ask(struct blaster *b, enum kind kind, enum kind wanted, struct control *ret_answer)
{
	struct control c = {.head = {MAGIC, kind, b->run.id, 0},
			    .size = b->run.size,
			    .pps = b->run.pps,
			    .milliseconds = (uint64_t)(b->run.length_ns / (NSEC_PER_SEC / 1000))};
	if (send(b->fd, &c, CONTROL_BYTES, 0) < 0)
		die("the server does not answer");
	bool found = false;
	int64_t until = now_ns() + ASK_TIMEOUT_US * 1000LL;
	while (!found && now_ns() < until) {
		int n = receive(b);
		int64_t now = now_ns();
		for (int i = 0; i < n; i++) {
			if (!is_control(b->buffer[i], b->msg[i].msg_len, &c)) {
				count(&b->run, b->buffer[i], b->msg[i].msg_len, now);
			} else if (c.head.kind == wanted && c.head.run == b->run.id) {
				*ret_answer = c;
				found = true;
			}
		}
	}
	return found;
}

static void start(struct blaster *b, enum kind kind)
{
	struct control answer;
	for (int i = 0; i < START_TRIES; i++) {
		if (ask(b, kind, READY, &answer) || b->run.counts.delivered > 0)
			return;
	}
	fprintf(stderr, "udp_blast: the server does not answer\n");
	exit(1);
}

/* What the other end counted, once it counts no more. */
static struct counts result(struct blaster *b)
{
	struct control answer;
	uint64_t last = UINT64_MAX;
	int64_t begin = now_ns();
	for (int i = 0; i < RESULT_TRIES; i++) {
		if (!ask(b, ASK, RESULT, &answer))
			continue;
		if (answer.counts.delivered == last && now_ns() - begin >= QUIET_NS)
			return answer.counts;
		last = answer.counts.delivered;
		nanosleep(&(struct timespec){.tv_nsec = ASK_TIMEOUT_US * 1000L}, NULL);
	}
	fprintf(stderr, "udp_blast: the server does not tell its counts\n");
	exit(1);
}

/* Until nothing comes any more after the run's time. */
static void listen_down(struct blaster *b)
{
	int64_t begin = now_ns(), last = begin, now = begin;
	int64_t end = begin + b->run.length_ns;
	while (now < end + LATE_NS && (now < end || now - last < QUIET_NS)) {
		int n = receive(b);
		now = now_ns();
		struct control c;
		for (int i = 0; i < n; i++) {
			if (!is_control(b->buffer[i], b->msg[i].msg_len, &c))
				count(&b->run, b->buffer[i], b->msg[i].msg_len, now);
		}
		if (n > 0)
			last = now;
	}
}

static void measure(struct blaster *b, bool is_down)
{
	struct counts sender, receiver;
	start(b, is_down ? START_DOWN : START_UP);
	if (is_down) {
		listen_down(b);
		fill_counts(b);
		receiver = b->run.counts;
		sender = result(b);
	} else {
		blast(b, NULL);
		fill_counts(b);
		sender = b->run.counts;
		receiver = result(b);
	}
	int64_t counted_ns = receiver.last_ns - receiver.first_ns;
	int64_t took_ns = counted_ns > sender.took_ns ? counted_ns : sender.took_ns;
	printf("{\"sent\":%llu,\"delivered\":%llu,\"repeated\":%llu,\"late\":%llu,\"foreign\":%llu,"
	       "\"overflowed\":%llu,\"seconds\":%.6f,\"sender_cpu_s\":%.6f,\"receiver_cpu_s\":%.6f}\n",
	       (unsigned long long)sender.sent, (unsigned long long)receiver.delivered,
	       (unsigned long long)receiver.repeated, (unsigned long long)receiver.late,
	       (unsigned long long)receiver.foreign, (unsigned long long)receiver.overflowed,
	       (double)took_ns / NSEC_PER_SEC, (double)sender.cpu_us / US_PER_SEC,
	       (double)receiver.cpu_us / US_PER_SEC);
}

static bool number(const char *text, uint64_t most, uint64_t *ret)
{
	char *end;
	errno = 0;
	unsigned long long n = strtoull(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || n > most)
		return false;
	*ret = n;
	return true;
}

static int open_socket(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket");
	int bytes = BUFFER_BYTES;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)))
		die("buffers of the socket (only root may)");
	struct timeval wait = {.tv_usec = ASK_TIMEOUT_US};
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)))
		die("SO_RCVTIMEO");
	return fd;
}

static int usage(void)
{
	fprintf(stderr, "usage: udp_blast serve ADDRESS PORT\n"
			"       udp_blast up|down ADDRESS PORT SIZE PPS SECONDS\n");
	return 2;
}

int main(int argc, char **argv)
{
	struct blaster *b = &blaster;
	struct sockaddr_in at = {.sin_family = AF_INET};
	uint64_t port, milliseconds = 0;
	if (argc < 4 || inet_pton(AF_INET, argv[2], &at.sin_addr) != 1 ||
	    !number(argv[3], UINT16_MAX, &port))
		return usage();
	at.sin_port = htons((uint16_t)port);
	bool is_server = strcmp(argv[1], "serve") == 0, is_down = strcmp(argv[1], "down") == 0;
	struct control start_with = {0};
	if (is_server ? argc != 4 : argc != 7)
		return usage();
	if (!is_server) {
		char *end;
		double seconds = strtod(argv[6], &end);
		if ((!is_down && strcmp(argv[1], "up") != 0) ||
		    !number(argv[4], SIZE_MAX_BYTES, &start_with.size) ||
		    start_with.size < sizeof(struct head) || start_with.size == CONTROL_BYTES ||
		    !number(argv[5], UINT32_MAX, &start_with.pps) || *end || end == argv[6] ||
		    !(seconds > 0 && seconds <= SECONDS_MAX))
			return usage();
		milliseconds = (uint64_t)(seconds * 1000);
	}
	if (prctl(PR_SET_TIMERSLACK, SLACK_NS))
		die("PR_SET_TIMERSLACK");
	b->fd = open_socket();
	if (is_server) {
		if (bind(b->fd, (struct sockaddr *)&at, sizeof(at)))
			die("bind");
		serve(b);
	}
	if (connect(b->fd, (struct sockaddr *)&at, sizeof(at)))
		die("connect");
	start_with.milliseconds = milliseconds;
	if (getrandom(&start_with.head.run, sizeof(start_with.head.run), 0) !=
	    sizeof(start_with.head.run))
		die("getrandom");
	run_begin(b, &start_with);
	measure(b, is_down);
	return 0;
}
