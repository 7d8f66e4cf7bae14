/* tests/gate/gate.c - packets through every role of the packet path, so that callgrind can count
 * instructions.
 *
 * What a client's applications send goes through the workers of four parties (world.h), one after
 * the other, in a kernel made of memory (kernel.h): from epoll_wait to the last system call all
 * code is the product's, but for the cipher (cipher.c). What one sent the next receives. At the far
 * end the packets must be those that were sent, byte for byte, and none may have been dropped: so
 * what is counted is what users get. Then the same backward.
 *
 * A line is printed for each role and shape of traffic, "NAME PACKETS CALLS MESSAGES" (system calls
 * and what came and went in them), and callgrind dumps a profile under the same name. gate.py runs
 * it, divides and compares.
 *
 *   gate                all of it
 *   gate --compiler     what it was built by
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"
#include "tests/gate/ends.h"
#include "tests/gate/packets.h"
#include "tests/gate/world.h"

#define BURST 45 /* packets that go together */

/* How packets come. */
struct shape {
	const char *name;
	bool tcp;	 /* full packets of TCP, else small ones of UDP */
	unsigned frames; /* from the TUN in each round */
	unsigned packets;
	unsigned warm, counted; /* rounds */
};

static const struct shape shapes[] = {
	{"full", true, 1, BURST, 20, 100},	 /* one segment of TCP */
	{"small", false, BURST, BURST, 20, 100}, /* many packets of UDP in a row */
	{"alone", false, 1, 1, 100, 1000},	 /* one, and then the worker waits again */
};

/* A party's turn on the way. */
struct turn {
	const char *role; /* NULL: it passes packets on, and is not counted: another party's role is
			     the same */
	unsigned party;
	bool from_tun;
};

static const struct turn forward[] = {
	{"client-out", CLIENT, true},
	{"relay-forward", RELAY, false},
	{NULL, SECOND_RELAY, false},
	{"exit-out", EXIT, false},
};

static const struct turn backward[] = {
	{"exit-in", EXIT, true},
	{"relay-backward", SECOND_RELAY, false},
	{NULL, RELAY, false},
	{"client-in", CLIENT, false},
};

/* Let the party receive `in`, and what it sends replace it. */
static void take_turn(const struct world *w, const struct turn *t, const struct shape *s,
		      struct parcels *in)
{
	const struct party *p = &w->party[t->party];
	struct parcels out = {0};
	struct asked asked;
	char name[64];
	const struct job j = {
		.name = t->role ? name : NULL,
		.thread = p->thread,
		.stop = world_stop(p),
		.fd = t->from_tun ? world_tun(p) : world_socket(p),
		.self = p->addr,
		.rounds = s->warm + s->counted,
		.warm = s->warm,
		.in = in,
		.out = &out,
	};

	for (size_t i = 0; i < in->n && !t->from_tun; i++)
		must(addr_equal(&in->p[i].to, &p->addr));
	snprintf(name, sizeof(name), "%s/%s", t->role ? t->role : "", s->name);
	asked = kernel_run(&j);
	if (t->role)
		printf("%s %u %u %u\n", name, s->counted * s->packets, asked.calls, asked.messages);
	parcels_free(in);
	*in = out;
}

static void pass(struct world *w, const struct turn *turns, const struct shape *s, struct flow f)
{
	struct parcels sent = {0}, at = {0};
	struct seeded again;

	for (struct parcels *to = &sent;; to = &at) { /* twice the same */
		struct flow g = f;

		again.state = 7;
		for (unsigned r = 1; r <= s->warm + s->counted; r++)
			for (unsigned i = 0; i < s->frames; i++)
				packets_send(to, r, &g, &again);
		if (to == &at)
			break;
	}
	for (unsigned i = 0; i < PARTIES; i++)
		take_turn(w, &turns[i], s, &at);
	world_check_drops(w);
	must(packets_check(&sent, &at) == (size_t)(s->warm + s->counted) * s->packets);
	parcels_free(&sent);
	parcels_free(&at);
}

/* --- a relay with many circuits --- */

static const struct shape many = {"many", true, 0, BURST, 2 * CIRCUITS / BURST + 1, 100};

/* Datagrams of all circuits in turn, in bursts of the link that they share. */
static void make_bursts(struct world *w, struct parcels *to)
{
	struct aead_ctx *aead = aead_ctx_new();

	for (unsigned r = 1; r <= many.warm + many.counted; r++) {
		struct parcel *p = parcels_add(to, r, BURST * DATAGRAM_FULL_MOST);

		p->segment = DATAGRAM_FULL_MOST;
		p->from = w->party[RELAY].addr;
		p->to = w->party[SECOND_RELAY].addr;
		seeded_fill(&w->seeded, p->bytes, p->len);
		for (unsigned i = 0; i < BURST; i++) {
			unsigned number = (r - 1) * BURST + i;
			const struct header h = {w->other[number % CIRCUITS].forward.slot.id,
						 HEADER_DATA, number / CIRCUITS};

			datagram_header(aead, &w->near[1], &h,
					p->bytes + (size_t)i * DATAGRAM_FULL_MOST);
		}
	}
	aead_ctx_free(aead);
}

/* Each went on to where its circuit goes, in order. */
static void check_many(const struct world *w, const struct parcels *out)
{
	unsigned seen[NEXT] = {0}; /* datagrams */

	for (size_t i = 0; i < out->n; i++) {
		const struct parcel *p = &out->p[i];
		unsigned n = 0;

		while (n < NEXT && !addr_equal(&p->to, &w->next_addr[n]))
			n++;
		must(n < NEXT && p->segment == DATAGRAM_FULL_MOST);
		for (size_t at = 0; at < p->len; at += p->segment, seen[n]++) {
			const struct hop_dir *d =
				&w->other[(seen[n] * NEXT + n) % CIRCUITS].forward;

			must(load_be32(p->bytes + at) == w->next[n].remote_id &&
			     load_be32(p->bytes + at + 4) == d->out_id);
		}
	}
	for (unsigned n = 1; n < NEXT; n++)
		seen[0] += seen[n];
	must(seen[0] == (many.warm + many.counted) * BURST);
}

static void pass_many(struct world *w)
{
	static const struct turn turn = {"relay-forward", SECOND_RELAY, false};
	struct parcels at = {0};

	make_bursts(w, &at);
	take_turn(w, &turn, &many, &at);
	check_many(w, &at);
	world_check_drops(w);
	parcels_free(&at);
}

/* --- all --- */

static int show_compiler(void)
{
#if defined(__clang__)
	printf("clang %d.%d\n", __clang_major__, __clang_minor__);
#else
	printf("gcc %d.%d\n", __GNUC__, __GNUC_MINOR__);
#endif
	return 0;
}

int main(int argc, char **argv)
{
	struct world *w;
	struct addr lease, web;

	if (argc == 2 && !strcmp(argv[1], "--compiler"))
		return show_compiler();
	w = world_new();
	lease = exit_end_session()->lease4;
	lease.port = 40000;
	web = addr_from_ip((uint8_t[]){9, 9, 9, 9}, 4, 443);
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		const struct shape *s = &shapes[i];

		pass(w, forward, s, (struct flow){lease, web, s->tcp, false, 1, 1});
		pass(w, backward, s, (struct flow){web, lease, s->tcp, true, 1, 1});
	}
	pass_many(w);
	world_free(w);
	return 0;
}
