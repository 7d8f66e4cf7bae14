/* relay/relay.c - see relay.h. Glue: each callback hands what came to the part whose business it
 * is. Opening and closing of all parts: relay_open.c. */
#include "relay/relay.h"
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/zbase32.h"
#include "crypto/kdf.h"
#include "daemon/process.h"
#include "relay/relay_internal.h"

#define KEYS_RETRY (30 * NSEC_PER_SEC) /* after a full disk */
#define ASK_NSEC   (10 * NSEC_PER_SEC) /* BUILDs for unknown relays make us fetch no oftener */

/* --- what links and circuits ask --- */

static void on_link_up(void *arg, struct link *l, nsec_t now)
{
	struct relayd *r = arg;
	circuits_on_link_up(r->circuits, l, now);
}

static void on_link_failed(void *arg, struct link *l, int why, nsec_t now)
{
	struct relayd *r = arg;
	(void)why;
	circuits_on_link_failed(r->circuits, l, now);
}

static void on_link_dead(void *arg, struct link *l, nsec_t now)
{
	struct relayd *r = arg;
	circuits_on_link_dead(r->circuits, l, now);
}

static void on_frame(void *arg, struct link *l, enum frame_type type, const uint8_t *data, size_t n,
		     nsec_t now)
{
	struct relayd *r = arg;
	circuits_on_frame(r->circuits, l, type, data, n, now);
}

/* The consensus and, for a while, the one before it: a relay that fell out still ends its circuits
 * well. */
static void directories(struct relayd *r, const struct directory *ret[2])
{
	nsec_t now = clock_now();

	ret[0] = dirsync_current(r->dirsync, now);
	ret[1] = dirsync_previous(r->dirsync, now);
}

static bool relay_at(void *arg, const struct addr *a, uint8_t ret_id[32])
{
	const struct directory *d[2];

	directories(arg, d);
	for (unsigned i = 0; i < 2; i++) {
		const struct relay *at = d[i] ? directory_find_addr(d[i], a) : NULL;
		if (at) {
			memcpy(ret_id, at->id, 32);
			return true;
		}
	}
	return false;
}

static bool target_from(struct relayd *r, const struct relay *at, struct link_target *ret)
{
	const struct onion_key *key =
		relay_onion_key(at, dirsync_unix_seconds(r->dirsync, clock_now()));
	const struct addr *to =
		relay_addr(at, r->config.address4.family == 4, r->config.address6.family == 6);

	if (!key || !to)
		return false;
	memcpy(ret->id, at->id, 32);
	memcpy(ret->onion_key, key->public_key, 32);
	ret->keyid = key->keyid;
	ret->addr = *to;
	return true;
}

/* Who builds through us knows a relay that we do not: there is a newer directory, and ours may stay
 * fresh for long. */
static void ask_for_newer(struct relayd *r, nsec_t now)
{
	if (now < r->ask_anew)
		return;
	r->ask_anew = now + ASK_NSEC;
	dirsync_refresh(r->dirsync, now);
}

static bool find_relay(void *arg, const uint8_t id[32], struct link_target *ret)
{
	const struct directory *d[2];

	directories(arg, d);
	for (unsigned i = 0; i < 2; i++) {
		const struct relay *at = d[i] ? directory_find(d[i], id) : NULL;
		if (at && target_from(arg, at, ret))
			return true;
	}
	ask_for_newer(arg, clock_now());
	return false;
}

static const struct onion_keypair *onion_key(void *arg, uint16_t keyid)
{
	struct relayd *r = arg;
	return relay_keys_find(&r->keys, keyid);
}

static uint64_t consensus_serial(void *arg)
{
	struct relayd *r = arg;
	const struct directory *d = dirsync_current(r->dirsync, clock_now());
	return d ? d->consensus->serial : 0;
}

static uint64_t unix_seconds(void *arg)
{
	(void)arg;
	return clock_unix_seconds();
}

static bool on_end(void *arg, struct circuit *c, const uint8_t h[32], const uint8_t res[32],
		   nsec_t now)
{
	struct relayd *r = arg;
	return r->exit && !r->draining && exit_on_end(r->exit, c, h, res, now);
}

static void on_end_gone(void *arg, struct circuit *c, nsec_t now)
{
	struct relayd *r = arg;
	if (r->exit)
		exit_on_end_gone(r->exit, c, now);
}

/* --- what the engine brings --- */

static void on_handshake(void *arg, const struct addr *from, unsigned worker, const uint8_t *d,
			 size_t n, nsec_t now)
{
	struct relayd *r = arg;
	links_on_handshake(r->links, from, worker, d, n, now);
	relayd_rearm(r, now);
}

static void on_ctrl(void *arg, uint32_t link_id, const struct addr *from, unsigned worker,
		    uint64_t ctr, uint8_t *body, size_t n, nsec_t now)
{
	struct relayd *r = arg;
	links_on_ctrl(r->links, link_id, from, worker, ctr, body, n, now);
	relayd_rearm(r, now);
}

static void on_foreign_source(void *arg, uint32_t link_id, const struct addr *from, nsec_t now)
{
	struct relayd *r = arg;
	links_on_foreign_source(r->links, link_id, from, now);
	relayd_rearm(r, now);
}

static void on_plain(void *arg, uint32_t circuit_id, const uint8_t *plain, size_t n,
		     size_t datagram, nsec_t now)
{
	struct relayd *r = arg;
	struct hop_dir *end =
		(struct hop_dir *)slots_find(engine_env(r->engine)->circuits, circuit_id);

	/* It may have gone while the message waited. */
	if (end && end->kind == HOP_END_FORWARD && r->exit)
		exit_on_plain(r->exit, end->owner, plain, n, datagram, now);
	relayd_rearm(r, now);
}

static void on_note(void *arg, const uint8_t *note, size_t n, nsec_t now)
{
	struct relayd *r = arg;
	if (r->exit)
		exit_on_note(r->exit, note, n, now);
}

/* --- the directory --- */

static void tell_exit_relays(struct relayd *r, const struct directory *d)
{
	struct addr *all = r->exit ? calloc(2 * d->n + 1, sizeof(*all)) : NULL;
	size_t n = 0;

	if (!r->exit)
		return;
	for (size_t i = 0; all && i < d->n; i++) {
		if (d->relay[i].v4.family)
			all[n++] = d->relay[i].v4;
		if (d->relay[i].v6.family)
			all[n++] = d->relay[i].v6;
	}
	if (!all || exit_set_relays(r->exit, all, n))
		log_error(
			"no memory for the relays' addresses: the exit keeps refusing those of the directory before");
	free(all);
}

static void take_periods(struct relayd *r, const struct params *p)
{
	r->periods.path_lifetime_s = p->v[PARAM_PATH_LIFETIME];
	r->periods.path_grace_s = p->v[PARAM_PATH_GRACE];
	r->periods.link_renew_s = p->v[PARAM_LINK_RENEW];
	r->periods.link_idle_s = p->v[PARAM_LINK_IDLE];
	r->keys.period_s = p->v[PARAM_ONION_KEY_PERIOD];
	r->keys.valid_s = p->v[PARAM_ONION_KEY_VALID];
}

static void on_directory(void *arg, const struct directory *d, nsec_t now)
{
	struct relayd *r = arg;

	log_info("directory %llu: %zu relays", (unsigned long long)d->consensus->serial, d->n);
	take_periods(r, &d->params);
	tell_exit_relays(r, d);
	publish_directory_changed(r->publish);
	relayd_rearm(r, now);
}

static void on_directory_failure(void *arg, nsec_t now)
{
	struct relayd *r = arg;
	(void)now;
	log_warn("the directory could not be refreshed: %s", dirsync_error(r->dirsync));
}

/* --- timers --- */

void relayd_rearm(struct relayd *r, nsec_t now)
{
	nsec_t next = nsec_min(links_next_deadline(r->links), circuits_next_deadline(r->circuits));

	if (r->exit)
		next = nsec_min(next, exit_next_deadline(r->exit));
	deadline_set(r->deadline, next, now);
}

static void on_deadline(void *arg)
{
	struct relayd *r = arg;
	nsec_t now = clock_now();

	engine_set_now(r->engine, now);
	links_on_timer(r->links, now);
	circuits_on_timer(r->circuits, now);
	if (r->exit)
		exit_on_timer(r->exit, now);
	relayd_rearm(r, now);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct relayd *r = arg;
	nsec_t now = clock_now();
	char err[KEYFILE_ERROR_BYTES];
	int changed;

	(void)fd;
	(void)what;
	if (clock_unix_seconds() >= relay_keys_next(&r->keys) && now >= r->keys_retry) {
		changed = relay_keys_rotate(&r->keys, clock_unix_seconds(), &rng_system, err);
		if (changed < 0) {
			log_error("the onion key was not renewed: %s", err);
			r->keys_retry = now + KEYS_RETRY;
		} else if (changed) {
			publish_now(r->publish, now);
		}
	}
	publish_tick(r->publish, now);
}

/* --- signals --- */

static void on_term(evutil_socket_t sig, short what, void *arg)
{
	struct relayd *r = arg;
	nsec_t now = clock_now();

	(void)sig;
	(void)what;
	if (r->draining) { /* asked twice: at once */
		event_base_loopbreak(r->base);
		return;
	}
	log_info("draining: no new circuits; %u circuits are told to move",
		 circuits_count(r->circuits));
	r->draining = true;
	circuits_drain(r->circuits, now);
	if (r->exit)
		exit_stop(r->exit, now);
	circuits_close_all(r->circuits, CLOSE_DONE, now);
	links_close_all(r->links, CLOSE_DONE, now);
	event_base_loopbreak(r->base);
}

/* What may change while running; the rest needs a restart and says so. */
static bool same_sockets(const struct relay_config *a, const struct relay_config *b)
{
	return addr_equal(&a->address4, &b->address4) && addr_equal(&a->address6, &b->address6) &&
	       a->workers == b->workers && a->offloads_off == b->offloads_off &&
	       !strcmp(a->engine, b->engine) &&
	       !strcmp(a->state, b->state) && !strcmp(a->run, b->run) &&
	       !strcmp(a->network, b->network) && a->dir_port == b->dir_port &&
	       !strcmp(a->user, b->user) && a->exit.present == b->exit.present;
}

static void on_hup(evutil_socket_t sig, short what, void *arg)
{
	struct relayd *r = arg;
	struct relay_config c;
	char err[CONFIG_ERROR_BYTES];

	(void)sig;
	(void)what;
	if (relay_config_load(r->config_path, &c, err)) {
		log_error("%s; the config before it stays in force", err);
		return;
	}
	if (!same_sockets(&c, &r->config)) {
		log_error(
			"%s changes addresses, folders, workers, offloads, engine, user, dir-port or whether this is an exit: that "
			"needs a restart; the config before it stays in force",
			r->config_path);
		return;
	}
	if (r->exit && exit_reload(r->exit, &c.exit, err)) {
		log_error("%s; the config before it stays in force", err);
		return;
	}
	r->config = c;
	log_set_level(c.log);
	log_info("config read anew");
	publish_now(r->publish, clock_now());
}

static struct event *signal_event(struct relayd *r, int sig, event_callback_fn fn)
{
	struct event *e = evsignal_new(r->base, sig, fn, r);
	if (e)
		evsignal_add(e, NULL);
	return e;
}

int relayd_open_loop(struct relayd *r, char *err)
{
	const struct timeval second = {1, 0};

	r->deadline = deadline_new(r->base, on_deadline, r);
	r->tick = event_new(r->base, -1, EV_PERSIST, on_tick, r);
	r->sig_term = signal_event(r, SIGTERM, on_term);
	r->sig_int = signal_event(r, SIGINT, on_term);
	r->sig_hup = signal_event(r, SIGHUP, on_hup);
	if (r->deadline && r->tick && r->sig_term && r->sig_int && r->sig_hup &&
	    !event_add(r->tick, &second))
		return 0;
	snprintf(err, RELAY_ERROR_BYTES, "no memory for the event loop");
	return -ENOMEM;
}

/* --- who is called for what --- */

struct links_ops relayd_links_ops(struct relayd *r)
{
	return (struct links_ops){r,	    on_link_up, on_link_failed,	  on_link_dead, on_frame,
				  relay_at, onion_key,	consensus_serial, unix_seconds};
}

struct circuits_ops relayd_circuits_ops(struct relayd *r)
{
	return (struct circuits_ops){r, find_relay, on_end, on_end_gone, unix_seconds};
}

struct engine_control_ops relayd_control_ops(struct relayd *r)
{
	return (struct engine_control_ops){r,	     on_handshake, on_ctrl, on_foreign_source,
					   on_plain, on_note};
}

struct dirsync_ops relayd_dirsync_ops(struct relayd *r)
{
	return (struct dirsync_ops){r, on_directory, on_directory_failure, NULL, NULL};
}

/* --- life --- */

static int fail(const char *sentence)
{
	fprintf(stderr, "sispopnet-relay: %s\n", sentence);
	return 1;
}

static int load(struct relayd *r, char *err)
{
	int e = relay_config_load(r->config_path, &r->config, err);

	if (!e)
		e = netconf_load(r->config.network, &r->net, err);
	return e;
}

static void say_hello(const struct relayd *r)
{
	char name[NAME_BYTES], a4[ADDR_TEXT_BYTES], a6[ADDR_TEXT_BYTES];

	name_from_id(r->keys.identity.public_key, name);
	log_info("%s %s serves at %s and %s, %u workers, engine %s", r->exit ? "exit" : "relay",
		 name, addr_text(&r->config.address4, a4), addr_text(&r->config.address6, a6),
		 engine_workers(r->engine), aead_engine_name());
}

int relay_run(const char *config_path)
{
	struct relayd r = {.config_path = config_path, .periods = PERIODS_DEFAULT};
	char err[RELAY_ERROR_BYTES] = "";
	int ret;

	if (load(&r, err)) {
		fprintf(stderr, "%s\n", err);
		return 2;
	}
	log_set_level(r.config.log);
	take_periods(&r, &r.net.params);
	if (aead_engine_choose(r.config.engine))
		return fail(
			"the AES engine of `engine` does not run on this CPU: set engine = auto");
	r.started = clock_now();
	r.base = event_base_new();
	ret = r.base ? relayd_open(&r, r.started, err) : -ENOMEM;
	if (ret) {
		fail(*err ? err : strerror(-ret));
	} else {
		say_hello(&r);
		dirsync_start(r.dirsync, clock_now());
		publish_now(r.publish, clock_now());
		relayd_rearm(&r, clock_now());
		if (event_base_dispatch(r.base) < 0)
			ret = fail("the event loop failed");
	}
	relayd_close(&r, clock_now());
	if (r.base)
		event_base_free(r.base);
	return ret ? 1 : 0;
}
