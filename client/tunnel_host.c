/* client/tunnel_host.c - the exit's word (grant, deny, close), and what of it becomes the host's.
 * Control thread.
 *
 * The host is untouched until the exit granted. A swap changes it in place: the old exit's paths go
 * once the new one granted and the host follows; when the host does not follow, the old grant is
 * put back.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/offload.h"
#include "client/tunnel_state.h"
#include "routing/dns.h"
#include "routing/netinfo.h"

#define IPV6_MTU_LEAST 1280 /* RFC 8200: no IPv6 below it; PROTOCOL.md section 6 */

/* --- the host --- */

struct host_client tunnel_host_settings(const struct client *c, const struct ranges *r,
					const struct msg_grant *g, unsigned mtu)
{
	bool untracked = c->config.notrack && !c->is_tracked;

	return (struct host_client){
		.ifname = c->config.interface,
		.mtu = (uint16_t)mtu,
		.v4 = g->lease4,
		.v6 = g->lease6,
		.table = c->config.table,
		.mark = c->config.mark,
		.ranges = r->range,
		.nranges = r->n,
		.port4 = untracked ? engine_port(c->engine, 4) : 0,
		.port6 = untracked ? engine_port(c->engine, 6) : 0,
	};
}

/* A firewall that lets in nothing but answers knows answers by connection tracking alone. Such a
 * one is not looked for: too many programs write them in too many ways. */
void tunnel_on_silence(struct client *c)
{
	char err[ROUTING_ERROR_BYTES];

	if (!c->tun || c->is_tracked || !c->config.notrack)
		return;
	c->is_tracked = true;
	log_info("nothing comes back: the connection tracker of this host sees the daemon's "
		 "datagrams again, in case a firewall here goes by it");
	if (host_client_track(c->host, err))
		log_warn("%s", err);
}

/* With ranges the system's resolver stays: whoever sends a part through the tunnel asks for the
 * rest beside it. */
static int set_dns(struct client *c, const struct carrier *k, char *err)
{
	const struct msg_grant *g = &k->grant;

	return g->ndns && !k->ranges.n
		       ? dns_set(c->host, c->config.resolv_conf, g->dns, g->ndns, err)
		       : dns_unset(c->host, c->config.resolv_conf, err);
}

static int host_first_up(struct client *c, const struct carrier *k, char *err)
{
	struct host_client h;
	int r = tun_open(c->config.interface, engine_workers(c->engine),
			 OFFLOAD_ALL & ~c->config.offloads_off, &c->tun, err);

	c->is_tracked = false;
	h = tunnel_host_settings(c, &k->ranges, &k->grant, k->mtu);
	if (r)
		return r;
	r = host_client_up(c->host, &h, err);
	if (!r)
		r = set_dns(c, k, err);
	if (!r) {
		r = engine_attach_tun(c->engine, c->tun);
		if (r)
			snprintf(err, ROUTING_ERROR_BYTES,
				 "the TUN's queues could not be served: %s", strerror(-r));
	}
	return r;
}

static int host_change(struct client *c, const struct carrier *k, char *err)
{
	struct host_client h = tunnel_host_settings(c, &k->ranges, &k->grant, k->mtu);
	int r = host_client_change(c->host, &h, err);

	return r ? r : set_dns(c, k, err);
}

/* What is reached beside the tunnel: first the networks that this host is on, then those that it
 * has a route to. */
struct networks {
	struct prefix *list;
	size_t nlocal, n;
};

static int networks_init(struct networks *w, const struct client *c, char *err)
{
	int r;

	w->list = calloc(NETINFO_PREFIXES_MAX, sizeof(*w->list));
	if (!w->list) {
		snprintf(err, ROUTING_ERROR_BYTES, "no memory for the list of local networks");
		return -ENOMEM;
	}
	r = netinfo_direct_prefixes(c->config.interface, w->list, NETINFO_PREFIXES_MAX, &w->nlocal,
				    &w->n, err);
	if (r)
		free(w->list);
	return r;
}

static void networks_done(struct networks *w)
{
	free(w->list);
}

/* Workers and host as k's grant wants them. */
static int apply(struct client *c, struct carrier *k, const struct networks *w, char *err)
{
	int r = inner_set_lease(c->inner, engine_env(c->engine), &k->grant, w->list, w->nlocal);

	if (r) {
		snprintf(err, ROUTING_ERROR_BYTES, "no memory for the lease");
		return r;
	}
	c->host_is_anothers = c->carrier && k != c->carrier;
	return c->tun ? host_change(c, k, err) : host_first_up(c, k, err);
}

int tunnel_host_restore(struct client *c, struct carrier *k, char *err)
{
	struct networks w;
	int r = networks_init(&w, c, err);

	if (r)
		return r;
	r = apply(c, k, &w, err);
	networks_done(&w);
	return r;
}

static void say_left_alone(void *arg, const char *sentence)
{
	(void)arg;
	log_warn("%s", sentence);
}

int tunnel_host_down(struct client *c, char *err)
{
	int r = 0;

	if (host_changes(c->host))
		r = host_undo(c->host, say_left_alone, NULL, err);
	c->host_is_anothers = false;
	if (c->tun) {
		engine_detach_tun(c->engine);
		tun_close(c->tun);
		c->tun = NULL;
	}
	return r;
}

/* --- the grant --- */

/* What the path that asked carries; of an update, what the path in use carries. */
static unsigned path_mtu(const struct carrier *k, const struct msg_grant *g)
{
	const struct path *p = k->granted ? path_set_path(k->paths, 0) : k->first;
	const struct path_data *d = p ? path_data_of(p) : NULL;
	unsigned mtu = d ? inner_mtu(atomic_load(&d->full_dgram), d->slots) : g->mtu;

	return mtu < g->mtu ? mtu : g->mtu;
}

/* Keep of g what the path can carry: below 1,280 no IPv6, and no resolver of a family without a
 * lease. */
static void keep_usable(struct carrier *k, const struct msg_grant *g, unsigned mtu)
{
	unsigned n = 0;

	k->mtu = (uint16_t)mtu;
	k->grant = *g;
	if (mtu < IPV6_MTU_LEAST)
		memset(&k->grant.lease6, 0, sizeof(k->grant.lease6));
	for (unsigned i = 0; i < g->ndns; i++)
		if (g->dns[i].family == 4 ? k->grant.lease4.family : k->grant.lease6.family)
			k->grant.dns[n++] = g->dns[i];
	k->grant.ndns = (uint8_t)n;
}

/* The old exit's paths go once the new one's carry the traffic. Workers let go of them first. */
static void adopt(struct client *c, struct carrier *k, nsec_t now)
{
	struct carrier *old = c->carrier;

	c->next = NULL;
	c->carrier = k;
	c->host_is_anothers = false;
	if (!old)
		return;
	inner_set_active(c->inner,
			 NULL); /* until the new path set says on_active, in this same call */
	path_set_goodbye(old->paths, now);
	carrier_free(old, now);
}

static void on_verified(void *arg, bool ok)
{
	struct client *c = arg;
	nsec_t now = clock_now();

	c->verify = NULL;
	tunnel_verified(c, ok, now);
}

static void go_on_with(struct client *c, struct carrier *k, nsec_t now)
{
	methods_step(c, STEP_TUN, c->config.interface, now);
	adopt(c, k, now);
	verify_cancel(c->verify);
	c->verify = verify_start(c, k, on_verified, c);
	if (!c->verify)
		tunnel_fail(c, FAULT_HOST,
			    "the check of the tunnel could not be started: no socket or no memory");
}

/* The host does not follow the grant. */
static void host_failed(struct client *c, const struct carrier *k, const char *err)
{
	if (tunnel_tries(c, k))
		tunnel_fail(c, FAULT_HOST, "%s", err);
	else
		tunnel_block(c, "the host could not follow a new grant of the exit: %s", err);
}

static void take_grant(struct client *c, struct carrier *k, const struct networks *w, nsec_t now)
{
	const struct msg_grant *g = &k->grant;
	char err[ROUTING_ERROR_BYTES], text[ADDR_TEXT_BYTES];

	if (k == c->next)
		methods_step(c, STEP_SESSION,
			     addr_ip_text(g->lease4.family ? &g->lease4 : &g->lease6, text), now);
	if (apply(c, k, w, err)) {
		host_failed(c, k, err);
		return;
	}
	k->granted = true;
	if (k == c->next)
		go_on_with(c, k, now);
}

static const char *judge(struct carrier *k, const struct msg_grant *g, const struct networks *w)
{
	const char *why = grant_judge(g, w->list, w->n);

	if (why)
		return why;
	keep_usable(k, g, path_mtu(k, g));
	return k->grant.lease4.family || k->grant.lease6.family
		       ? NULL
		       : "the exit granted IPv6 alone, and the path is too narrow for it: try fewer hops";
}

bool tunnel_on_grant(void *arg, const struct msg_grant *g, nsec_t now)
{
	struct carrier *k = arg;
	struct client *c = k->client;
	char err[ROUTING_ERROR_BYTES];
	struct networks w;
	const char *why;

	if (networks_init(&w, c, err)) {
		host_failed(c, k, err);
		return true;
	}
	why = judge(k, g, &w);
	if (!why)
		take_grant(c, k, &w, now);
	else if (tunnel_tries(c, k))
		tunnel_fail(c, FAULT_BAD_GRANT, "%s: it is broken or hostile, use another", why);
	else
		tunnel_block(c, "%s", why);
	networks_done(&w);
	return !why;
}

/* --- no grant, or no longer --- */

void tunnel_on_deny(void *arg, const struct msg_deny *d, nsec_t now)
{
	static const struct {
		enum fault fault;
		const char *text;
	} why[] = {
		[0] = {FAULT_AUTH_BAD,
		       "the exit refused the token for a reason that this version does not know: update "
		       "it, or ask the exit's operator"},
		[DENY_BAD_TOKEN] =
			{FAULT_AUTH_BAD,
			 "the exit does not know this token, or it was revoked: check it, or ask "
			 "the exit's operator for a new one"},
		[DENY_EXPIRED] = {FAULT_AUTH_EXPIRED,
				  "the token has expired: ask the exit's operator for a new one"},
		[DENY_QUOTA] = {FAULT_AUTH_QUOTA,
				"the token's quota is used up: wait, or ask the exit's operator"},
		[DENY_IN_USE] = {FAULT_AUTH_IN_USE,
				 "the token is in use elsewhere: end the other session first"},
		[DENY_FULL] = {FAULT_AUTH_FULL, "the exit is full: try again later or use another"},
		[DENY_POLICY] = {FAULT_AUTH_POLICY,
				 "the exit wants a token: give one with --token-file"},
		[DENY_VERSION] = {FAULT_AUTH_VERSION,
				  "the exit speaks another version: update the older of the two"},
	};
	struct carrier *k = arg;
	unsigned i =
		d->reason < sizeof(why) / sizeof(why[0]) && why[d->reason].text ? d->reason : 0;

	(void)now;
	if (tunnel_tries(k->client, k))
		tunnel_fail(k->client, why[i].fault, "%s", why[i].text);
	else if (k == k->client->carrier) /* it had lost the session and was asked anew */
		tunnel_block(k->client, "%s", why[i].text);
}

void tunnel_on_closed(void *arg, uint8_t reason, nsec_t now)
{
	struct carrier *k = arg;
	struct client *c = k->client;

	(void)now;
	if (tunnel_tries(c, k))
		tunnel_fail(c, FAULT_BAD_GRANT, "the exit closed the session");
	else if (k == c->carrier &&
		 c->state != CLIENT_BLOCKED) /* else the reason is said already */
		tunnel_block(c, "the exit closed the session (%s)",
			     reason == DENY_EXPIRED	? "the token has expired"
			     : reason == DENY_BAD_TOKEN ? "the token was revoked"
			     : reason == DENY_IN_USE
				     ? "another session of the same token took its place"
				     : "by its operator");
}
