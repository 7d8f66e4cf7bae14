/* client/daemon.c - sispopnetd: makes the parts, hands what comes to the one whose business it is.
 * main.c starts it. */
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "client/client.h"
#include "crypto/kdf.h"
#include "daemon/process.h"

#define LINK_BITS	     10
#define CIRCUIT_BITS	     10
#define LINKS_OF_A_CLIENT    64
#define CIRCUITS_OF_A_CLIENT 128
#define POOL_PACKETS	     1024

/* --- links and paths --- */

static void on_link_up(void *arg, struct link *l, nsec_t now)
{
	struct client *c = arg;
	struct addr a = link_remote(l);
	char text[ADDR_TEXT_BYTES];

	if (c->next)
		methods_step(c, STEP_GUARD, addr_ip_text(&a, text), now);
	paths_on_link_up(c->paths, l, now);
}

static void on_link_failed(void *arg, struct link *l, int why, nsec_t now)
{
	struct client *c = arg;
	paths_on_link_failed(c->paths, l, why, now);
}

static void on_link_dead(void *arg, struct link *l, nsec_t now)
{
	struct client *c = arg;
	paths_on_link_dead(c->paths, l, now);
}

static void on_frame(void *arg, struct link *l, enum frame_type type, const uint8_t *data, size_t n,
		     nsec_t now)
{
	struct client *c = arg;
	paths_on_frame(c->paths, l, type, data, n, now);
}

static bool relay_at(void *arg, const struct addr *a, uint8_t ret_id[32])
{
	(void)arg; /* nobody opens links to a client */
	(void)a;
	(void)ret_id;
	return false;
}

static const struct onion_keypair *onion_key(void *arg, uint16_t keyid)
{
	(void)arg;
	(void)keyid;
	return NULL;
}

static uint64_t consensus_serial(void *arg)
{
	struct client *c = arg;
	const struct directory *d = dirsync_current(c->dirsync, clock_now());
	return d ? d->consensus->serial : 0;
}

static uint64_t unix_seconds(void *arg)
{
	struct client *c = arg;
	return dirsync_unix_seconds(c->dirsync, clock_now());
}

static void on_path_ready(void *arg, struct path *p, nsec_t now)
{
	tunnel_on_path_ready(arg, p, now);
}

static void on_path_gone(void *arg, struct path *p, int hop, enum build_status status, nsec_t now)
{
	tunnel_on_path_gone(arg, p, hop, status, now);
}

/* --- engine --- */

static void on_handshake(void *arg, const struct addr *from, unsigned worker, const uint8_t *d,
			 size_t n, nsec_t now)
{
	struct client *c = arg;
	links_on_handshake(c->links, from, worker, d, n, now);
	client_rearm(c, now);
}

static void on_ctrl(void *arg, uint32_t link_id, const struct addr *from, unsigned worker,
		    uint64_t ctr, uint8_t *body, size_t n, nsec_t now)
{
	struct client *c = arg;
	links_on_ctrl(c->links, link_id, from, worker, ctr, body, n, now);
	client_rearm(c, now);
}

static void on_foreign_source(void *arg, uint32_t link_id, const struct addr *from, nsec_t now)
{
	struct client *c = arg;
	links_on_foreign_source(c->links, link_id, from, now);
}

static void on_plain(void *arg, uint32_t circuit_id, const uint8_t *plain, size_t n,
		     size_t datagram, nsec_t now)
{
	struct client *c = arg;
	struct hop_dir *end =
		(struct hop_dir *)slots_find(engine_env(c->engine)->circuits, circuit_id);

	/* It may have gone while the message waited. */
	if (end && end->kind == HOP_END_BACKWARD)
		tunnel_on_plain(c, end->owner, plain, n, datagram, now);
	client_rearm(c, now);
}

/* --- directory --- */

static void take_periods(struct client *c, const struct params *p)
{
	c->periods.path_lifetime_s = p->v[PARAM_PATH_LIFETIME];
	c->periods.path_grace_s = p->v[PARAM_PATH_GRACE];
	c->periods.link_renew_s = p->v[PARAM_LINK_RENEW];
	c->periods.link_idle_s = p->v[PARAM_LINK_IDLE];
}

static void on_directory(void *arg, const struct directory *d, nsec_t now)
{
	struct client *c = arg;

	take_periods(c, &d->params);
	tunnel_on_directory(c, now);
}

static void on_directory_unchanged(void *arg, nsec_t now)
{
	tunnel_on_directory(arg, now);
}

static void on_directory_failure(void *arg, nsec_t now)
{
	struct client *c = arg;

	log_warn("the directory could not be refreshed: %s", dirsync_error(c->dirsync));
	tunnel_on_directory_failure(c, now);
}

/* While up, the directory comes through the tunnel: nobody on the way sees who reads it. An
 * authority in a network that this host is on is asked directly: what comes from such addresses out
 * of the tunnel is dropped (client/inner.c). With ranges the user's word holds for us too: all else
 * goes directly. */
static const char *tunnel_device(void *arg, const struct addr *to)
{
	struct client *c = arg;

	if (c->state != CLIENT_UP || !c->tun || !c->carrier || c->carrier->ranges.n ||
	    inner_is_local(c->inner, to))
		return NULL;
	return tun_name(c->tun);
}

/* --- time --- */

void client_rearm(struct client *c, nsec_t now)
{
	nsec_t next = nsec_min(links_next_deadline(c->links), paths_next_deadline(c->paths));

	deadline_set(c->deadline, nsec_min(next, tunnel_next_deadline(c)), now);
}

static void on_deadline(void *arg)
{
	struct client *c = arg;
	nsec_t now = clock_now();

	engine_set_now(c->engine, now);
	links_on_timer(c->links, now);
	paths_on_timer(c->paths, now);
	tunnel_on_timer(c, now);
	client_rearm(c, now);
}

void client_defer(struct client *c)
{
	event_active(c->deferred, EV_TIMEOUT, 0);
}

static void on_deferred(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	tunnel_deferred(arg, clock_now());
}

static void on_term(evutil_socket_t sig, short what, void *arg)
{
	struct client *c = arg;

	(void)sig;
	(void)what;
	event_base_loopbreak(c->base);
}

/* --- life --- */

static int open_loop(struct client *c, char *err)
{
	c->deadline = deadline_new(c->base, on_deadline, c);
	c->deferred = event_new(c->base, -1, 0, on_deferred, c);
	c->sig_term = evsignal_new(c->base, SIGTERM, on_term, c);
	c->sig_int = evsignal_new(c->base, SIGINT, on_term, c);
	if (c->deadline && c->deferred && c->sig_term && c->sig_int &&
	    !evsignal_add(c->sig_term, NULL) && !evsignal_add(c->sig_int, NULL))
		return 0;
	snprintf(err, SENTENCE_BYTES, "no memory for the event loop");
	return -ENOMEM;
}

static int prepare_folders(struct client *c, char *err)
{
	int r = process_make_folder(c->config.state, 0700, NULL, err);
	return r ? r : process_make_folder(c->config.run, 0755, NULL, err);
}

static void say(void *arg, const char *sentence)
{
	(void)arg;
	log_warn("%s", sentence);
}

/* What a daemon that died left on the host goes first. */
static int open_host(struct client *c, char *err)
{
	char path[200];
	int r;

	snprintf(path, sizeof(path), "%s/journal", c->config.run);
	r = host_open(path, &c->host, err);
	if (r)
		return r;
	if (!host_changes(c->host))
		return 0;
	log_warn("an earlier daemon left %zu changes on this host: taking them back",
		 host_changes(c->host));
	return host_undo(c->host, say, NULL, err);
}

static int open_engine(struct client *c, char *err)
{
	struct engine_config ec = {
		.base = c->base,
		.workers = c->config.workers,
		.underlay4 = c->config.underlay4,
		.underlay6 = c->config.underlay6,
		.mark = c->config.mark,
		.rng = &rng_system,
		.inner = inner_ops(c->inner),
		.control = {c, on_handshake, on_ctrl, on_foreign_source, on_plain, NULL},
		.link_bits = LINK_BITS,
		.circuit_bits = CIRCUIT_BITS,
		.links_most = LINKS_OF_A_CLIENT,
		.circuits_most = CIRCUITS_OF_A_CLIENT,
		.pool_packets = POOL_PACKETS,
		.offloads_off = c->config.offloads_off,
	};
	int r = engine_new(&ec, &c->engine, err);

	if (!r)
		engine_env(c->engine)->periods = &c->periods;
	return r;
}

static int open_onion(struct client *c, nsec_t now, char *err)
{
	struct links_config lc = {
		.env = engine_env(c->engine),
		.ops = {c, on_link_up, on_link_failed, on_link_dead, on_frame, relay_at, onion_key,
			consensus_serial, unix_seconds},
		.role = ROLE_CLIENT,
		.net_id = c->net.net_id,
		.max_dgram = DATAGRAM_FULL_MOST,
		.links_most = LINKS_OF_A_CLIENT,
		.half_open_most = LINKS_OF_A_CLIENT,
	};
	struct paths_config pc = {.env = lc.env,
				  .ops = {c, on_path_ready, on_path_gone},
				  .unix_seconds = unix_seconds};

	c->links = links_new(&lc, now);
	pc.links = c->links;
	c->paths = c->links ? paths_new(&pc) : NULL;
	if (c->paths)
		return 0;
	snprintf(err, SENTENCE_BYTES, "no memory for links and paths");
	return -ENOMEM;
}

static int open_directory(struct client *c, nsec_t now, char *err)
{
	const struct dirsync_config dc = {
		.base = c->base,
		.net = &c->net,
		.state = c->config.state,
		.mark = c->config.mark,
		.rng = &rng_system,
		.ops = {c, on_directory, on_directory_failure, on_directory_unchanged,
			tunnel_device},
	};

	c->dirsync = dirsync_new(&dc, now);
	if (c->dirsync)
		return 0;
	snprintf(err, SENTENCE_BYTES, "no memory for the directory");
	return -ENOMEM;
}

static int open_all(struct client *c, nsec_t now, char *err)
{
	int r = prepare_folders(c, err);

	c->attempt_over = true;
	if (!r && !process_has_net_admin()) {
		snprintf(
			err, SENTENCE_BYTES,
			"sispopnetd has no CAP_NET_ADMIN: start it as root (in a container, add the capability NET_ADMIN)");
		r = -EPERM;
	}
	if (!r)
		r = open_loop(c, err);
	if (!r)
		r = methods_open(
			c,
			err); /* before the host: a second daemon must not touch the first one's */
	if (!r)
		r = process_drop(NULL, true, err);
	if (!r)
		r = open_host(c, err);
	if (r)
		return r;
	c->inner = inner_new();
	r = c->inner ? open_engine(c, err) : -ENOMEM;
	if (!r)
		r = open_onion(c, now, err);
	if (!r)
		r = open_directory(c, now, err);
	return r;
}

static void free_event(struct event *e)
{
	if (e)
		event_free(e);
}

static int close_all(struct client *c, nsec_t now)
{
	char err[ROUTING_ERROR_BYTES];
	int r = 0;

	if (c->paths)
		r = tunnel_down(c, now, err);
	if (r)
		log_error(
			"the host was not taken back whole: %s; `sispopnetd --cleanup` tries again",
			err);
	if (c->control)
		control_close(c->control);
	paths_free(c->paths);
	links_free(c->links);
	engine_free(c->engine);
	inner_free(c->inner);
	dirsync_free(c->dirsync);
	host_close(c->host);
	deadline_free(c->deadline);
	free_event(c->deferred);
	free_event(c->sig_term);
	free_event(c->sig_int);
	wipe(&c->wish, sizeof(c->wish));
	return r;
}

static int fail(const char *sentence)
{
	fprintf(stderr, "sispopnetd: %s\n", sentence);
	return 1;
}

int client_run(struct client *c)
{
	char err[SENTENCE_BYTES] = "";
	int r;

	take_periods(c, &c->net.params);
	c->base = event_base_new();
	r = c->base ? open_all(c, clock_now(), err) : -ENOMEM;
	if (r) {
		fail(*err ? err : strerror(-r));
	} else {
		hops_load_guards(c);
		dirsync_start(c->dirsync, clock_now());
		log_info("ready, %u workers, engine %s", engine_workers(c->engine),
			 aead_engine_name());
		client_rearm(c, clock_now());
		if (event_base_dispatch(c->base) < 0)
			r = fail("the event loop failed");
	}
	if (close_all(c, clock_now()))
		r = -EIO;
	if (c->base)
		event_base_free(c->base);
	return r == -EPERM ? 9 : r ? 1 : 0;
}

/* Take back what a dead daemon left; nothing while one is alive (it holds the journal). */
int client_cleanup(struct client *c)
{
	char err[SENTENCE_BYTES] = "";
	int r = prepare_folders(c, err);

	if (!r)
		r = open_host(c, err);
	host_close(c->host);
	return r ? fail(err) : 0;
}
