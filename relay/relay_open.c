/* relay/relay_open.c - makes the relay's parts in the order in which they need each other, and
 * takes them apart. */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "daemon/process.h"
#include "relay/relay.h"
#include "relay/relay_internal.h"

#define LINK_BITS    17
#define CIRCUIT_BITS 20
#define POOL_PACKETS 2048
#define COOKIE_INITS_PER_S                                                                         \
	500 /* above this a cookie is asked for: about a tenth of a core in handshakes */

static int prepare_folders(struct relayd *r, char *err)
{
	int e = process_make_folder(r->config.state, 0700, r->config.user, err);
	return e ? e : process_make_folder(r->config.run, 0750, r->config.user, err);
}

static int load_keys(struct relayd *r, char *err)
{
	const struct params *p = &r->net.params;

	return relay_keys_load(&r->keys, r->config.state, p->v[PARAM_ONION_KEY_PERIOD],
			       p->v[PARAM_ONION_KEY_VALID], clock_unix_seconds(), &rng_system, err);
}

static unsigned worker_count(const struct relayd *r)
{
	long n = r->config.workers ? (long)r->config.workers : sysconf(_SC_NPROCESSORS_ONLN);
	return n < 1 ? 1 : n > ENGINE_WORKERS_MOST ? ENGINE_WORKERS_MOST : (unsigned)n;
}

static int open_engine(struct relayd *r, char *err)
{
	struct engine_config c = {
		.base = r->base,
		.workers = worker_count(r),
		.bind4 = r->config.address4,
		.bind6 = r->config.address6,
		.underlay4 = r->config.address4.family == 4,
		.underlay6 = r->config.address6.family == 6,
		.rng = &rng_system,
		.control = relayd_control_ops(r),
		.link_bits = LINK_BITS,
		.circuit_bits = CIRCUIT_BITS,
		.links_most = LINKS_MOST + HALF_OPEN_MOST,
		.circuits_most = 2 * (CIRCUITS_MOST + BUILDS_PENDING_MOST),
		.pool_packets = POOL_PACKETS,
		.offloads_off = r->config.offloads_off,
	};
	int e;

	if (r->exit)
		c.inner = exit_inner(r->exit);
	e = engine_new(&c, &r->engine, err);
	if (!e)
		engine_env(r->engine)->periods = &r->periods;
	return e;
}

static int open_onion(struct relayd *r, nsec_t now, char *err)
{
	struct links_config lc = {
		.env = engine_env(r->engine),
		.ops = relayd_links_ops(r),
		.role = ROLE_RELAY,
		.responds = true,
		.net_id = r->net.net_id,
		.max_dgram = DATAGRAM_FULL_MOST,
		.links_most = LINKS_MOST,
		.half_open_most = HALF_OPEN_MOST,
		.inits_per_s_busy = COOKIE_INITS_PER_S,
	};
	struct circuits_config cc = {
		.env = lc.env,
		.ops = relayd_circuits_ops(r),
		.onion_key = relayd_links_ops(r).onion_key,
		.is_exit = r->exit != NULL,
		.circuits_most = CIRCUITS_MOST,
		.replay_entries = BUILD_REPLAY_ENTRIES,
	};

	memcpy(lc.id, r->keys.identity.public_key, 32);
	memcpy(cc.id, lc.id, 32);
	r->links = links_new(&lc, now);
	cc.links = r->links;
	r->circuits = r->links ? circuits_new(&cc, now) : NULL;
	if (r->circuits)
		return 0;
	snprintf(err, RELAY_ERROR_BYTES, "no memory for the tables of links and circuits");
	return -ENOMEM;
}

static int open_exit(struct relayd *r, char *err)
{
	int e = exit_new(&r->config.exit, r->keys.identity.public_key, &r->exit, err);
	return e ? e : exit_host_up(r->exit, worker_count(r), err);
}

static int start_exit(struct relayd *r, nsec_t now, char *err)
{
	struct addr own[2];
	size_t n = 0;

	if (r->config.address4.family)
		own[n++] = r->config.address4;
	if (r->config.address6.family)
		own[n++] = r->config.address6;
	return exit_start(r->exit, r->engine, r->circuits, own, n, now, err);
}

static int open_directory(struct relayd *r, nsec_t now, char *err)
{
	const struct dirsync_config c = {
		.base = r->base,
		.net = &r->net,
		.state = r->config.state,
		.rng = &rng_system,
		.ops = relayd_dirsync_ops(r),
		.relay = true,
	};

	r->dirsync = dirsync_new(&c, now);
	if (r->dirsync)
		return 0;
	snprintf(err, RELAY_ERROR_BYTES, "no memory for the directory");
	return -ENOMEM;
}

/* In the order in which each needs the one before it; relayd_close() walks back. What needs root
 * (folders, sockets of the control thread) comes first; capabilities go before the first thread
 * starts, since each thread has its own. */
int relayd_open(struct relayd *r, nsec_t now, char *err)
{
	int e = prepare_folders(r, err);

	if (!e)
		e = relayd_open_loop(r, err);
	if (!e)
		e = status_open(r, &r->status, err);
	if (!e)
		e = publish_open(r, &r->publish, err);
	if (!e)
		e = process_drop(r->config.user, r->config.exit.present, err);
	if (!e)
		e = load_keys(r, err);
	if (!e && r->config.exit.present)
		e = open_exit(r, err);
	if (!e)
		e = open_engine(r, err);
	if (!e)
		e = open_onion(r, now, err);
	if (!e)
		e = open_directory(r, now, err);
	if (!e && r->exit)
		e = start_exit(r, now, err);
	return e;
}

static void free_event(struct event *e)
{
	if (e)
		event_free(e);
}

void relayd_close(struct relayd *r, nsec_t now)
{
	publish_close(r->publish);
	status_close(r->status);
	if (r->exit && r->engine)
		exit_stop(r->exit, now);
	circuits_free(r->circuits);
	links_free(r->links);
	engine_free(r->engine);
	dirsync_free(r->dirsync);
	if (r->exit)
		exit_host_down(r->exit);
	exit_free(r->exit);
	deadline_free(r->deadline);
	free_event(r->tick);
	free_event(r->sig_term);
	free_event(r->sig_int);
	free_event(r->sig_hup);
	relay_keys_done(&r->keys);
}
