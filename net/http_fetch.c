/* net/http_fetch.c - libcurl's multi interface on the libevent loop. See http.h. Control thread.
 *
 * curl tells us which sockets to watch and when to wake it; we tell it what happened and then
 * collect the transfers that ended. Callbacks to the caller run only from there, never from within
 * curl.
 */
#include <curl/curl.h>
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <arpa/inet.h>
#include "net/http.h"

#define SENTENCE_BYTES 256

struct http_client {
	struct event_base *base;
	CURLM *multi;
	struct event *timer;
	LIST_HEAD(, http_fetch) fetches;
	size_t count;
};

struct http_fetch {
	LIST_ENTRY(http_fetch) entry;
	struct http_client *client;
	CURL *easy;
	struct curl_slist *headers;
	http_done_fn *fn;
	void *arg;
	uint32_t mark;
	char *device;
	uint8_t *body;
	size_t n;
	size_t size;
	size_t max;
	size_t head_bytes;
	unsigned timeout_ms;
	const char *refusal; /* why we ourselves broke the transfer off */
};

static void fetch_free(struct http_fetch *f)
{
	LIST_REMOVE(f, entry);
	f->client->count--;
	if (f->easy) {
		curl_multi_remove_handle(f->client->multi, f->easy);
		curl_easy_cleanup(f->easy);
	}
	curl_slist_free_all(f->headers);
	free(f->device);
	free(f->body);
	free(f);
}

static size_t on_body(char *bytes, size_t one, size_t n, void *arg)
{
	(void)one; /* always 1 */
	struct http_fetch *f = arg;
	if (n > f->max - f->n) {
		f->refusal = "the answer is larger than allowed";
		return 0;
	}
	if (n > f->size - f->n) {
		size_t size = (f->n + n) * 2 < f->max ? (f->n + n) * 2 : f->max;
		uint8_t *body = realloc(f->body, size);
		if (!body) {
			f->refusal = "out of memory";
			return 0;
		}
		f->body = body;
		f->size = size;
	}
	memcpy(f->body + f->n, bytes, n);
	f->n += n;
	return n;
}

static size_t on_head(char *bytes, size_t one, size_t n, void *arg)
{
	(void)bytes;
	(void)one;
	struct http_fetch *f = arg;
	f->head_bytes += n;
	if (f->head_bytes > HTTP_FETCH_HEAD_BYTES_MAX) {
		f->refusal = "the answer's header is larger than allowed";
		return 0;
	}
	return n;
}

/* Mark and device: set here, before the socket is bound or connected, so that a failure stops it.
 * curl's own "if!NAME" falls back to the device's address when SO_BINDTODEVICE fails, and the
 * packets may then leave by another device. */
static int on_socket_made(void *arg, curl_socket_t fd, curlsocktype purpose)
{
	(void)purpose;
	struct http_fetch *f = arg;
	if (f->mark != 0 && setsockopt(fd, SOL_SOCKET, SO_MARK, &f->mark, sizeof(f->mark)) < 0) {
		f->refusal = "the socket's mark cannot be set";
		return CURL_SOCKOPT_ERROR;
	}
	if (f->device && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, f->device,
				    (socklen_t)strlen(f->device)) < 0) {
		f->refusal = "the socket cannot be bound to its device";
		return CURL_SOCKOPT_ERROR;
	}
	return CURL_SOCKOPT_OK;
}

/* Say in words why a transfer failed. */
static const char *failure_text(const struct http_fetch *f, CURLcode result, char *buf)
{
	if (f->refusal)
		return f->refusal;
	if (result == CURLE_FILESIZE_EXCEEDED)
		return "the answer is larger than allowed";
	if (result == CURLE_OPERATION_TIMEDOUT)
		snprintf(buf, SENTENCE_BYTES, "timed out (%u ms are allowed)", f->timeout_ms);
	else
		snprintf(buf, SENTENCE_BYTES, "%s", curl_easy_strerror(result));
	return buf;
}

/* A transfer ended: take it apart, then tell its owner, who may start and cancel others. */
static void finish(struct http_fetch *f, CURLcode result)
{
	long status = 0;
	char buf[SENTENCE_BYTES];
	const char *failure = NULL;
	if (result == CURLE_OK)
		curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status <= 0)
		failure = failure_text(f, result, buf);
	http_done_fn *fn = f->fn;
	void *arg = f->arg;
	uint8_t *body = f->body;
	size_t n = failure ? 0 : f->n;
	f->body = NULL;
	fetch_free(f);
	static const uint8_t nothing[1];
	fn(arg, (int)status, body ? body : nothing, n, failure);
	free(body);
}

static void collect(struct http_client *c)
{
	int left;
	CURLMsg *msg;
	while ((msg = curl_multi_info_read(c->multi, &left))) {
		struct http_fetch *f;
		CURLcode result = msg->data.result; /* msg dies with its transfer */
		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &f);
		finish(f, result);
	}
}

static void on_socket_event(evutil_socket_t fd, short what, void *arg)
{
	struct http_client *c = arg;
	int running;
	int flags =
		(what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0);
	curl_multi_socket_action(c->multi, fd, flags, &running);
	collect(c);
}

/* curl wants to be woken after ms; -1 for not at all. */
static int on_timer_wanted(CURLM *multi, long ms, void *arg)
{
	(void)multi;
	struct http_client *c = arg;
	if (ms < 0)
		return event_del(c->timer);
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	return event_add(c->timer, &tv);
}

/* The loop's clock is coarse and may wake us a moment before curl's own clock has come so far. curl
 * then does nothing and, because its deadline is still the same, does not ask to be woken again:
 * without this a fetch would hang for good, its time-out with it. */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	struct http_client *c = arg;
	int running;
	long ms = -1;
	curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	collect(c);
	curl_multi_timeout(c->multi, &ms);
	if (ms >= 0 && !event_pending(c->timer, EV_TIMEOUT, NULL))
		on_timer_wanted(c->multi, ms > 0 ? ms : 1, c);
}

/* curl wants a socket watched, otherwise than before, or no more. Its event is kept with it by
 * curl. */
static int on_watch_wanted(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	(void)easy;
	struct http_client *c = arg;
	struct event *old = socket_arg;
	if (old)
		event_free(old);
	curl_multi_assign(c->multi, fd, NULL);
	if (what == CURL_POLL_REMOVE)
		return 0;
	short events = (short)(EV_PERSIST | (what & CURL_POLL_IN ? EV_READ : 0) |
			       (what & CURL_POLL_OUT ? EV_WRITE : 0));
	struct event *ev = event_new(c->base, fd, events, on_socket_event, c);
	if (!ev || event_add(ev, NULL) < 0) {
		if (ev)
			event_free(ev);
		return -1; /* curl then fails its transfers */
	}
	curl_multi_assign(c->multi, fd, ev);
	return 0;
}

struct http_client *http_client_new(struct event_base *base)
{
	struct http_client *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		free(c);
		return NULL;
	}
	signal(SIGPIPE, SIG_IGN); /* CURLOPT_NOSIGNAL leaves that to us */
	c->base = base;
	LIST_INIT(&c->fetches);
	c->multi = curl_multi_init();
	c->timer = evtimer_new(base, on_timer, c);
	if (!c->multi || !c->timer) {
		http_client_free(c);
		return NULL;
	}
	curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_watch_wanted);
	curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
	curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_timer_wanted);
	curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
	return c;
}

void http_client_free(struct http_client *c)
{
	if (!c)
		return;
	struct http_fetch *f;
	while ((f = LIST_FIRST(&c->fetches)))
		fetch_free(f);
	if (c->multi)
		curl_multi_cleanup(c->multi);
	if (c->timer)
		event_free(c->timer);
	free(c);
	curl_global_cleanup();
}

/* True for an http or https URL whose host is a literal address, without user or fragment. */
static bool is_fit(const char *url)
{
	CURLU *u = curl_url();
	char *scheme = NULL;
	char *host = NULL;
	struct addr a;
	bool fit = u && curl_url_set(u, CURLUPART_URL, url, CURLU_DISALLOW_USER) == CURLUE_OK &&
		   curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
		   curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK;
	fit = fit && (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
	if (fit && host[0] == '[') {
		host[strlen(host) - 1] = '\0';
		fit = addr_parse_ip(host + 1, &a) == 0;
	} else if (fit) {
		fit = addr_parse_ip(host, &a) == 0 && a.family == 4;
	}
	curl_free(scheme);
	curl_free(host);
	curl_url_cleanup(u);
	return fit;
}

/* What every fetch has in common. */
static bool set_common(struct http_fetch *f)
{
	CURL *e = f->easy;
	bool fine = true;
#define SET(option, value) (fine = fine && curl_easy_setopt(e, option, value) == CURLE_OK)
	SET(CURLOPT_PRIVATE, f);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, f);
	SET(CURLOPT_HEADERFUNCTION, on_head);
	SET(CURLOPT_HEADERDATA, f);
	SET(CURLOPT_SOCKOPTFUNCTION, on_socket_made);
	SET(CURLOPT_SOCKOPTDATA, f);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_PROXY, "");		/* not even the environment's */
	SET(CURLOPT_FRESH_CONNECT, 1L); /* another fetch's connection has another mark */
	SET(CURLOPT_FORBID_REUSE, 1L);
	SET(CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)f->max);
	SET(CURLOPT_HTTPHEADER, f->headers);
#undef SET
	return fine;
}

static bool set_options(struct http_fetch *f, const struct http_fetch_options *o)
{
	CURL *e = f->easy;
	long connect_ms = o->connect_timeout_ms ? (long)o->connect_timeout_ms : (long)o->timeout_ms;
	bool fine = curl_easy_setopt(e, CURLOPT_URL, o->url) == CURLE_OK &&
		    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)o->timeout_ms) == CURLE_OK &&
		    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, connect_ms) == CURLE_OK;
	if (o->source) {
		char source[ADDR_TEXT_BYTES + sizeof("host!")] = "host!";
		addr_ip_text(o->source, source + strlen(source));
		fine = fine && curl_easy_setopt(e, CURLOPT_INTERFACE, source) == CURLE_OK;
	}
	if (o->post)
		fine = fine &&
		       curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE,
					(curl_off_t)o->post_bytes) == CURLE_OK &&
		       curl_easy_setopt(e, CURLOPT_COPYPOSTFIELDS, o->post) == CURLE_OK;
	return fine;
}

/* A POST's type, and no Expect, which would cost a round trip. */
static struct curl_slist *make_headers(void)
{
	struct curl_slist *list = curl_slist_append(NULL, "Content-Type: application/octet-stream");
	struct curl_slist *longer = list ? curl_slist_append(list, "Expect:") : NULL;
	if (!longer)
		curl_slist_free_all(list);
	return longer;
}

int http_fetch_start(struct http_client *c, const struct http_fetch_options *o, http_done_fn *fn,
		     void *arg, struct http_fetch **ret)
{
	if (o->timeout_ms == 0 || o->body_bytes_max > SIZE_MAX / 4 || !is_fit(o->url))
		return -EINVAL;
	if (o->source && addr_ip_bytes(o->source) == 0)
		return -EINVAL;
	if (c->count >= HTTP_FETCHES_MAX)
		return -EBUSY;
	struct http_fetch *f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	LIST_INSERT_HEAD(&c->fetches, f, entry);
	c->count++;
	f->client = c;
	f->fn = fn;
	f->arg = arg;
	f->mark = o->mark;
	f->max = o->body_bytes_max;
	f->timeout_ms = o->timeout_ms;
	f->headers = o->post ? make_headers() : NULL;
	f->device = o->device ? strdup(o->device) : NULL;
	f->easy = curl_easy_init();
	bool fine = f->easy && (!o->post || f->headers) && (!o->device || f->device);
	fine = fine && set_common(f) && set_options(f, o);
	if (!fine || curl_multi_add_handle(c->multi, f->easy) != CURLM_OK) {
		fetch_free(f);
		return -ENOMEM;
	}
	*ret = f;
	return 0;
}

void http_fetch_cancel(struct http_fetch *f)
{
	fetch_free(f);
}
