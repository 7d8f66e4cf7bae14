/* client/tunnel_state.h - what tunnel.c, tunnel_carrier.c and tunnel_host.c share; nobody else
 * includes it.
 *
 *  OFF         up: CONNECTING
 *  CONNECTING  a packet came back: UP. Failed, or down: OFF
 *  UP          all paths are lost: CONNECTING, and UP again as soon as one serves. The exit closed
 *              the session, or a swap left an exit that does not serve: BLOCKED. Down: OFF
 *  BLOCKED     up, and a packet came back: UP. Down: OFF
 *
 * While CONNECTING after having been up, and while BLOCKED, the routes stay: nothing leaves beside
 * the tunnel.
 */
#pragma once
#include "client/client.h"

/* tunnel.c */
void tunnel_set_state(struct client *c, enum client_state s);
/* The attempt failed: it is ended from the event loop, since a path set must not be freed under its
 * own feet. The first reason counts; none does when no attempt runs. */
void tunnel_fail(struct client *c, enum fault f, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* No traffic until the user says what next, though there is a carrier: sentence why. */
void tunnel_block(struct client *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The check of the tunnel ended: a packet came back, or none did. */
void tunnel_verified(struct client *c, bool ok, nsec_t now);
/* True while an attempt runs that stands or falls with k. */
bool tunnel_tries(const struct client *c, const struct carrier *k);

/* tunnel_carrier.c: paths to one exit. NULL without memory. */
struct carrier *carrier_new(struct client *c, const uint8_t id[32], unsigned hops, nsec_t now);
void carrier_free(struct carrier *k, nsec_t now);

/* tunnel_host.c: what the exit grants, and what of it becomes the host's. */
bool tunnel_on_grant(void *arg, const struct msg_grant *g, nsec_t now);
void tunnel_on_deny(void *arg, const struct msg_deny *d, nsec_t now);
void tunnel_on_closed(void *arg, uint8_t reason, nsec_t now);
/* What host_client_up() will be asked for. */
struct host_client tunnel_host_settings(const struct client *c, const struct ranges *r,
					const struct msg_grant *g, unsigned mtu);
/* Give the host back: routes, rules, DNS; then the TUN. 0 or -errno with a sentence in
 * err[ROUTING_ERROR_BYTES]; what is left stands in the journal and is tried again by the next call.
 */
int tunnel_host_down(struct client *c, char *err);
/* After a swap that failed half-way: the host as k's grant wants it. */
int tunnel_host_restore(struct client *c, struct carrier *k, char *err);
