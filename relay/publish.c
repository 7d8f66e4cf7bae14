/* relay/publish.c - the relay's descriptor: made, signed, sent to every authority; and the
 * directory mirror.
 *
 * PROTOCOL.md section 8. A descriptor is sent anew each period, after a change, and every few
 * seconds to an authority that has not taken it yet.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "net/http.h"
#include "relay/relay.h"
#include "relay/relay_internal.h"

#define PUBLISH_TIMEOUT_MS   5000
#define PUBLISH_RETRY_LEAST  (500 * NSEC_PER_MSEC)
#define PUBLISH_RETRY_MOST   (60 * NSEC_PER_SEC)
#define PUBLISH_ANSWER_BYTES 1024

struct target {
	struct publish *publish;
	struct http_fetch *fetch;
	bool taken;  /* the current descriptor */
	nsec_t next; /* try */
	nsec_t wait; /* doubles */
};

struct publish {
	struct relayd *relay;
	struct http_client *http;
	struct http_server *mirror4, *mirror6;
	struct http_body *consensus, *descriptors; /* as mirrored; NULL: nobody asked yet */
	uint8_t bytes[DESCRIPTOR_MAX_BYTES];
	size_t n;
	uint64_t published; /* seconds since 1970 */
	nsec_t retry;	    /* after a descriptor that could not be made */
	struct target target[NETCONF_AUTHORITIES_MAX];
};

static int hex_digit(char c)
{
	return c <= '9' ? c - '0' : c - 'a' + 10;
}

static void family_from_hex(const char *hex, uint8_t out[32])
{
	for (unsigned i = 0; *hex && i < 32; i++)
		out[i] = (uint8_t)(hex_digit(hex[2 * i]) << 4 | hex_digit(hex[2 * i + 1]));
}

static int make(struct publish *p)
{
	struct relayd *r = p->relay;
	const struct relay_config *c = &r->config;
	struct descriptor *d = calloc(1, sizeof(*d));
	uint64_t now = clock_unix_seconds();
	int e;

	if (!d)
		return -ENOMEM;
	/* `published` grows with each one, so that authorities know the newer. */
	d->published = now > p->published ? now : p->published + 1;
	d->valid_until = d->published + r->net.params.v[PARAM_DESCRIPTOR_VALID];
	d->nkeys = (uint8_t)r->keys.n;
	for (unsigned i = 0; i < r->keys.n; i++)
		d->key[i] = r->keys.onion[i].about;
	d->flags = r->exit ? RELAY_FLAG_EXIT : RELAY_FLAG_GUARD;
	d->v4 = c->address4;
	d->v6 = c->address6;
	d->dir_port = c->dir_port;
	d->max_dgram = DATAGRAM_FULL_MOST;
	d->mbit = c->bandwidth_mbit;
	family_from_hex(c->family, d->family);
	if (r->exit)
		d->policy = *exit_policy(r->exit);
	memcpy(d->nickname, c->nickname, sizeof(d->nickname));
	memcpy(d->contact, c->contact, sizeof(d->contact));
	e = descriptor_write(d, &r->keys.identity, p->bytes, sizeof(p->bytes), &p->n);
	if (!e)
		p->published = d->published;
	free(d);
	return e;
}

static void on_answer(void *arg, int status, const uint8_t *body, size_t n, const char *failure)
{
	struct target *t = arg;
	nsec_t now = clock_now();

	t->fetch = NULL;
	if (status >= 200 && status < 300) {
		t->taken = true;
		t->wait = PUBLISH_RETRY_LEAST;
		return;
	}
	if (status)
		log_warn("an authority refused our descriptor: %.*s", (int)(n > 200 ? 200 : n),
			 (const char *)body);
	else
		log_info("an authority could not be reached: %s", failure);
	t->next = now + t->wait;
	t->wait = nsec_min(2 * t->wait, PUBLISH_RETRY_MOST);
}

static void post(struct publish *p, unsigned i, nsec_t now)
{
	struct target *t = &p->target[i];
	char url[128], host[ADDR_TEXT_BYTES];

	snprintf(url, sizeof(url), "http://%s/sispop/1/descriptor",
		 addr_text(&p->relay->net.authority[i].addr, host));
	if (http_fetch_start(p->http,
			     &(struct http_fetch_options){
				     .url = url,
				     .post = p->bytes,
				     .post_bytes = p->n,
				     .body_bytes_max = PUBLISH_ANSWER_BYTES,
				     .timeout_ms = PUBLISH_TIMEOUT_MS,
			     },
			     on_answer, t, &t->fetch))
		t->next = now + t->wait;
}

void publish_tick(struct publish *p, nsec_t now)
{
	if (now < p->retry)
		return;
	if (p->published + p->relay->net.params.v[PARAM_DESCRIPTOR_PERIOD] <=
	    clock_unix_seconds()) {
		publish_now(p, now);
		return;
	}
	for (unsigned i = 0; i < p->relay->net.n; i++)
		if (!p->target[i].taken && !p->target[i].fetch && now >= p->target[i].next)
			post(p, i, now);
}

void publish_now(struct publish *p, nsec_t now)
{
	int e = make(p);

	if (e) {
		p->retry = now + PUBLISH_RETRY_MOST;
		log_error(
			"our descriptor could not be made (%s): shorten the exit policy, nickname or contact",
			strerror(-e));
		return;
	}
	p->retry = 0;
	for (unsigned i = 0; i < p->relay->net.n; i++) {
		struct target *t = &p->target[i];

		if (t->fetch)
			http_fetch_cancel(t->fetch);
		t->fetch = NULL;
		t->taken = false;
		t->wait = PUBLISH_RETRY_LEAST;
		t->next = now;
		post(p, i, now);
	}
}

/* --- the mirror --- */

/* One copy of each document, however many fetch it. */
static void reply(struct http_request *q, struct http_body **kept, const uint8_t *bytes, size_t n)
{
	if (!*kept && bytes)
		*kept = http_body_new(bytes, n);
	if (*kept)
		http_reply_shared(q, 200, "application/octet-stream", *kept);
	else
		http_reply_text(q, 503, "this relay has no directory yet");
}

static void serve_consensus(void *arg, struct http_request *q)
{
	struct publish *p = arg;
	size_t n;
	const uint8_t *bytes = dirsync_consensus_bytes(p->relay->dirsync, &n);

	reply(q, &p->consensus, bytes, n);
}

static void serve_descriptors(void *arg, struct http_request *q)
{
	struct publish *p = arg;
	size_t n;
	const uint8_t *bytes = dirsync_descriptor_bytes(p->relay->dirsync, &n);

	reply(q, &p->descriptors, bytes, n);
}

void publish_directory_changed(struct publish *p)
{
	http_body_unref(p->consensus);
	http_body_unref(p->descriptors);
	p->consensus = p->descriptors = NULL;
}

static int open_mirror(struct publish *p, struct addr at, struct http_server **ret, char *err)
{
	struct http_server_config c = {.bind = at, .per_source_max = 8};
	char text[ADDR_TEXT_BYTES];
	int e;

	c.bind.port = p->relay->config.dir_port;
	if (!at.family || !c.bind.port)
		return 0;
	e = http_server_open(p->relay->base, &c, ret);
	if (!e)
		e = http_server_add(*ret, HTTP_GET, "/sispop/1/consensus", serve_consensus, p);
	if (!e)
		e = http_server_add(*ret, HTTP_GET, "/sispop/1/descriptors", serve_descriptors, p);
	if (e)
		snprintf(err, RELAY_ERROR_BYTES,
			 "the directory mirror at %s could not be opened: %s; change dir-port",
			 addr_text(&c.bind, text), strerror(-e));
	return e;
}

int publish_open(struct relayd *r, struct publish **ret, char *err)
{
	struct publish *p = calloc(1, sizeof(*p));
	int e = -ENOMEM;

	if (p) {
		p->relay = r;
		for (unsigned i = 0; i < NETCONF_AUTHORITIES_MAX; i++)
			p->target[i].publish = p;
		p->http = http_client_new(r->base);
	}
	if (p && p->http) {
		e = open_mirror(p, r->config.address4, &p->mirror4, err);
		if (!e)
			e = open_mirror(p, r->config.address6, &p->mirror6, err);
	} else {
		snprintf(err, RELAY_ERROR_BYTES, "no memory for publishing");
	}
	if (e) {
		publish_close(p);
		return e;
	}
	*ret = p;
	return 0;
}

void publish_close(struct publish *p)
{
	if (!p)
		return;
	if (p->mirror4)
		http_server_close(p->mirror4);
	if (p->mirror6)
		http_server_close(p->mirror6);
	http_client_free(p->http);
	publish_directory_changed(p);
	free(p);
}
