/* authority/run.c - sispopnet-authority run: the loop, its timer, the end. And init: the key. */
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "authority/authority.h"
#include "base/log.h"
#include "base/zbase32.h"
#include "crypto/kdf.h"
#include "crypto/keyfile.h"
#include "daemon/process.h"

#define EXIT_FAILED 1
#define EXIT_CONFIG 2

static int say(int status, const char *sentence)
{
	fprintf(stderr, "sispopnet-authority: %s\n", sentence);
	return status;
}

static int load_key(const struct authority_config *c, struct sign_keypair *ret, char *err)
{
	char path[AUTHORITY_FILE_BYTES];
	uint8_t seed[32];
	int e = keyfile_read(authority_file(c, FILE_KEY, path), seed, sizeof(seed), err);
	if (e)
		return e;
	sign_keypair_from_seed(ret, seed);
	wipe(seed, sizeof(seed));
	return 0;
}

int authority_init(const char *config)
{
	struct authority_config c;
	char err[CONFIG_ERROR_BYTES], path[AUTHORITY_FILE_BYTES], text[ADDR_TEXT_BYTES];
	char key_text[ZBASE32_KEY_CHARS + 1];
	struct sign_keypair key;
	if (authority_config_load(config, &c, err))
		return say(EXIT_CONFIG, err);
	if (process_make_folder(c.state, 0700, c.user, err) || process_drop(c.user, false, err))
		return say(EXIT_FAILED, err);
	int e = load_key(&c, &key, err);
	if (e == -ENOENT) {
		sign_keypair_new(&key, &rng_system);
		e = keyfile_write(authority_file(&c, FILE_KEY, path), key.seed, sizeof(key.seed),
				  err);
	}
	if (e)
		return say(EXIT_FAILED, err);
	zbase32_encode_key(key.public_key, key_text);
	printf("authority = %s http://%s\n", key_text, addr_text(&c.address, text));
	sign_keypair_done(&key);
	return fflush(stdout) ? say(EXIT_FAILED, "standard output cannot be written") : 0;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	agree_tick(arg);
	authority_rearm(arg);
}

void authority_rearm(struct authority *a)
{
	uint64_t now = authority_now_ms(), next = agree_next_ms(a);
	uint64_t wait = next > now ? next - now : 0;
	if (wait > 1000)
		wait = 1000; /* the wall clock may have been set back */
	const struct timeval tv = {(time_t)(wait / 1000), (suseconds_t)(wait % 1000 * 1000)};
	evtimer_add(a->timer, &tv);
}

static void on_signal(evutil_socket_t number, short what, void *arg)
{
	struct authority *a = arg;
	(void)what;
	log_info("ending: %s", strsignal((int)number));
	event_base_loopbreak(a->base);
}

static int open_loop(struct authority *a, char *err)
{
	a->base = event_base_new();
	if (a->base) {
		a->timer = evtimer_new(a->base, on_timer, a);
		a->sigterm = evsignal_new(a->base, SIGTERM, on_signal, a);
		a->sigint = evsignal_new(a->base, SIGINT, on_signal, a);
		a->client = http_client_new(a->base);
	}
	if (!a->client || !a->timer || !a->sigterm || !a->sigint ||
	    event_add(a->sigterm, NULL) < 0 || event_add(a->sigint, NULL) < 0) {
		snprintf(err, CONFIG_ERROR_BYTES,
			 "the event loop could not be started: out of memory");
		return -ENOMEM;
	}
	int e = prober_open(a->base, a->net.net_id, &rng_system, serve_on_probe, a, &a->prober);
	if (e)
		snprintf(err, CONFIG_ERROR_BYTES,
			 "no UDP socket could be opened to test relays: %s", strerror(-e));
	return e;
}

static void close_all(struct authority *a)
{
	if (a->relays.n)
		store_save_descriptors(a);
	http_server_close(a->server);
	http_client_free(a->client);
	prober_close(a->prober);
	struct event *const events[] = {a->timer, a->sigterm, a->sigint};
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
		if (events[i])
			event_free(events[i]);
	if (a->base)
		event_base_free(a->base);
	round_done(&a->round);
	store_close(a);
	relays_done(&a->relays);
	sign_keypair_done(&a->key);
}

/* Config, network file, key, and that they belong together. Exit status. */
static int load(struct authority *a, const char *config, char *err)
{
	if (authority_config_load(config, &a->config, err) ||
	    netconf_load(a->config.network, &a->net, err))
		return EXIT_CONFIG;
	enum log_level level;
	if (!log_level_parse(a->config.log, &level))
		log_set_level(level);
	if (process_make_folder(a->config.state, 0700, a->config.user, err) ||
	    process_drop(a->config.user, false, err))
		return EXIT_FAILED;
	int e = load_key(&a->config, &a->key, err);
	if (e == -ENOENT) {
		snprintf(err, CONFIG_ERROR_BYTES,
			 "there is no key in %.200s: run `sispopnet-authority init` first",
			 a->config.state);
		return EXIT_CONFIG;
	}
	if (e)
		return EXIT_FAILED;
	int me = netconf_find(&a->net, a->key.public_key);
	if (me < 0) {
		snprintf(err, CONFIG_ERROR_BYTES,
			 "%.200s does not name our key: add the line that "
			 "`sispopnet-authority init` prints",
			 a->config.network);
		return EXIT_CONFIG;
	}
	a->me = (uint8_t)me;
	return 0;
}

static int open_all(struct authority *a, char *err)
{
	int e = relays_init(&a->relays, a->config.max_relays);
	if (e) {
		snprintf(err, CONFIG_ERROR_BYTES, "there is no memory for max-relays");
		return e;
	}
	a->relays.per_address = a->net.params.v[PARAM_SUBNET_RULE] ? RELAYS_PER_ADDRESS : 0;
	e = store_open(a, err);
	if (!e)
		e = open_loop(a, err);
	return e ? e : serve_open(a, err);
}

int authority_run(const char *config)
{
	char err[CONFIG_ERROR_BYTES] = "";
	struct authority *a = calloc(1, sizeof(*a));
	if (!a)
		return say(EXIT_FAILED, "there is no memory");
	int status = load(a, config, err);
	if (!status && open_all(a, err))
		status = EXIT_FAILED;
	if (!status) {
		for (unsigned i = 0; i < NETCONF_AUTHORITIES_MAX; i++)
			a->peer[i] = (struct peer){a, i};
		a->second = authority_now_ms() / 1000;
		a->slot = a->second / authority_interval(a);
		char text[ADDR_TEXT_BYTES];
		struct addr at = http_server_addr(a->server);
		log_info("authority %u of %u serves at %s, %u signatures make a consensus", a->me,
			 a->net.n, addr_text(&at, text), a->net.k);
		if (a->net.n > 1)
			agree_ask(a);
		authority_rearm(a);
		event_base_dispatch(a->base);
	}
	if (status)
		say(status, err);
	close_all(a);
	free(a);
	return status;
}
