/* authority/agree.c - when rounds begin, what is sent to the other authorities, what is made of
 * theirs.
 *
 * A regular round begins at each multiple of consensus-interval since 1970. An early one, at a
 * whole second, when a relay answers that the consensus does not list: the first five a second
 * apart, then with a gap that doubles, so that a network that starts is usable at once and one that
 * stands is not disturbed. Others join an early round by the first vote that reaches them, under
 * the same gap of their own.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "authority/authority.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"

#define MARGIN_MAX_S                                                                               \
	60 /* a descriptor has so long to reach all authorities before it is voted for */

uint64_t authority_now_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

uint64_t authority_interval(const struct authority *a)
{
	return a->net.params.v[PARAM_CONSENSUS_INTERVAL];
}

/* Half an interval between tests, and two of them may fail. */
uint64_t authority_within(const struct authority *a)
{
	uint64_t period = authority_interval(a) / 2;
	return 3 * (period < PROBE_PERIOD_MAX_S ? period : PROBE_PERIOD_MAX_S);
}

static bool is_regular(const struct authority *a, uint64_t serial)
{
	return serial % authority_interval(a) == 0;
}

static uint64_t duration_ms(const struct authority *a, uint64_t serial)
{
	uint64_t quarter = authority_interval(a) * 1000 / 4;
	if (!is_regular(a, serial) || quarter < EARLY_ROUND_MS)
		return EARLY_ROUND_MS;
	return quarter < ROUND_MAX_MS ? quarter : ROUND_MAX_MS;
}

/* ---- to the others ---- */

static void on_posted(void *arg, int status, const uint8_t *body, size_t n, const char *failure)
{
	struct peer *p = arg;
	if (!status)
		log_debug("authority %u could not be reached: %s", p->number, failure);
	else if (status != 200)
		log_debug("authority %u answered %d: %.*s", p->number, status,
			  (int)(n < 100 ? n : 100), (const char *)body);
}

static void start_fetch(struct authority *a, unsigned i, const char *path, const void *post,
			size_t npost, size_t most, http_done_fn *done)
{
	char url[ADDR_TEXT_BYTES + 64], host[ADDR_TEXT_BYTES];
	struct http_fetch *fetch;
	snprintf(url, sizeof(url), "http://%s%s", addr_text(&a->net.authority[i].addr, host), path);
	const struct http_fetch_options o = {.url = url,
					     .post = post,
					     .post_bytes = npost,
					     .body_bytes_max = most,
					     .timeout_ms = PEER_TIMEOUT_MS};
	int e = http_fetch_start(a->client, &o, done, &a->peer[i], &fetch);
	if (e)
		log_warn("nothing could be asked of authority %u: %s", i, strerror(-e));
}

static void post_to_all(struct authority *a, const char *path, const void *p, size_t n)
{
	for (unsigned i = 0; i < a->net.n; i++)
		if (i != a->me)
			start_fetch(a, i, path, p, n, 1024, on_posted);
}

/* {u32 len, vote}… of one vote, or of all that the round holds. */
static void post_votes(struct authority *a, bool all)
{
	const struct round *r = &a->round;
	size_t room = 0;
	for (unsigned i = 0; i < a->net.n; i++)
		room += 4 + r->nbytes[i];
	uint8_t *p = malloc(room);
	if (!p) {
		log_error("there is no memory to send votes");
		return;
	}
	struct writer w;
	writer_init(&w, p, room);
	for (unsigned i = 0; i < a->net.n; i++) {
		if (!r->bytes[i] || !(all || i == a->me))
			continue;
		writer_u32(&w, (uint32_t)r->nbytes[i]);
		writer_put(&w, r->bytes[i], r->nbytes[i]);
	}
	post_to_all(a, "/sispop/1/vote", p, w.used);
	free(p);
}

static void on_descriptors(void *arg, int status, const uint8_t *body, size_t n,
			   const char *failure)
{
	struct peer *p = arg;
	(void)failure;
	if (status == 200)
		store_take_descriptors(p->authority, body, n);
}

static void ask_descriptors(struct authority *a)
{
	if (a->current && a->current->missing)
		for (unsigned i = 0; i < a->net.n; i++)
			if (i != a->me)
				start_fetch(a, i, "/sispop/1/descriptors", NULL, 0,
					    directory_descriptors_max(a->current->consensus),
					    on_descriptors);
}

static void on_consensus(void *arg, int status, const uint8_t *body, size_t n, const char *failure)
{
	struct peer *p = arg;
	(void)failure;
	if (status != 200)
		return;
	enum dir_result result = store_take_consensus(p->authority, body, n);
	if (result == DIR_OK)
		ask_descriptors(p->authority);
	else if (result != DIR_SAME && result != DIR_ROLLED_BACK)
		log_warn("the consensus of authority %u is refused: %s", p->number,
			 dir_result_text(result));
}

void agree_ask(struct authority *a)
{
	for (unsigned i = 0; i < a->net.n; i++)
		if (i != a->me)
			start_fetch(a, i, "/sispop/1/consensus", NULL, 0, CONSENSUS_MAX_BYTES,
				    on_consensus);
}

/* ---- our vote ---- */

static int fill_vote(struct authority *a, struct vote *v)
{
	uint64_t margin = authority_interval(a) / 8;
	margin = margin < 1 ? 1 : margin > MARGIN_MAX_S ? MARGIN_MAX_S : margin;
	v->param = calloc(PARAM_COUNT, sizeof(*v->param));
	v->revoked = calloc(a->config.nrevoked + 1u, sizeof(*v->revoked));
	if (!v->param || !v->revoked)
		return -ENOMEM;
	for (int i = 0; i < PARAM_COUNT; i++) /* the table is in the order of the numbers */
		if (a->net.params.set[i] && !param_rows[i].file_only)
			v->param[v->nparams++] =
				(struct consensus_param){param_rows[i].id, a->net.params.v[i]};
	memcpy(v->revoked, a->config.revoked, a->config.nrevoked * sizeof(v->revoked[0]));
	v->nrevoked = a->config.nrevoked;
	return relays_vote(&a->relays, v, v->serial, authority_within(a), a->net.n > 1 ? margin : 0,
			   a->current ? a->current->consensus : NULL, !is_regular(a, v->serial));
}

/* Make, sign and take our own vote. */
static int vote(struct authority *a)
{
	struct vote *v = calloc(1, sizeof(*v));
	uint8_t *p = NULL;
	size_t n;
	if (!v)
		return -ENOMEM;
	v->serial = a->round.serial;
	v->authority = a->me;
	int e = fill_vote(a, v);
	if (!e)
		e = vote_write(v, &a->net, &a->key, &p, &n);
	if (!e && round_take_vote(&a->round, p, n) != DIR_OK)
		e = -EPROTO;
	vote_free(v);
	free(p);
	return e;
}

/* ---- phases ---- */

static void fail_round(struct authority *a, const char *why)
{
	log_warn("there is no consensus %llu: %s; the last one stays",
		 (unsigned long long)a->round.serial, why);
	a->round.phase = ROUND_FAILED;
	a->in_round = false;
	if (a->net.n > 1)
		agree_ask(a);
}

/* With k signatures it is a consensus; each later one makes it harder to doubt. */
static void publish(struct authority *a)
{
	uint8_t *p;
	size_t n;
	bool again = a->round.phase == ROUND_DONE;
	if (round_agreeing(&a->round) < a->net.k)
		return;
	if (round_assemble(&a->round, &p, &n)) {
		fail_round(a, "there is no memory for it");
		return;
	}
	if (again && a->current && a->current->consensus->serial == a->round.serial) {
		store_resigned(a, p, n);
	} else if (!again) {
		enum dir_result result = store_take_consensus(a, p, n);
		a->round.phase = ROUND_DONE;
		a->in_round = false;
		if (result == DIR_OK) {
			store_save_descriptors(a);
			ask_descriptors(a);
		} else if (result != DIR_SAME) {
			log_warn("our consensus is refused: %s", dir_result_text(result));
		}
	}
	free(p);
}

static void sign(struct authority *a)
{
	struct round *r = &a->round;
	struct vote_signature s = {.serial = r->serial, .authority = a->me};
	uint8_t bytes[VOTE_SIGNATURE_BYTES];
	r->phase = ROUND_SIGN;
	if (round_tally(r)) {
		fail_round(a, 2 * round_votes(r) <= a->net.n ? "too few authorities voted"
							     : "the votes agree on no relay");
		return;
	}
	memcpy(s.body_hash, r->body->body_hash, sizeof(s.body_hash));
	if (store_may_sign(a, r->serial, s.body_hash)) {
		fail_round(a, "we signed this serial before, or could not remember it");
		return;
	}
	if (consensus_sign(s.body_hash, &a->key, s.sig) || round_take_signature(r, &s) != DIR_OK) {
		fail_round(a, "it could not be signed");
		return;
	}
	vote_signature_write(&s, &a->net, bytes);
	post_to_all(a, "/sispop/1/signature", bytes, sizeof(bytes));
	publish(a);
}

static void advance(struct authority *a)
{
	switch (a->round.phase) {
	case ROUND_VOTE:
		a->round.phase = ROUND_SHOW;
		post_votes(a, true);
		break;
	case ROUND_SHOW:
		sign(a);
		break;
	default:
		fail_round(a, "too few authorities signed the same body");
		break;
	}
}

static void begin(struct authority *a, uint64_t serial)
{
	round_done(&a->round);
	round_init(&a->round, &a->net, a->me, serial, duration_ms(a, serial));
	a->in_round = true;
	if (is_regular(a, serial)) {
		a->early = 0;
		a->early_at = serial + 1;
	} else {
		a->early++;
		a->early_at = serial + (a->early <= EARLY_ROUNDS_FREE
						? 1
						: UINT64_C(1) << (a->early - EARLY_ROUNDS_FREE));
	}
	int e = vote(a);
	if (e) {
		fail_round(a, strerror(-e));
		return;
	}
	if (a->net.n == 1)
		sign(a);
	else
		post_votes(a, false);
}

/* Serials never repeat and never go back. */
static bool is_new_serial(const struct authority *a, uint64_t serial)
{
	return serial > a->signed_serial && serial > a->round.serial &&
	       (!a->current || serial > a->current->consensus->serial);
}

static bool may_begin_early(const struct authority *a, uint64_t serial)
{
	uint64_t interval = authority_interval(a);
	return serial >= a->early_at && a->early < 32 && serial % interval + 1 < interval;
}

/* Test the relays whose time has come. */
static void probe_due(struct authority *a, uint64_t now_s)
{
	bool full[2] = {false, false}; /* of those that answered once, of those that never did */
	for (size_t i = 0; i < a->relays.n; i++) {
		struct known_relay *r = a->relays.relay[i];
		bool is_new = !r->answered;
		if (!r->probing && now_s >= r->probe_at && !full[is_new])
			full[is_new] = probe_relay(a, r, now_s) != 0;
	}
}

static void on_second(struct authority *a, uint64_t now_s)
{
	uint64_t interval = authority_interval(a);
	probe_due(a, now_s);
	relays_tick(&a->relays, now_s);
	if (relays_mark_crowded(&a->relays, now_s, authority_within(a)))
		log_error("there is no memory to count the relays of each address");
	if (a->in_round)
		return;
	if (now_s / interval > a->slot) {
		a->slot = now_s / interval;
		uint64_t serial = a->slot * interval;
		if (is_new_serial(a, serial) && (now_s - serial) * 1000 < duration_ms(a, serial)) {
			begin(a, serial);
			return;
		}
	}
	if (is_new_serial(a, now_s) && may_begin_early(a, now_s) &&
	    relays_have_new(&a->relays, now_s, authority_within(a),
			    a->current ? a->current->consensus : NULL,
			    (const uint8_t(*)[32])a->config.revoked, a->config.nrevoked))
		begin(a, now_s);
	else if (a->net.n > 1 && now_s % (interval / 4 + 2) == 0 &&
		 !(a->current && consensus_is_fresh(a->current->consensus, now_s)))
		agree_ask(a);
}

void agree_tick(struct authority *a)
{
	uint64_t now_ms = authority_now_ms();
	while (a->in_round && now_ms >= round_next_ms(&a->round))
		advance(a);
	if (now_ms / 1000 == a->second)
		return;
	a->second = now_ms / 1000;
	on_second(a, a->second);
}

uint64_t agree_next_ms(const struct authority *a)
{
	uint64_t next = (a->second + 1) * 1000;
	return a->in_round && round_next_ms(&a->round) < next ? round_next_ms(&a->round) : next;
}

/* ---- from the others ---- */

static int status_of(enum dir_result result, const char **ret_text)
{
	*ret_text = dir_result_text(result);
	switch (result) {
	case DIR_OK:
	case DIR_SAME:
		*ret_text = "taken";
		return 200;
	case DIR_FORGED:
	case DIR_UNKNOWN_KEY:
		return 403;
	case DIR_NO_MEMORY:
		return 503;
	case DIR_STALE:
		*ret_text = "no round is open for this serial";
		return 409;
	case DIR_CONFLICT:
		*ret_text = "this authority said something else before";
		return 409;
	default:
		return 400;
	}
}

/* May another's vote for this serial begin a round here? */
static bool may_join(const struct authority *a, uint64_t serial)
{
	uint64_t now_ms = authority_now_ms();
	if (a->in_round || !is_new_serial(a, serial) || serial > now_ms / 1000 + 1 ||
	    now_ms > serial * 1000 + duration_ms(a, serial) / 2)
		return false;
	return is_regular(a, serial) || may_begin_early(a, serial);
}

static enum dir_result on_vote(struct authority *a, const uint8_t *p, size_t n)
{
	struct vote *v;
	enum dir_result result = vote_parse(&a->net, p, n, &v);
	if (result != DIR_OK)
		return result;
	uint64_t serial = v->serial;
	vote_free(v);
	if (may_join(a, serial)) {
		if (is_regular(a, serial))
			a->slot = serial / authority_interval(a);
		begin(a, serial);
	}
	return a->in_round ? round_take_vote(&a->round, p, n) : DIR_STALE;
}

int agree_on_votes(struct authority *a, const uint8_t *p, size_t n, const char **ret_text)
{
	struct reader r;
	reader_init(&r, p, n);
	enum dir_result result = DIR_CUT;
	for (unsigned i = 0; r.left && i < a->net.n; i++) {
		size_t len = reader_u32(&r);
		const uint8_t *vote_bytes = reader_take(&r, len);
		if (!vote_bytes)
			return status_of(DIR_CUT, ret_text);
		result = on_vote(a, vote_bytes, len);
		if (result == DIR_CONFLICT)
			log_warn("an authority voted twice, differently; its vote does not count");
		else if (result != DIR_OK && result != DIR_SAME)
			return status_of(result, ret_text);
	}
	return status_of(r.left ? DIR_MALFORMED : result, ret_text);
}

int agree_on_signature(struct authority *a, const uint8_t *p, size_t n, const char **ret_text)
{
	struct vote_signature s;
	enum dir_result result = vote_signature_parse(&a->net, p, n, &s);
	if (result == DIR_OK)
		result = a->round.serial ? round_take_signature(&a->round, &s) : DIR_STALE;
	if (result == DIR_CONFLICT)
		log_warn("authority %u signed another body of serial %llu", s.authority,
			 (unsigned long long)s.serial);
	if (result == DIR_OK && (a->round.phase == ROUND_SIGN || a->round.phase == ROUND_DONE))
		publish(a);
	return status_of(result, ret_text);
}
