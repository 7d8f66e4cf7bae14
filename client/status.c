/* client/status.c - what `status` tells: the JSON of docs/CONTROL.md, schema 1. */
#include <stdio.h>
#include <string.h>
#include "base/offload.h"
#include "base/zbase32.h"
#include "client/client.h"

static const char *const state_words[] = {"off", "connecting", "up", "blocked"};

static json_t *addr_json(const struct addr *a)
{
	char text[ADDR_TEXT_BYTES];

	return a->family ? json_string(addr_ip_text(a, text)) : json_null();
}

static json_t *exit_json(const struct client *c, const struct carrier *k)
{
	char name[NAME_BYTES];
	const struct addr *a = &k->address4;

	if (!a->family || !c->config.underlay4)
		a = k->address6.family ? &k->address6 : a;
	name_from_id(k->id, name);
	return json_pack("{s:s,s:o}", "name", name, "address", addr_json(a));
}

static json_t *lease_json(const struct carrier *k)
{
	const struct msg_grant *g = &k->grant;
	json_t *dns = json_array();

	for (unsigned i = 0; i < g->ndns; i++)
		json_array_append_new(dns, addr_json(&g->dns[i]));
	return json_pack("{s:o,s:o,s:o,s:i}", "ipv4", addr_json(&g->lease4), "ipv6",
			 addr_json(&g->lease6), "dns", dns, "mtu", (int)k->mtu);
}

static json_t *ranges_json(const struct ranges *r)
{
	json_t *list = json_array();
	char text[ADDR_TEXT_BYTES];

	for (size_t i = 0; i < r->n; i++)
		json_array_append_new(list, json_string(prefix_text(&r->range[i], text)));
	return list;
}

static json_t *hops_json(const struct path *p)
{
	json_t *hops = json_array();
	char name[NAME_BYTES];

	for (unsigned i = 0; i < path_hops(p); i++) {
		const struct link_target *t = &path_hop(p, i)->target;
		name_from_id(t->id, name);
		json_array_append_new(
			hops, json_pack("{s:s,s:o}", "name", name, "address", addr_json(&t->addr)));
	}
	return hops;
}

static json_t *path_json(const struct path_set *s, const struct path *p, nsec_t now)
{
	return json_pack("{s:s,s:o,s:f,s:f,s:f}", "role",
			 path_set_role(s, p) == PATH_PRIMARY ? "primary" : "standby", "hops",
			 hops_json(p), "rtt_ms", (double)path_set_rtt(s, p) / NSEC_PER_MSEC,
			 "built_in_ms", (double)path_built_in(p) / NSEC_PER_MSEC, "age_s",
			 (double)(now - path_ready_at(p)) / NSEC_PER_SEC);
}

static json_t *paths_json(const struct carrier *k, nsec_t now)
{
	json_t *paths = json_array();
	struct path *p;

	for (unsigned i = 0; (p = path_set_path(k->paths, i)); i++)
		json_array_append_new(paths, path_json(k->paths, p, now));
	return paths;
}

static json_t *drops_json(const struct client *c)
{
	uint64_t n[DROP_COUNT];
	json_t *o = json_object();

	engine_drops(c->engine, n);
	for (unsigned d = 1; d < DROP_COUNT; d++)
		if (n[d])
			json_object_set_new(o, drop_name((enum drop)d),
					    json_integer((json_int_t)n[d]));
	return o;
}

static json_t *directory_json(struct client *c, nsec_t now)
{
	const struct directory *d = dirsync_current(c->dirsync, now);

	if (!d)
		return json_pack("{s:b,s:s}", "valid", 0, "why", dirsync_error(c->dirsync));
	return json_pack("{s:b,s:I,s:I,s:I}", "valid", 1, "serial",
			 (json_int_t)d->consensus->serial, "relays", (json_int_t)d->n,
			 "valid_until", (json_int_t)d->consensus->valid_until);
}

json_t *status_json(struct client *c)
{
	const struct carrier *k = c->carrier;
	nsec_t now = clock_now();
	char offloads[OFFLOADS_TEXT_BYTES];
	uint64_t up, down;
	json_t *o;

	inner_bytes(c->inner, &up, &down);
	o = json_pack("{s:i,s:s,s:o,s:o,s:o,s:o,s:{s:I,s:I},s:o,s:o,s:s,s:s,s:f}", "schema", 1, "state",
		      state_words[c->state], "exit", k ? exit_json(c, k) : json_null(), "lease",
		      k && k->granted ? lease_json(k) : json_null(), "ranges",
		      k ? ranges_json(&k->ranges) : json_array(), "paths",
		      k ? paths_json(k, now) : json_array(), "bytes", "up", (json_int_t)up, "down",
		      (json_int_t)down, "drops", drops_json(c), "directory", directory_json(c, now),
		      "engine", aead_engine_name(), "offloads",
		      offloads_text(engine_offloads(c->engine), offloads), "up_s",
		      c->up_since ? (double)(now - c->up_since) / NSEC_PER_SEC : 0.0);
	if (o && c->state == CLIENT_BLOCKED)
		json_object_set_new(o, "why", json_string(c->blocked_why));
	return o;
}
