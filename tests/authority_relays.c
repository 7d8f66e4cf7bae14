/* tests/authority_relays.c - relays as an authority sees them: N UDP ports on 127.0.0.1 that answer
 * LINK_INIT, each with a descriptor posted to every authority named. For tests/authority_test.py.
 *
 * usage: authority_relays NET_ID FIRST_PORT N EXITS SEED AUTHORITY...     (AUTHORITY:
 * 127.0.0.1:PORT) Asks each source for a cookie once, posts again to who did not take it, prints
 * "posted" when all took all, answers until it is ended. "-SEED" answers with a wrong key: none may
 * be listed.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "crypto/handshake.h"
#include "crypto/kdf.h"
#include "directory/descriptor.h"
#include "onion/link_init.h"
#include "unit/seeded.h"

#define RELAYS_MAX   64
#define POST_WAIT_MS 100

struct fake {
	int fd;
	struct sign_keypair id;
	struct onion_keypair onion;
	bool has_asked; /* for a cookie */
	uint8_t bytes[DESCRIPTOR_MAX_BYTES];
	size_t n;
	bool taken[16];
};

static struct fake fake[RELAYS_MAX];
static struct cookie_secret secret;
static uint32_t net_id;
static bool is_liar;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void make(struct fake *f, const struct rng *rng, uint16_t port, bool exit_too)
{
	sign_keypair_new(&f->id, rng);
	onion_keypair_new(&f->onion, rng);
	uint64_t now = clock_unix_seconds();
	struct descriptor d = {.published = now,
			       .valid_until = now + 3600,
			       .nkeys = 1,
			       .flags = exit_too ? RELAY_FLAG_EXIT : RELAY_FLAG_GUARD,
			       .max_dgram = 1440,
			       .mbit = port};
	d.key[0] = (struct onion_key){.keyid = 3, .from = now - 10, .to = now + 7200};
	memcpy(d.key[0].public_key, f->onion.public_key, 32);
	d.v4 = addr_from_ip((uint8_t[]){127, 0, 0, 1}, 4, port);
	snprintf(d.nickname, sizeof(d.nickname), "fake%u", port);
	char err[POLICY_ERROR_BYTES];
	if (exit_too && policy_add_text(&d.policy, "accept *:*", err))
		die("policy");
	if (descriptor_write(&d, &f->id, f->bytes, sizeof(f->bytes), &f->n))
		die("descriptor");
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(&d.v4, &ss);
	f->fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (f->fd < 0 || bind(f->fd, (struct sockaddr *)&ss, len) < 0)
		die("bind");
	if (is_liar)
		onion_keypair_new(&f->onion, rng);
}

/* POST one descriptor; true when the authority answered 200. */
static bool post(const struct fake *f, const struct addr *to)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(to, &ss);
	char head[256], answer[256] = "";
	const struct timeval tv = {1, 0};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	int n = snprintf(
		head, sizeof(head),
		"POST /sispop/1/descriptor HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n",
		f->n);
	bool sent = connect(fd, (struct sockaddr *)&ss, len) == 0 &&
		    write(fd, head, (size_t)n) == n && write(fd, f->bytes, f->n) == (ssize_t)f->n &&
		    read(fd, answer, sizeof(answer) - 1) > 0;
	close(fd);
	return sent && !strncmp(answer, "HTTP/1.1 200", 12);
}

static void answer_cookie(const struct fake *f, const struct sockaddr *to, socklen_t len,
			  const uint8_t *d, const struct link_init *m, const struct rng *rng)
{
	uint8_t cookie[COOKIE_BYTES], out[LINK_COOKIE_BYTES];
	struct addr a = addr_from_sockaddr(to);
	struct link_cookie c = {.receiver_id = m->sender_id};
	cookie_make(&secret, &a, clock_now(), rng, cookie);
	cookie_seal(f->id.public_key, d + LINK_MAC1_OFFSET, cookie, rng, c.nonce, c.sealed);
	link_cookie_write(out, &c);
	sendto(f->fd, out, sizeof(out), 0, to, len);
}

static void answer(struct fake *f, const struct rng *rng)
{
	uint8_t d[LINK_INIT_BYTES + 1], plain[LINK_REQ_BYTES], out[LINK_RESP_BYTES];
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	struct link_init m;
	struct link_req req;
	struct hs hs;
	ssize_t n = recvfrom(f->fd, d, sizeof(d), 0, (struct sockaddr *)&from, &len);
	if (n < 0 || !link_init_parse(d, (size_t)n, &m) ||
	    !mac1_verify(d + LINK_MAC1_OFFSET, f->id.public_key, d, LINK_MAC1_OFFSET))
		return;
	struct addr a = addr_from_sockaddr((struct sockaddr *)&from);
	if (!f->has_asked || !cookie_verify(&secret, &a, clock_now(), rng, d + LINK_MAC2_OFFSET, d,
					    LINK_MAC2_OFFSET)) {
		f->has_asked = true;
		answer_cookie(f, (struct sockaddr *)&from, len, d, &m, rng);
		return;
	}
	if (m.keyid != 3 ||
	    !hs_accept(&hs, HS_LINK, f->id.public_key, &f->onion, m.x, m.ct, LINK_REQ_BYTES, plain))
		return;
	if (!link_req_parse(plain, &req) || req.role != ROLE_AUTHORITY)
		return;
	struct link_resp r = {.receiver_id = m.sender_id, .version = 1, .sender_id = 99};
	const struct link_rep rep = {.status = req.net_id == net_id ? LINK_OK : LINK_NET,
				     .version_most = 1,
				     .max_dgram = 1440,
				     .time_s = clock_unix_seconds(),
				     .observed = a,
				     .init_id = m.sender_id,
				     .resp_id = 99};
	uint8_t reply[LINK_REP_BYTES];
	link_rep_write(reply, &rep);
	if (hs_reply_start(&hs, rng, r.y) == 0) {
		hs_reply_seal(&hs, reply, sizeof(reply), r.rt);
		link_resp_write(out, &r, f->id.public_key);
		sendto(f->fd, out, sizeof(out), 0, (struct sockaddr *)&from, len);
	}
	hs_done(&hs);
}

/* Post what was not taken yet; true when nothing is left. */
static bool post_all(unsigned n, const struct addr *authority, unsigned nauthorities)
{
	bool all = true;
	for (unsigned i = 0; i < n; i++) {
		for (unsigned a = 0; a < nauthorities; a++) {
			if (!fake[i].taken[a])
				fake[i].taken[a] = post(&fake[i], &authority[a]);
			all &= fake[i].taken[a];
		}
	}
	return all;
}

int main(int argc, char **argv)
{
	struct addr authority[16];
	struct pollfd fds[RELAYS_MAX];
	struct seeded seed;
	if (argc < 7 || argc > 6 + 16 || crypto_init()) {
		fputs("usage: authority_relays NET_ID FIRST_PORT N EXITS SEED AUTHORITY...\n",
		      stderr);
		return 2;
	}
	unsigned first = (unsigned)atoi(argv[2]), n = (unsigned)atoi(argv[3]),
		 exits = (unsigned)atoi(argv[4]);
	net_id = (uint32_t)strtoul(argv[1], NULL, 10);
	is_liar = argv[5][0] == '-';
	struct rng rng = seeded_rng(&seed, strtoull(argv[5] + is_liar, NULL, 10));
	for (int i = 6; i < argc; i++)
		if (addr_parse(argv[i], &authority[i - 6]))
			die(argv[i]);
	for (unsigned i = 0; i < n && i < RELAYS_MAX; i++) {
		make(&fake[i], &rng, (uint16_t)(first + i), i < exits);
		fds[i] = (struct pollfd){fake[i].fd, POLLIN, 0};
	}
	bool told = false;
	for (;;) {
		if (!told && post_all(n, authority, (unsigned)argc - 6)) {
			told = true;
			puts("posted");
			fflush(stdout);
		}
		if (poll(fds, n, told ? -1 : POST_WAIT_MS) < 0 && errno != EINTR)
			die("poll");
		for (unsigned i = 0; i < n; i++)
			if (fds[i].revents & POLLIN)
				answer(&fake[i], &rng);
	}
}
