/* authority/serve.c - what is answered over HTTP, and the tests of relays that posts set off. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "authority/authority.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/zbase32.h"

#define POSTS_PER_SOURCE       128 /* in POST_WINDOW_SECONDS, of one IPv4 /32 or IPv6 /56 */
#define POST_WINDOW_SECONDS    10
#define POST_SOURCES	       4096
#define CONNECTIONS_PER_SOURCE 16
#define PROBE_RETRY_SECONDS    2 /* of one that is new, or answered a moment ago */
#define PROBE_NEW_SECONDS      60
#define TYPE_BYTES	       "application/octet-stream"

/* ---- tests ---- */

static uint64_t probe_period(const struct authority *a)
{
	uint64_t period = authority_interval(a) / 2;
	return period < 1 ? 1 : period > PROBE_PERIOD_MAX_S ? PROBE_PERIOD_MAX_S : period;
}

int probe_relay(struct authority *a, struct known_relay *r, uint64_t now_s)
{
	const struct onion_key *key = descriptor_onion_key(&r->d, now_s);
	uint8_t id[32];
	struct addr at[2] = {r->d.v4, r->d.v6};
	r->probe_at = now_s + probe_period(a);
	if (!key)
		return 0;
	struct onion_key copy = *key;
	memcpy(id, r->id, 32);
	r->probing = true;
	r->reach4 = at[0].family ? REACH_UNKNOWN : REACH_NONE;
	r->reach6 = at[1].family ? REACH_UNKNOWN : REACH_NONE;
	for (unsigned i = 0; i < 2; i++) {
		if (!at[i].family)
			continue;
		if (prober_start(a->prober, id, &copy, &at[i], !r->answered)) {
			if (i)
				r->reach6 =
					REACH_DEAD; /* so that the end of the other one ends it */
			r->probing = i > 0 && r->reach4 == REACH_UNKNOWN;
			r->probe_at = now_s + 1;
			return -EBUSY;
		}
	}
	return 0;
}

void serve_on_probe(void *arg, const uint8_t id[32], const struct addr *at, enum reach result,
		    uint8_t status)
{
	struct authority *a = arg;
	struct known_relay *r = relays_find(&a->relays, id);
	uint64_t now_s = clock_unix_seconds();
	char name[NAME_BYTES];
	if (!r)
		return;
	if (!addr_equal(at, at->family == 4 ? &r->d.v4 : &r->d.v6)) { /* it moved meanwhile */
		r->probing = false;
		r->probe_at = now_s;
		return;
	}
	bool was = relay_is_running(r, now_s, authority_within(a));
	relay_on_probe(r, at->family, result, now_s);
	r->probing = r->reach4 == REACH_UNKNOWN || r->reach6 == REACH_UNKNOWN;
	if (r->probing)
		return;
	if (r->answered != now_s &&
	    (r->heard + PROBE_NEW_SECONDS > now_s || r->answered + PROBE_NEW_SECONDS > now_s))
		r->probe_at = now_s + PROBE_RETRY_SECONDS;
	name_from_id(id, name);
	if (!was && relay_is_running(r, now_s, authority_within(a)))
		log_info("%s answers", name);
	else if (status)
		log_warn("%s refuses a link with status %u: its clock, its network id or its "
			 "version differs from ours",
			 name, status);
}

/* ---- posts ---- */

/* Posts of each source in this window; a full table refuses newcomers until the next one. */
static struct {
	uint64_t window;
	unsigned used;
	struct {
		uint8_t ip[17]; /* family, address cut to its prefix */
		unsigned posts;
	} source[POST_SOURCES];
} rate;

static bool may_post(const struct addr *from, uint64_t now_s)
{
	uint8_t key[17] = {from->family};
	memcpy(key + 1, from->ip, from->family == 4 ? 4 : 7);
	if (rate.window != now_s / POST_WINDOW_SECONDS) {
		rate.window = now_s / POST_WINDOW_SECONDS;
		rate.used = 0;
	}
	unsigned i = 0;
	while (i < rate.used && memcmp(rate.source[i].ip, key, sizeof(key)))
		i++;
	if (i == POST_SOURCES)
		return false;
	if (i == rate.used) {
		memcpy(rate.source[i].ip, key, sizeof(key));
		rate.source[i].posts = 0;
		rate.used++;
	}
	return rate.source[i].posts++ < POSTS_PER_SOURCE;
}

static bool is_authority(const struct authority *a, const struct addr *from)
{
	for (unsigned i = 0; i < a->net.n; i++)
		if (addr_equal_ip(&a->net.authority[i].addr, from))
			return true;
	return false;
}

/* Who fills the table must not keep the authorities from voting. */
static bool refuse_flood(const struct authority *a, struct http_request *q)
{
	struct addr from = http_request_from(q);
	if (is_authority(a, &from) || may_post(&from, clock_unix_seconds()))
		return false;
	http_reply_text(q, 429, "too many posts from your network: wait ten seconds");
	return true;
}

static bool is_revoked(const struct authority *a, const uint8_t id[32])
{
	for (unsigned i = 0; i < a->config.nrevoked; i++)
		if (!memcmp(a->config.revoked[i], id, 32))
			return true;
	return false;
}

static void answer_take(struct http_request *q, enum take result)
{
	static const struct {
		int status;
		const char *text;
	} answers[] = {
		[TAKE_NEW] = {200, "taken"},
		[TAKE_SAME] = {200, "known"},
		[TAKE_OLDER] =
			{409, "a newer descriptor of this relay is known: set its clock, or wait"},
		[TAKE_BAD] = {400, "this is no descriptor, or it breaks a limit"},
		[TAKE_FORGED] = {403, "the descriptor's signature does not verify"},
		[TAKE_EXPIRED] =
			{400,
			 "the descriptor is expired or from the future: set the relay's clock"},
		[TAKE_FULL] = {503,
			       "this authority knows as many relays as it may: raise max-relays"},
		[TAKE_NO_MEMORY] = {503, "there is no memory"},
	};
	http_reply_text(q, answers[result].status, answers[result].text);
}

static void on_descriptor(void *arg, struct http_request *q)
{
	struct authority *a = arg;
	size_t n;
	const uint8_t *p = http_request_body(q, &n);
	struct descriptor d;
	struct known_relay *r = NULL;
	uint64_t now_s = clock_unix_seconds();
	if (refuse_flood(arg, q))
		return;
	if (n > DESCRIPTOR_MAX_BYTES || descriptor_parse_known(p, n, &d)) {
		answer_take(q, TAKE_BAD);
		return;
	}
	if (is_revoked(a, d.id)) {
		http_reply_text(q, 403, "this relay is revoked: ask this authority's operator");
		return;
	}
	answer_take(q, relays_take(&a->relays, p, n, now_s, &r));
	if (r && !r->probing && now_s >= r->probe_at)
		(void)probe_relay(a, r,
				  now_s); /* when too many are under test: at the next second */
}

static void on_vote(void *arg, struct http_request *q)
{
	size_t n;
	const char *text;
	const uint8_t *p = http_request_body(q, &n);
	if (refuse_flood(arg, q))
		return;
	int status = agree_on_votes(arg, p, n, &text);
	http_reply_text(q, status, text);
	authority_rearm(arg);
}

static void on_signature(void *arg, struct http_request *q)
{
	size_t n;
	const char *text;
	const uint8_t *p = http_request_body(q, &n);
	if (refuse_flood(arg, q))
		return;
	int status = agree_on_signature(arg, p, n, &text);
	http_reply_text(q, status, text);
}

/* ---- gets ---- */

static void answer_body(struct http_request *q, struct http_body *body)
{
	if (body)
		http_reply_shared(q, 200, TYPE_BYTES, body);
	else
		http_reply_text(q, 503, "there is no consensus yet: try again in a second");
}

static void on_get_consensus(void *arg, struct http_request *q)
{
	answer_body(q, ((struct authority *)arg)->consensus_body);
}

static void on_get_descriptors(void *arg, struct http_request *q)
{
	answer_body(q, ((struct authority *)arg)->descriptors_body);
}

/* Room for a vote of each authority, with as many relays as are kept here. */
static size_t body_most(const struct authority *a)
{
	size_t one = VOTE_MAX_BYTES - (size_t)CONSENSUS_RELAYS_MAX * CONSENSUS_RELAY_BYTES +
		     (size_t)a->config.max_relays * CONSENSUS_RELAY_BYTES;
	return a->net.n * (4 + one);
}

int serve_open(struct authority *a, char *err)
{
	static const struct {
		enum http_method method;
		const char *path;
		http_handle_fn *fn;
	} routes[] = {
		{HTTP_GET, "/sispop/1/consensus", on_get_consensus},
		{HTTP_GET, "/sispop/1/descriptors", on_get_descriptors},
		{HTTP_POST, "/sispop/1/descriptor", on_descriptor},
		{HTTP_POST, "/sispop/1/vote", on_vote},
		{HTTP_POST, "/sispop/1/signature", on_signature},
	};
	char text[ADDR_TEXT_BYTES];
	for (unsigned i = 0; i < a->net.n; i++)
		a->friends[i] = a->net.authority[i].addr;
	const struct http_server_config c = {.bind = a->config.listen,
					     .friends = a->friends,
					     .nfriends = a->net.n,
					     .body_bytes_max = body_most(a),
					     .per_source_max = CONNECTIONS_PER_SOURCE};
	int e = http_server_open(a->base, &c, &a->server);
	for (size_t i = 0; !e && i < sizeof(routes) / sizeof(routes[0]); i++)
		e = http_server_add(a->server, routes[i].method, routes[i].path, routes[i].fn, a);
	if (e)
		snprintf(err, CONFIG_ERROR_BYTES,
			 "%s cannot be served: %s; change `listen`, or end who has that port",
			 addr_text(&a->config.listen, text), strerror(-e));
	return e;
}
