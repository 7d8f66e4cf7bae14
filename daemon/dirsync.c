/* daemon/dirsync.c - see dirsync.h.
 *
 * A refresh asks one authority after the other, in random order, for the consensus and then for the
 * descriptors; while there is no valid directory two are asked at once, so that one dead or hostile
 * source costs no time. What arrives is judged by directory/consensus.h alone: the carrier does not
 * matter.
 */
#include "daemon/dirsync.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "crypto/keyfile.h"
#include "daemon/deadline.h"
#include "daemon/dircache.h"
#include "net/http.h"

#define SOURCES_AT_ONCE 2

struct source {
	struct dirsync *sync;
	unsigned authority;	     /* index into net->authority */
	struct http_fetch *fetch;    /* NULL: nothing under way */
	struct consensus *consensus; /* accepted, waits for its descriptors */
};

struct dirsync {
	struct dirsync_config config;
	struct http_client *http;
	struct deadline *deadline;
	struct directory *current, *previous;
	nsec_t fetched; /* when current came (monotonic), for a clock that is wrong */
	nsec_t previous_until;
	struct source source[SOURCES_AT_ONCE];
	uint8_t order[NETCONF_AUTHORITIES_MAX]; /* of this round */
	unsigned next;				/* first of order not yet asked in this round */
	nsec_t next_fetch;
	nsec_t retry;
	bool in_tunnel; /* a fetch of this round goes through the tunnel */
	unsigned tunnel_failures;
	enum dir_result result;
	char error[DIRSYNC_ERROR_BYTES];
};

static void ask_next(struct source *s, nsec_t now);
static void arm(struct dirsync *s, nsec_t now);

/* --- what serves --- */

uint64_t dirsync_unix_seconds(struct dirsync *s, nsec_t now)
{
	uint64_t wall = clock_unix_seconds();

	if (!s->current)
		return wall;
	return consensus_clock(s->current->consensus, wall, now - s->fetched);
}

const struct directory *dirsync_current(struct dirsync *s, nsec_t now)
{
	/* A clock behind the consensus is not believed; one past its end is, as a cache may be old.
	 */
	if (!s->current || clock_unix_seconds() >= s->current->consensus->valid_until ||
	    !consensus_is_valid(s->current->consensus, dirsync_unix_seconds(s, now)))
		return NULL;
	return s->current;
}

const struct directory *dirsync_previous(struct dirsync *s, nsec_t now)
{
	return s->previous && now < s->previous_until ? s->previous : NULL;
}

static nsec_t seconds_until(uint64_t at, uint64_t now)
{
	return at > now ? (nsec_t)(at - now) * NSEC_PER_SEC : 0;
}

static nsec_t first_retry(const struct dirsync *s)
{
	unsigned ms = s->config.retry_least_ms;

	return (ms ? ms : DIRSYNC_RETRY_LEAST_MS) * NSEC_PER_MSEC;
}

/* Again before long, each time later. */
static void plan_retry(struct dirsync *s, nsec_t now)
{
	s->next_fetch =
		now + s->retry + (nsec_t)rng_below(s->config.rng, (uint64_t)s->retry / 4 + 1);
	s->retry = nsec_min(2 * s->retry, DIRSYNC_RETRY_MOST_MS * NSEC_PER_MSEC);
}

static void plan_next(struct dirsync *s, nsec_t now)
{
	const struct consensus *c = s->current->consensus;
	uint64_t t = dirsync_unix_seconds(s, now);
	uint64_t at = s->config.relay ? c->fresh_until : consensus_next_fetch(c, t, s->config.rng);

	if (s->current->missing) { /* another source may have those descriptors */
		plan_retry(s, now);
		return;
	}
	/* A relay comes up to a second late, so that not all of them ask in one moment. */
	s->next_fetch = now + seconds_until(at, t) + (nsec_t)rng_below(s->config.rng, NSEC_PER_SEC);
	s->retry = first_retry(s);
}

static void replace(struct dirsync *s, struct directory *d, nsec_t now)
{
	directory_free(s->previous);
	s->previous = s->current;
	s->previous_until = now + (nsec_t)d->params.v[PARAM_CONSENSUS_PREVIOUS] * NSEC_PER_SEC;
	s->current = d;
}

static bool is_same(const struct dirsync *s, const struct consensus *c)
{
	return s->current && s->current->consensus->serial == c->serial;
}

static void serve(struct dirsync *s, struct directory *d, nsec_t now)
{
	struct directory *old = s->current;

	if (is_same(s, d->consensus)) { /* with more descriptors */
		s->current = d;
		directory_free(old);
	} else {
		replace(s, d, now);
	}
	s->fetched = now;
	s->result = DIR_OK;
	s->error[0] = 0;
	plan_next(s, now);
	s->config.ops.on_directory(s->config.ops.arg, d, now);
}

static void note_failure(struct dirsync *s, enum dir_result why, const char *source,
			 const char *sentence)
{
	s->result = why;
	snprintf(s->error, sizeof(s->error), "%s: %s", source, sentence);
}

/* Our clock may be behind: k signatures prove that it is, and then we live by the consensus's
 * (section 5). */
static enum dir_result judge(struct dirsync *s, const uint8_t *p, size_t n, struct consensus **ret)
{
	const struct consensus *have = s->current ? s->current->consensus : NULL;
	enum dir_result r = consensus_accept(s->config.net, have, clock_unix_seconds(), p, n, ret);

	if (r != DIR_FUTURE)
		return r;
	log_warn("%s; going by the directory's time", dir_result_text(r));
	return consensus_accept(s->config.net, have, CONSENSUS_NO_CLOCK, p, n, ret);
}

/* What of the traffic goes by relays whose descriptors are missing, in percent. Whoever carries the
 * documents could else choose our relays for us by keeping the others' back. */
static unsigned missing_percent(const struct directory *d)
{
	const struct consensus *c = d->consensus;
	uint64_t all = 0, missing = 0;

	for (unsigned i = 0; i < c->nrelays; i++) {
		uint64_t weight = (uint64_t)c->relay[i].weight + 1;
		all += weight;
		missing += directory_find(d, c->relay[i].id) ? 0 : weight;
	}
	return all ? (unsigned)(missing * 100 / all) : 0;
}

static void write_cache(struct dirsync *s, const struct directory *d)
{
	char err[KEYFILE_ERROR_BYTES];

	if (dircache_write(s->config.state, d, err))
		log_warn("the directory is not cached on disk: %s", err);
}

static void read_cache(struct dirsync *s, nsec_t now)
{
	struct directory *d = NULL;
	bool any = false;
	enum dir_result r = dircache_read(s->config.state, s->config.net, &d, &any);

	if (r == DIR_OK && missing_percent(d) > DIRSYNC_MISSING_MOST_PCT) {
		directory_free(d);
		r = DIR_CUT;
	}
	if (r != DIR_OK) {
		if (any)
			log_warn("the cached directory is not used: %s", dir_result_text(r));
		return;
	}
	serve(s, d, now);
	if (!dirsync_current(s, now))
		note_failure(s, DIR_STALE, "the cache", dir_result_text(DIR_STALE));
}

/* --- fetching --- */

static const char *authority_name(const struct source *s, char buf[ADDR_TEXT_BYTES])
{
	return addr_text(&s->sync->config.net->authority[s->authority].addr, buf);
}

static bool is_busy(const struct dirsync *s)
{
	for (unsigned i = 0; i < SOURCES_AT_ONCE; i++)
		if (s->source[i].fetch)
			return true;
	return false;
}

/* This source is of no use in this round: the next one, or the round is over. */
static void give_up(struct source *s, nsec_t now)
{
	struct dirsync *d = s->sync;

	consensus_free(s->consensus);
	s->consensus = NULL;
	ask_next(s, now);
	if (is_busy(d))
		return;
	d->tunnel_failures += d->in_tunnel;
	plan_retry(d, now);
	d->config.ops.on_failure(d->config.ops.arg, now);
	arm(d, now);
}

/* One source answered: what the others still do is not needed. */
static void round_won(struct dirsync *d)
{
	for (unsigned i = 0; i < SOURCES_AT_ONCE; i++) {
		if (d->source[i].fetch)
			http_fetch_cancel(d->source[i].fetch);
		d->source[i].fetch = NULL;
		consensus_free(d->source[i].consensus);
		d->source[i].consensus = NULL;
	}
	d->tunnel_failures = 0;
}

static int start_fetch(struct source *s, const char *what, size_t most, http_done_fn *done)
{
	struct dirsync *d = s->sync;
	char url[160], host[ADDR_TEXT_BYTES];
	const struct addr *to = &d->config.net->authority[s->authority].addr;
	const char *device =
		d->config.ops.tunnel ? d->config.ops.tunnel(d->config.ops.arg, to) : NULL;

	if (d->tunnel_failures >= DIRSYNC_DIRECT_AFTER)
		device = NULL;
	d->in_tunnel = d->in_tunnel || device;
	snprintf(url, sizeof(url), "http://%s/sispop/1/%s", authority_name(s, host), what);
	return http_fetch_start(d->http,
				&(struct http_fetch_options){
					.url = url,
					.body_bytes_max = most,
					.timeout_ms = DIRSYNC_TIMEOUT_S * 1000,
					.connect_timeout_ms = DIRSYNC_TIMEOUT_S * 500,
					.mark = device ? 0 : d->config.mark,
					.device = device,
				},
				done, s, &s->fetch);
}

/* Nothing newer there; another source may have it, the next round will tell. */
static enum dir_result same_again(struct dirsync *d, nsec_t now)
{
	round_won(d);
	plan_retry(d, now);
	arm(d, now);
	if (d->config.ops.on_unchanged)
		d->config.ops.on_unchanged(d->config.ops.arg, now);
	return DIR_SAME;
}

/* A directory whose descriptors are good: does it serve? */
static void take(struct source *s, struct directory *made, nsec_t now)
{
	struct dirsync *d = s->sync;
	char host[ADDR_TEXT_BYTES];

	if (missing_percent(made) > DIRSYNC_MISSING_MOST_PCT) {
		directory_free(made);
		note_failure(
			d, DIR_CUT, authority_name(s, host),
			"it keeps back descriptors of relays: its carrier is broken or hostile");
		log_warn("a directory is refused: %s", d->error);
		give_up(s, now);
		return;
	}
	round_won(d);
	if (is_same(d, made->consensus) && made->missing >= d->current->missing) {
		directory_free(made); /* nobody had the missing ones yet */
		same_again(d, now);
		return;
	} else {
		write_cache(d, made);
		serve(d, made, now);
	}
	arm(d, now);
}

static void on_descriptors(void *arg, int status, const uint8_t *body, size_t n,
			   const char *failure)
{
	struct source *s = arg;
	struct dirsync *d = s->sync;
	struct directory *made = NULL;
	nsec_t now = clock_now();
	char host[ADDR_TEXT_BYTES];
	enum dir_result r;

	s->fetch = NULL;
	if (status != 200) {
		note_failure(d, DIR_CUT, authority_name(s, host),
			     failure ? failure : "it has no descriptors for us");
		give_up(s, now);
		return;
	}
	r = directory_new(s->consensus, &d->config.net->params, body, n, d->current, &made);
	if (r != DIR_OK) {
		note_failure(d, r, authority_name(s, host), dir_result_text(r));
		give_up(s, now);
		return;
	}
	s->consensus = NULL; /* the directory's now */
	take(s, made, now);
}

static void on_consensus(void *arg, int status, const uint8_t *body, size_t n, const char *failure)
{
	struct source *s = arg;
	struct dirsync *d = s->sync;
	nsec_t now = clock_now();
	char host[ADDR_TEXT_BYTES];
	enum dir_result r;

	s->fetch = NULL;
	if (status != 200) {
		note_failure(d, DIR_CUT, authority_name(s, host),
			     failure ? failure : "it has no consensus yet");
		give_up(s, now);
		return;
	}
	r = judge(d, body, n, &s->consensus);
	if (r == DIR_SAME && dirsync_current(d, now)) {
		if (d->current->missing)
			r = consensus_accept(d->config.net, NULL, CONSENSUS_NO_CLOCK, body, n,
					     &s->consensus); /* for its descriptors */
		else
			r = same_again(d, now);
		if (r == DIR_SAME)
			return;
	}
	if (r == DIR_SAME) /* and it is past its time */
		r = DIR_STALE;
	if (r != DIR_OK) {
		note_failure(d, r, authority_name(s, host), dir_result_text(r));
		log_warn("a consensus is refused: %s", d->error);
		give_up(s, now);
		return;
	}
	if (start_fetch(s, "descriptors", directory_descriptors_max(s->consensus),
			on_descriptors)) {
		note_failure(d, DIR_NO_MEMORY, authority_name(s, host),
			     "the fetch could not be started");
		give_up(s, now);
	}
}

static void ask_next(struct source *s, nsec_t now)
{
	struct dirsync *d = s->sync;

	(void)now;
	while (d->next < d->config.net->n) {
		s->authority = d->order[d->next++];
		if (!start_fetch(s, "consensus", CONSENSUS_MAX_BYTES, on_consensus))
			return;
	}
}

static void shuffle(struct dirsync *s)
{
	for (unsigned i = 0; i < s->config.net->n; i++) {
		unsigned j = (unsigned)rng_below(s->config.rng, i + 1);
		s->order[i] = s->order[j];
		s->order[j] = (uint8_t)i;
	}
}

void dirsync_refresh(struct dirsync *s, nsec_t now)
{
	unsigned sources = dirsync_current(s, now) ? 1 : SOURCES_AT_ONCE;

	if (is_busy(s))
		return;
	s->next_fetch = NSEC_NEVER;
	s->next = 0;
	s->in_tunnel = false;
	shuffle(s);
	for (unsigned i = 0; i < sources; i++)
		ask_next(&s->source[i], now);
	if (!is_busy(s)) {
		note_failure(s, DIR_NO_MEMORY, "the directory", "no fetch could be started");
		plan_retry(s, now);
	}
	arm(s, now);
}

static void on_deadline(void *arg)
{
	struct dirsync *s = arg;
	nsec_t now = clock_now();

	if (s->previous && now >= s->previous_until) {
		directory_free(s->previous);
		s->previous = NULL;
	}
	if (now >= s->next_fetch)
		dirsync_refresh(s, now);
	arm(s, now);
}

static void arm(struct dirsync *s, nsec_t now)
{
	deadline_set(s->deadline,
		     nsec_min(s->next_fetch, s->previous ? s->previous_until : NSEC_NEVER), now);
}

/* --- life --- */

struct dirsync *dirsync_new(const struct dirsync_config *c, nsec_t now)
{
	struct dirsync *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->config = *c;
	s->retry = first_retry(s);
	s->next_fetch = now;
	s->result = DIR_CUT;
	snprintf(s->error, sizeof(s->error), "no directory was fetched yet");
	for (unsigned i = 0; i < SOURCES_AT_ONCE; i++)
		s->source[i].sync = s;
	s->http = http_client_new(c->base);
	s->deadline = deadline_new(c->base, on_deadline, s);
	if (!s->http || !s->deadline) {
		dirsync_free(s);
		return NULL;
	}
	return s;
}

void dirsync_start(struct dirsync *s, nsec_t now)
{
	read_cache(s, now);
	if (s->current && !dirsync_current(s, now))
		s->next_fetch = now;
	arm(s, now);
}

void dirsync_free(struct dirsync *s)
{
	if (!s)
		return;
	round_won(s);
	http_client_free(s->http);
	deadline_free(s->deadline);
	directory_free(s->previous);
	directory_free(s->current);
	free(s);
}

const char *dirsync_error(const struct dirsync *s)
{
	return s->error[0] ? s->error : "the directory is valid";
}

enum dir_result dirsync_result(const struct dirsync *s)
{
	return s->result;
}

const uint8_t *dirsync_consensus_bytes(struct dirsync *s, size_t *ret_n)
{
	*ret_n = s->current ? s->current->consensus->nbytes : 0;
	return s->current ? s->current->consensus->bytes : NULL;
}

const uint8_t *dirsync_descriptor_bytes(struct dirsync *s, size_t *ret_n)
{
	*ret_n = s->current ? s->current->nblob : 0;
	return s->current ? s->current->blob : NULL;
}
