/* tests/hostile/exit.c - an exit that betrays its clients, for tests: the relay's own objects with
 * a few functions wrapped by the linker (-Wl,--wrap). What it does is named by $HOSTILE_EXIT;
 * nothing in the true relay reads that.
 *
 * lease-*, dns-*, mtu-*: a GRANT that no honest exit gives. mute: AUTH is never answered. deaf:
 * nothing is forwarded. spoof: every packet of the client brings forged ones, from private and
 * local sources and to other destinations. update, close: the first packets of the client bring an
 * UPDATE with a local lease, or a CLOSE.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"
#include "exit/inner.h"
#include "onion/session_exit.h"
#include "onion/session_msg.h"
#include "tun/checksum.h"
#include "tun/ip.h"
#include "tun/plain.h"

#define FORGED_PORT  4242
#define FORGED_BYTES 8	/* of UDP data */
#define UPDATE_AFTER 50 /* packets of the client: --up is through by then */

void __real_inner_from_onion(void *arg, struct worker *w, struct hop_dir *end, struct pkt *k);
void __wrap_inner_from_onion(void *arg, struct worker *w, struct hop_dir *end, struct pkt *k);
size_t __real_msg_grant_write(uint8_t *b, size_t room, const struct msg_grant *m);
size_t __wrap_msg_grant_write(uint8_t *b, size_t room, const struct msg_grant *m);
void __real_exit_sessions_on_plain(struct exit_sessions *s, struct circuit *c, const uint8_t *plain,
				   size_t n, size_t datagram, nsec_t now);
void __wrap_exit_sessions_on_plain(struct exit_sessions *s, struct circuit *c, const uint8_t *plain,
				   size_t n, size_t datagram, nsec_t now);

static struct msg_grant
	last_grant; /* written by the control thread before the client sends a packet */
static _Atomic bool granted;
static _Atomic unsigned packets;

static bool is_mode(const char *name)
{
	const char *mode = getenv("HOSTILE_EXIT");

	if (!mode) {
		fputs("hostile_exit: HOSTILE_EXIT names no mode\n", stderr);
		exit(2);
	}
	return !strcmp(mode, name);
}

static struct addr address(const char *text)
{
	struct addr a;

	if (addr_parse_ip(text, &a)) {
		fprintf(stderr, "hostile_exit: %s is no address\n", text);
		exit(2);
	}
	return a;
}

/* --- grants --- */

static const struct {
	const char *mode, *lease4, *lease6, *dns;
	uint16_t mtu;
} lies[] = {
	{"lease-local", "10.55.0.77", NULL, NULL, 0},
	{"lease-own", "10.55.0.2", NULL, NULL, 0},
	{"lease-public", "203.0.113.77", NULL, NULL, 0},
	{"lease-home", "192.168.0.77", NULL, NULL, 0},
	{"lease-loopback", "127.0.0.77", NULL, NULL, 0},
	{"lease6-local", NULL, "fd55::77", NULL, 0},
	{"lease6-public", NULL, "2001:db8:100::77", NULL, 0},
	{"lease6-link", NULL, "fe80::77", NULL, 0},
	{"lease6-loopback", NULL, "::1", NULL, 0},
	{"dns-local", NULL, NULL, "10.55.0.1", 0},
	{"dns-wan", NULL, NULL, "198.51.100.1", 0},
	{"dns-loopback", NULL, NULL, "127.0.0.53", 0},
	{"lease-routed", "10.66.0.77", NULL, NULL, 0},
	{"lease6-routed", NULL, "fd66::77", NULL, 0},
	{"dns-routed", NULL, NULL, "10.66.0.1", 0},
	{"dns6-routed", NULL, NULL, "2001:db8:66::1", 0},
	{"dns-link", NULL, NULL, "fe80::1", 0},
	{"mtu-500", NULL, NULL, NULL, 500},
	{"mtu-1279", NULL, NULL, NULL, 1279},
};

static void lie(struct msg_grant *g)
{
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		if (!is_mode(lies[i].mode))
			continue;
		if (lies[i].lease4)
			g->lease4 = address(lies[i].lease4);
		if (lies[i].lease6)
			g->lease6 = address(lies[i].lease6);
		if (lies[i].dns)
			g->dns[0] = address(lies[i].dns);
		if (lies[i].mtu)
			g->mtu = lies[i].mtu;
	}
	if (is_mode("lease-none"))
		g->lease4 = g->lease6 = (struct addr){0};
	if (is_mode("dns-lease"))
		g->dns[0] = g->lease4;
}

size_t __wrap_msg_grant_write(uint8_t *b, size_t room, const struct msg_grant *m)
{
	struct msg_grant g = *m;
	size_t n;

	lie(&g);
	n = __real_msg_grant_write(b, room, &g);
	last_grant = g;
	atomic_store(&granted, true);
	return is_mode("cut") ? n - 1 : n;
}

void __wrap_exit_sessions_on_plain(struct exit_sessions *s, struct circuit *c, const uint8_t *plain,
				   size_t n, size_t datagram, nsec_t now)
{
	if (is_mode("mute") && n > 1 && plain[1] == SESSION_AUTH)
		return;
	__real_exit_sessions_on_plain(s, c, plain, n, datagram, now);
}

/* --- forged packets --- */

/* A UDP packet to FORGED_PORT in p; returns its length. */
static size_t forge(uint8_t *p, const struct addr *src, const struct addr *dst)
{
	bool v4 = src->family == 4;
	size_t head = v4 ? 20 : 40, ip = v4 ? 4 : 16, n = head + 8 + FORGED_BYTES;
	struct ip_view v;

	memset(p, 0, n);
	p[0] = v4 ? 0x45 : 0x60;
	store_be16(p + (v4 ? 2 : 4), (uint16_t)(v4 ? n : n - head));
	p[v4 ? 8 : 7] = 64;
	p[v4 ? 9 : 6] = IP_UDP;
	memcpy(p + head - 2 * ip, src->ip, ip);
	memcpy(p + head - ip, dst->ip, ip);
	if (v4)
		store_be16(p + 10, (uint16_t)~checksum_fold(checksum_add(0, p, head)));
	store_be16(p + head, FORGED_PORT);
	store_be16(p + head + 2, FORGED_PORT);
	store_be16(p + head + 4, 8 + FORGED_BYTES);
	if (!ip_parse(p, n, &v))
		checksum_complete(p, &v);
	return n;
}

static void send_forged(struct worker *w, struct circuit *c, const struct addr *src,
			const struct addr *dst)
{
	struct pkt *k = worker_get(w);

	if (!k)
		return;
	k->data[0] = PLAIN_PACKET;
	k->len = (uint32_t)(1 + forge(k->data + 1, src, dst));
	worker_to_circuit(w, c, k);
}

/* The first of each list is what an honest exit may send, the others no client may let through. */
static void spoof(struct worker *w, struct circuit *c, const struct addr *lease,
		  const char *const *sources, const char *const *destinations)
{
	struct addr good = address(sources[0]), bad;

	for (unsigned i = 0; sources[i]; i++) {
		bad = address(sources[i]);
		send_forged(w, c, &bad, lease);
	}
	send_forged(w, c, lease, lease);
	for (unsigned i = 0; destinations[i]; i++) {
		bad = address(destinations[i]);
		send_forged(w, c, &good, &bad);
	}
}

static void spoof_both(struct worker *w, struct circuit *c)
{
	static const char *const sources4[] = {
		"203.0.113.99", "10.55.0.1",  "10.55.0.2",	 "10.101.0.1", "192.168.1.1",
		"172.16.0.1",	"100.64.0.1", "169.254.1.1",	 "127.0.0.1",  "0.0.0.0",
		"198.51.100.1", "224.0.0.1",  "255.255.255.255", NULL};
	static const char *const sources6[] = {
		"2001:db8:113::99", "fd55::1", "fd55::2", "fd53:1::1",
		"fe80::1",	    "::1",     "::",	  "::ffff:10.55.0.1",
		"2001:db8:100::1",  "ff02::1", NULL};
	static const char *const destinations4[] = {
		"10.55.0.1",	   "10.55.0.2",	   "10.55.0.255",
		"198.51.100.101",  "127.0.0.1",	   "224.0.0.1",
		"255.255.255.255", "203.0.113.10", NULL};
	static const char *const destinations6[] = {"fd55::1", "fd55::2",	   "::1",
						    "ff02::1", "2001:db8:113::10", NULL};

	spoof(w, c, &last_grant.lease4, sources4, destinations4);
	spoof(w, c, &last_grant.lease6, sources6, destinations6);
}

/* --- words of the exit, from a worker --- */

static void say(struct worker *w, struct circuit *c, uint8_t type, const uint8_t *body, size_t n)
{
	struct pkt *k = worker_get(w);

	if (!k)
		return;
	k->len = (uint32_t)session_write(k->data, pkt_tailroom(k), type, 0, body, n);
	worker_to_circuit(w, c, k);
}

static void say_update(struct worker *w, struct circuit *c)
{
	struct msg_grant g = last_grant;
	uint8_t body[256];

	g.lease4 = address("10.55.0.77");
	say(w, c, SESSION_UPDATE, body, __real_msg_grant_write(body, sizeof(body), &g));
}

void __wrap_inner_from_onion(void *arg, struct worker *w, struct hop_dir *end, struct pkt *k)
{
	struct circuit *c = end->owner;
	const uint8_t reason = CLOSE_PROTOCOL;
	unsigned n = atomic_fetch_add(&packets, 1);

	if (!atomic_load(&granted) || is_mode("deaf")) {
		worker_put(w, k);
		return;
	}
	if (is_mode("spoof"))
		spoof_both(w, c);
	if (is_mode("update") && n >= UPDATE_AFTER)
		say_update(w, c);
	if (is_mode("close") && n >= UPDATE_AFTER)
		say(w, c, SESSION_CLOSE, &reason, sizeof(reason));
	__real_inner_from_onion(arg, w, end, k);
}
