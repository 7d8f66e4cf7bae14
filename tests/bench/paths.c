/* tests/bench/paths.c - see paths.h. */
#include "tests/bench/paths.h"
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"
#include "crypto/kdf.h"
#include "unit/seeded.h"

#define REQ_OFFSET    (2 + X25519_LEN) /* of req in an onion */
#define INNER_BYTES   ONION_HOP_BYTES
#define INNER_REPLY   REPLY_HOP_BYTES
#define COUNTER_START ((UINT64_C(1) << 47) - 1)
#define SERVE_EACH    64 /* BUILDs made between two looks at the sockets */
#define PUMP_MOST     16 /* BUILDs sent between two looks at the sockets */
#define DH_TRIES      40
#define DH_OF_ONE_TRY 25

/* --- patterns: what only the two ends can judge --- */

static void pattern(const struct load_paths *s, uint32_t number, bool back, uint8_t *p, size_t n)
{
	struct seeded seed;
	struct rng rng = seeded_rng(&seed, s->secret ^ ((uint64_t)number << 1 | back));
	rng_bytes(&rng, p, n);
	store_be32(p, number);
}

static bool is_pattern(const struct load_paths *s, uint32_t number, bool back, const uint8_t *p,
		       size_t n)
{
	uint8_t want[INNER_BYTES];
	pattern(s, number, back, want, n);
	return memcmp(p, want, n) == 0;
}

/* --- making --- */

static void write_req(const struct load_paths *s, uint32_t number, uint8_t req[ONION_REQ_BYTES])
{
	unsigned next = number % s->around->next;
	struct writer w;
	writer_init(&w, req, ONION_REQ_BYTES);
	writer_u8(&w, 0);
	writer_u8(&w, PATH_FILL_FORWARD);
	writer_u16(&w, PATH_LIFETIME_S);
	writer_u32(&w, (uint32_t)(clock_unix_seconds() / 60));
	writer_put(&w, neighbour_find(s->around, NEIGHBOUR_NEXT, next)->member->id.public_key, 32);
	writer_u16(&w, INNER_BYTES);
	writer_zero(&w, 2 + 4);
}

static int make_onion(const struct load_paths *s, uint32_t number, struct attempt *a)
{
	const struct link_target *relay = &s->around->net->relay;
	uint8_t *plain = a->onion + REQ_OFFSET;
	int e = hs_start(&a->hs, HS_PATH, relay->id, relay->onion_key, &rng_system, a->onion + 2);
	if (e)
		return e;
	store_be16(a->onion, relay->keyid);
	write_req(s, number, plain);
	pattern(s, number, false, plain + ONION_REQ_BYTES, INNER_BYTES);
	hs_seal_request(&a->hs, plain, ONION_REQ_BYTES + INNER_BYTES, plain);
	return 0;
}

int load_paths_make(struct load_paths *s, unsigned n)
{
	if (n > s->room - s->made)
		return -ENOSPC;
	s->attempt = calloc(n, sizeof(*s->attempt));
	if (!s->attempt)
		return -ENOMEM;
	s->first = s->sent = s->repeat[0] = s->repeat[1] = s->made;
	s->arrived = s->answered = s->bad = 0;
	s->started = 0;
	memset(s->status, 0, sizeof(s->status));
	for (unsigned i = 0; i < n; i++) {
		int e = make_onion(s, s->made, &s->attempt[i]);
		if (e)
			return e;
		s->made++;
		if (i % SERVE_EACH == 0)
			neighbours_serve(s->around, 0);
	}
	return 0;
}

/* --- sending --- */

static void send_build(struct load_paths *s, uint32_t number, nsec_t now)
{
	unsigned previous = number % s->around->previous;
	struct neighbour *p =
		s->only ? s->only : neighbour_find(s->around, NEIGHBOUR_PREVIOUS, previous);
	uint8_t frame[FRAME_BUILD_BYTES];
	struct writer w;
	writer_init(&w, frame, sizeof(frame));
	writer_u32(&w, number + 1);
	writer_u16(&w, sizeof(s->attempt->onion));
	writer_put(&w, s->attempt[number - s->first].onion, sizeof(s->attempt->onion));
	writer_put(&w, s->filler, ONION_FIELD_BYTES - sizeof(s->attempt->onion));
	if (!neighbour_frame(p, FRAME_BUILD, frame, sizeof(frame), now))
		s->bad++;
}

bool load_paths_are_sent(const struct load_paths *s)
{
	return s->sent == s->made;
}

bool load_paths_are_answered(const struct load_paths *s)
{
	return load_paths_are_sent(s) && s->answered >= s->made - s->first;
}

static bool is_due(const struct load_paths *s, nsec_t now)
{
	unsigned sent = s->sent - s->first;
	if (load_paths_are_sent(s))
		return false;
	if (s->per_s > 0)
		return (double)sent <= (double)(now - s->started) / NSEC_PER_SEC * s->per_s;
	return sent - s->answered < PATHS_UNANSWERED;
}

/* As a client does: the same bytes again, at its two times. Both lists are in the order of sending.
 */
static void repeat_late(struct load_paths *s, nsec_t now)
{
	static const nsec_t after[PATH_REPEATS] = {PATH_RESEND_1_NSEC, PATH_RESEND_2_NSEC};
	for (unsigned i = 0; i < PATH_REPEATS; i++) {
		for (; s->repeat[i] < s->sent; s->repeat[i]++) {
			const struct attempt *a = &s->attempt[s->repeat[i] - s->first];
			if (now < a->sent + after[i])
				break;
			if (!a->answered)
				send_build(s, s->repeat[i], now);
		}
	}
}

bool load_paths_pump(struct load_paths *s, nsec_t now)
{
	if (!s->started)
		s->started = now;
	if (s->per_s == 0)
		repeat_late(s, now);
	for (unsigned i = 0; i < PUMP_MOST && is_due(s, now); i++) {
		s->attempt[s->sent - s->first].sent = now;
		send_build(s, s->sent++, now);
	}
	return is_due(s, now);
}

/* --- what comes --- */

/* A BUILD at a next neighbour: our pattern in front, and not what the client had put behind its
 * onion. */
static bool is_as_made(const struct load_paths *s, const uint8_t *field, uint16_t onion_len)
{
	const size_t ours = PATH_HOPS * ONION_HOP_BYTES;
	uint32_t number = load_be32(field);
	return onion_len == INNER_BYTES && number >= s->first && number < s->sent &&
	       is_pattern(s, number, false, field, INNER_BYTES) &&
	       memcmp(field + ours, s->filler, ONION_FIELD_BYTES - ours) != 0;
}

static void on_build(struct load_paths *s, struct neighbour *p, const uint8_t *data, nsec_t now)
{
	uint8_t frame[FRAME_BUILD_REPLY_BYTES];
	const uint8_t *field = data + 4 + 2;
	uint32_t number = load_be32(field);
	if (p->kind != NEIGHBOUR_NEXT || !is_as_made(s, field, load_be16(data + 4)) ||
	    p->number != number % s->around->next) {
		s->bad++;
		return;
	}
	uint32_t *id = &s->path[number].backward_id;
	if (*id && *id != load_be32(data)) { /* a repeat names the same */
		s->bad++;
		return;
	}
	s->arrived += *id == 0;
	*id = load_be32(data);
	store_be32(frame, load_be32(data));
	store_be32(frame + 4, number + 1);
	pattern(s, number, true, frame + 8, INNER_REPLY);
	memcpy(frame + 8 + INNER_REPLY, s->filler, REPLY_FIELD_BYTES - INNER_REPLY);
	if (!neighbour_frame(p, FRAME_BUILD_REPLY, frame, sizeof(frame), now))
		s->bad++;
}

static void on_reply(struct load_paths *s, const uint8_t *data)
{
	uint32_t number = load_be32(data) - 1;
	if (number < s->first || number >= s->sent) {
		s->bad++;
		return;
	}
	struct attempt *a = &s->attempt[number - s->first];
	if (a->answered) { /* a repeat is told what was said before */
		s->bad += memcmp(a->reply, data + 8, sizeof(a->reply)) != 0;
		return;
	}
	a->answered = true;
	s->answered++;
	s->path[number].forward_id = load_be32(data + 4);
	memcpy(a->reply, data + 8, sizeof(a->reply));
}

/* Of a live path the relay names our own id; one that pends has no circuit to lose. */
static void on_close(struct load_paths *s, const uint8_t *data)
{
	uint32_t number = load_be32(data) - 1;
	if (number < s->made && s->path[number].live)
		s->closed++;
}

void load_paths_on_frame(struct load_paths *s, struct neighbour *p, enum frame_type type,
			 const uint8_t *data, nsec_t now)
{
	if (type == FRAME_CIRCUIT_CLOSE)
		on_close(s, data);
	else if (type == FRAME_BUILD)
		on_build(s, p, data, now);
	else if (type == FRAME_BUILD_REPLY)
		on_reply(s, data);
}

/* --- verifying --- */

static void start_flow(struct flow *f)
{
	f->first = rng_u64(&rng_system) & COUNTER_START;
}

/* False when the reply is not what a relay that took the path, or refused it, says. */
static bool open_reply(struct load_paths *s, uint32_t number, struct attempt *a)
{
	struct path_load *p = &s->path[number];
	uint8_t plain[ONION_REP_BYTES + INNER_REPLY];
	if (!hs_finish(&a->hs, a->reply, a->reply + X25519_LEN, sizeof(plain), plain) ||
	    plain[0] > BUILD_PROTOCOL)
		return false;
	s->status[plain[0]]++;
	if (plain[0] != BUILD_OK)
		return p->forward_id == 0;
	if (!p->forward_id || !p->backward_id ||
	    !is_pattern(s, number, true, plain + ONION_REP_BYTES, INNER_REPLY))
		return false;
	hs_path_keys(&a->hs, &p->keys);
	start_flow(&p->forward);
	start_flow(&p->backward);
	p->live = true;
	s->live++;
	return true;
}

void load_paths_verify(struct load_paths *s)
{
	for (unsigned i = s->first; i < s->sent; i++) {
		struct attempt *a = &s->attempt[i - s->first];
		if (a->answered && !open_reply(s, i, a))
			s->bad++;
		if (i % SERVE_EACH == 0)
			neighbours_serve(s->around, 0);
	}
	s->first = s->sent = s->made;
	free(s->attempt);
	s->attempt = NULL;
}

/* --- life --- */

int load_paths_init(struct load_paths *s, struct neighbours *around, unsigned room)
{
	*s = (struct load_paths){.around = around, .room = room};
	s->secret = rng_u64(&rng_system);
	rng_bytes(&rng_system, s->filler, sizeof(s->filler));
	s->path = calloc(room, sizeof(*s->path));
	return s->path ? 0 : -ENOMEM;
}

void load_paths_done(struct load_paths *s)
{
	for (unsigned i = 0; i < s->made; i++) {
		if (s->path[i].kf)
			aead_key_done(s->path[i].kf);
		free(s->path[i].kf);
		wipe(&s->path[i], sizeof(s->path[i]));
	}
	free(s->path);
	free(s->attempt);
	*s = (struct load_paths){0};
}

/* --- the bound --- */

static double cpu_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / NSEC_PER_SEC;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

double load_paths_dh_seconds(void)
{
	uint8_t secret[32], point[32], out[32];
	double took[DH_TRIES];
	rng_bytes(&rng_system, secret, sizeof(secret));
	if (crypto_scalarmult_base(point, secret) < 0)
		abort();
	for (unsigned i = 0; i < DH_TRIES; i++) {
		double before = cpu_now();
		for (unsigned k = 0; k < DH_OF_ONE_TRY; k++)
			if (crypto_scalarmult(out, secret, point) < 0 ||
			    crypto_scalarmult_base(point, out) < 0 ||
			    crypto_scalarmult(secret, out, point) < 0)
				abort();
		took[i] = (cpu_now() - before) / DH_OF_ONE_TRY;
	}
	qsort(took, DH_TRIES, sizeof(took[0]), by_size);
	return took[DH_TRIES / 2];
}
