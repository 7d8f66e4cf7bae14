/* tests/unit/fake_client.c - see fake_client.h. */
#include "tun/split.h"
#include "unit/fake_client.h"
#include <errno.h>
#include "crypto/aead.h"
#include "routing/dns.h"
#include "routing/netinfo.h"
#include "tun/ip.h"
#include "unit/inner_packets.h"

#define RELAYS 6
#define EXITS  3

struct fake_client *fake;

static void must(bool good)
{
	if (!good)
		abort();
}

/* --- path sets --- */

struct path_set *path_set_new(const struct path_set_config *c, nsec_t now)
{
	struct path_set *s = calloc(1, sizeof(*s));
	(void)now;
	must(s);
	s->cfg = *c;
	for (unsigned i = 0; i < 2; i++) {
		s->path[i].user = s;
		s->path[i].data.slots = 3;
		s->path[i].data.control = &s->path[i];
		atomic_store(&s->path[i].data.full_dgram, 1440);
		for (unsigned h = 0; h < 3; h++)
			s->path[i].hop[h].target.addr =
				addr_from_ip((uint8_t[]){192, 0, 2, (uint8_t)(1 + h)}, 4, 4500);
	}
	fake->sets++;
	return s;
}

void path_set_start(struct path_set *s, nsec_t now)
{
	(void)now;
	s->started = true;
}

/* What a worker could still seal on must have been taken from it. */
void path_set_free(struct path_set *s, nsec_t now)
{
	if (!s)
		return;
	if (s->bound)
		s->cfg.ops.on_active(s->cfg.ops.arg, NULL, now);
	for (unsigned i = 0; i < 2; i++)
		must(fake_traffic() != &s->path[i].data);
	fake->sets--;
	free(s);
}

int path_set_token(struct path_set *s, const uint8_t *seed, nsec_t now)
{
	(void)now;
	if (s->has_token)
		return -EALREADY;
	s->has_token = true;
	s->has_seed = seed != NULL;
	if (seed)
		memcpy(s->seed, seed, 32);
	return 0;
}

void path_set_goodbye(struct path_set *s, nsec_t now)
{
	(void)now;
	s->goodbye = true;
}

void path_set_on_ready(struct path_set *s, struct path *p, nsec_t now)
{
	(void)s, (void)p, (void)now;
}

void path_set_on_gone(struct path_set *s, struct path *p, int hop, enum build_status status,
		      nsec_t now)
{
	(void)s, (void)p, (void)hop, (void)status, (void)now;
}

void path_set_on_plain(struct path_set *s, struct path_data *p, const uint8_t *plain, size_t n,
		       size_t datagram, nsec_t now)
{
	(void)s, (void)p, (void)plain, (void)n, (void)datagram, (void)now;
}

void path_set_on_timer(struct path_set *s, nsec_t now)
{
	(void)s, (void)now;
}

nsec_t path_set_next_deadline(const struct path_set *s)
{
	(void)s;
	return NSEC_NEVER;
}

struct path *path_set_path(const struct path_set *s, unsigned i)
{
	return i == 0 && s->bound ? (struct path *)&s->path[s->serving] : NULL;
}

enum path_role path_set_role(const struct path_set *s, const struct path *p)
{
	(void)s, (void)p;
	return PATH_PRIMARY;
}

nsec_t path_set_rtt(const struct path_set *s, const struct path *p)
{
	(void)s, (void)p;
	return 12 * NSEC_PER_MSEC;
}

unsigned path_hops(const struct path *p)
{
	(void)p;
	return 3;
}

const struct path_hop *path_hop(const struct path *p, unsigned i)
{
	return &p->hop[i];
}

struct path_data *path_data_of(const struct path *p)
{
	return (struct path_data *)&p->data;
}

nsec_t path_ready_at(const struct path *p)
{
	(void)p;
	return 0;
}

nsec_t path_built_in(const struct path *p)
{
	(void)p;
	return 7 * NSEC_PER_MSEC;
}

void *path_user(const struct path *p)
{
	return p->user;
}

int hops_choose(struct client *c, const struct carrier *k, const struct path_query *q,
		struct path_hop *ret, unsigned *ret_n, char *why)
{
	(void)c, (void)k, (void)q, (void)ret, (void)ret_n, (void)why;
	return 0;
}

void hops_on_built(struct client *c, const struct path *p)
{
	(void)c, (void)p;
}

void hops_on_failed(struct client *c, const struct path *p, int hop, nsec_t now)
{
	(void)c, (void)p, (void)hop, (void)now;
}

void links_close_all(struct links *s, enum close_reason why, nsec_t now)
{
	(void)s, (void)why, (void)now;
	fake->links_closed++;
}

/* --- directory --- */

const struct directory *dirsync_current(struct dirsync *s, nsec_t now)
{
	(void)s, (void)now;
	return fake->directory;
}

void dirsync_refresh(struct dirsync *s, nsec_t now)
{
	(void)s, (void)now;
	fake->refreshed++;
}

const char *dirsync_error(const struct dirsync *s)
{
	(void)s;
	return "authority 1 is silent";
}

enum dir_result dirsync_result(const struct dirsync *s)
{
	(void)s;
	return fake->dir_result;
}

/* --- the host --- */

static int told(int code, char *err, const char *what)
{
	if (code)
		snprintf(err, ROUTING_ERROR_BYTES, "%s failed: mend it", what);
	return code;
}

int host_client_check(struct host *h, const struct host_client *c, char *err)
{
	(void)h, (void)c;
	return told(fake->fail_check, err, "check");
}

int host_client_up(struct host *h, const struct host_client *c, char *err)
{
	(void)h;
	must(fake->tun_is_open);
	fake->ups++;
	fake->journal += fake->fail_up ? 0 : 5;
	fake->host = *c;
	return told(fake->fail_up, err, "up");
}

int host_client_change(struct host *h, const struct host_client *c, char *err)
{
	(void)h;
	must(fake->tun_is_open);
	fake->changes++;
	fake->host = *c;
	return told(fake->fail_change, err, "change");
}

int host_client_track(struct host *h, char *err)
{
	(void)h, (void)err;
	must(fake->tun_is_open);
	fake->tracks++;
	fake->host.port4 = fake->host.port6 = 0;
	return 0;
}

size_t host_changes(const struct host *h)
{
	(void)h;
	return fake->journal;
}

int host_undo(struct host *h, host_say_fn *say, void *arg, char *err)
{
	(void)h, (void)say, (void)arg;
	fake->undos++;
	if (!fake->fail_undo)
		fake->journal = 0;
	return told(fake->fail_undo, err, "undo");
}

int dns_set(struct host *h, const char *path, const struct addr *servers, size_t n, char *err)
{
	(void)h, (void)path;
	fake->dns_sets++;
	memcpy(fake->dns, servers, n * sizeof(*servers));
	fake->ndns = n;
	fake->journal += fake->fail_dns ? 0 : 1;
	return told(fake->fail_dns, err, "dns");
}

int dns_unset(struct host *h, const char *path, char *err)
{
	(void)h, (void)path, (void)err;
	fake->dns_unsets++;
	return 0;
}

/* One network that this host is on, and one that it has a route to. */
int netinfo_direct_prefixes(const char *except, struct prefix *ret, size_t max, size_t *ret_nlocal,
			    size_t *ret_n, char *err)
{
	(void)except, (void)max, (void)err;
	must(!prefix_parse("192.168.1.0/24", &ret[0]));
	must(!prefix_parse("10.55.0.0/16", &ret[1]));
	*ret_nlocal = 1;
	*ret_n = 2;
	return 0;
}

int tun_open(const char *name, unsigned queues, unsigned offloads, struct tun **ret, char *err)
{
	(void)name, (void)queues, (void)offloads;
	must(!fake->tun_is_open);
	if (fake->fail_tun)
		return told(fake->fail_tun, err, "tun");
	fake->tun_is_open = true;
	*ret = (struct tun *)&fake->tun_is_open;
	return 0;
}

void tun_close(struct tun *t)
{
	must(t && fake->tun_is_open && !fake->attached);
	fake->tun_is_open = false;
}

/* --- engine --- */

struct onion_env *engine_env(struct engine *e)
{
	(void)e;
	return &fake->env;
}

unsigned engine_offloads(const struct engine *e)
{
	(void)e;
	return 0;
}

unsigned engine_workers(const struct engine *e)
{
	(void)e;
	return 1;
}

uint16_t engine_port(const struct engine *e, uint8_t family)
{
	(void)e;
	return family == 4 ? 40004 : 40006;
}

int engine_attach_tun(struct engine *e, struct tun *t)
{
	(void)e, (void)t;
	fake->attached = !fake->fail_attach;
	return fake->fail_attach;
}

void engine_detach_tun(struct engine *e)
{
	(void)e;
	fake->attached = false;
}

void engine_drops(const struct engine *e, uint64_t ret[DROP_COUNT])
{
	(void)e;
	memset(ret, 0, DROP_COUNT * sizeof(ret[0]));
	ret[DROP_INNER_SOURCE] = 3;
}

static void retire(void *arg, void *object, void (*free_fn)(void *))
{
	(void)arg;
	free_fn(object);
}

struct worker {
	char none;
};

struct pkt *worker_get(struct worker *w)
{
	(void)w;
	return NULL;
}

void worker_put(struct worker *w, struct pkt *k)
{
	(void)w, (void)k;
}

void worker_drop(struct worker *w, struct pkt *k, enum drop why)
{
	(void)w, (void)k, (void)why;
}

void worker_drop_frame(struct worker *w, const struct tun_frame *f, enum drop why)
{
	(void)w, (void)f, (void)why;
}

void worker_to_tun(struct worker *w, struct pkt *k, const struct ip_view *v)
{
	(void)v;
	(void)w, (void)k;
}

void worker_frame_to_path(struct worker *w, struct path_data *p, const struct tun_frame *f)
{
	(void)w, (void)f;
	fake->sealed_on = p;
}

struct path_data *fake_traffic(void)
{
	struct engine_inner_ops ops = inner_ops(fake->c.inner);
	struct addr from = fake->host.v4;
	struct worker w;
	const struct virtio_net_hdr h = {.gso_type = VIRTIO_NET_HDR_GSO_NONE};
	uint8_t packet[128];
	struct tun_frame f;
	size_t n = make_packet(packet, 4, IP_UDP, 40);
	fake->sealed_on = NULL;
	memcpy(packet + 12, from.ip, 4);
	must(frame_parse(&h, packet, n, &f) == 0);
	if (fake->attached)
		ops.from_tun(ops.arg, &w, &f);
	return fake->sealed_on;
}

/* --- verification and the loop --- */

struct verify *verify_start(struct client *c, const struct carrier *k,
			    void (*done)(void *arg, bool ok), void *arg)
{
	(void)c, (void)k;
	must(!fake->verifying);
	fake->verifying = true;
	fake->verified = done;
	fake->verified_arg = arg;
	return (struct verify *)&fake->verifying;
}

void verify_cancel(struct verify *v)
{
	if (v)
		fake->verifying = false;
}

void client_rearm(struct client *c, nsec_t now)
{
	(void)c, (void)now;
}

void client_defer(struct client *c)
{
	(void)c;
	fake->deferred = true;
}

void fake_turn(void)
{
	while (fake->deferred) {
		fake->deferred = false;
		tunnel_deferred(&fake->c, clock_now());
	}
}

/* --- what happens --- */

static struct path_set_ops *ops_of(struct carrier *k)
{
	return &k->paths->cfg.ops;
}

static struct path *serving(struct carrier *k)
{
	return &k->paths->path[k->paths->serving];
}

void fake_built(struct carrier *k)
{
	ops_of(k)->on_event(ops_of(k)->arg, PATH_SET_BUILT, serving(k), -1, BUILD_OK, clock_now());
	fake_turn();
}

void fake_found(struct carrier *k)
{
	ops_of(k)->on_active(ops_of(k)->arg, &serving(k)->data, clock_now());
	ops_of(k)->on_event(ops_of(k)->arg, PATH_SET_SWITCHED, serving(k), -1, BUILD_OK,
			    clock_now());
}

void fake_lost(struct carrier *k)
{
	ops_of(k)->on_active(ops_of(k)->arg, NULL, clock_now());
	ops_of(k)->on_event(ops_of(k)->arg, PATH_SET_LOST, NULL, -1, BUILD_OK, clock_now());
	fake_turn();
}

/* As session_client.c and path_set.c do it. */
bool fake_grant(struct carrier *k, const struct msg_grant *g)
{
	bool taken = ops_of(k)->on_grant(ops_of(k)->arg, g, clock_now());
	if (!taken) {
		ops_of(k)->on_closed(ops_of(k)->arg, CLOSE_PROTOCOL, clock_now());
	} else if (!k->paths->bound) {
		k->paths->bound = true;
		fake_found(k);
	}
	fake_turn();
	return taken;
}

void fake_deny(struct carrier *k, uint8_t reason)
{
	const struct msg_deny d = {.reason = reason};
	ops_of(k)->on_deny(ops_of(k)->arg, &d, clock_now());
	fake_turn();
}

void fake_closed(struct carrier *k, uint8_t reason)
{
	if (k->paths->bound)
		fake_lost(k);
	ops_of(k)->on_closed(ops_of(k)->arg, reason, clock_now());
	fake_turn();
}

void fake_failed(struct carrier *k)
{
	ops_of(k)->on_event(ops_of(k)->arg, PATH_SET_FAILED, serving(k), 1, BUILD_NEXT_DOWN,
			    clock_now());
	fake_turn();
}

void fake_verified(bool ok)
{
	must(fake->verifying);
	fake->verifying = false;
	fake->verified(fake->verified_arg, ok);
	fake_turn();
}

/* --- the world --- */

const uint8_t *fake_exit(unsigned i)
{
	return fake->sample.id[RELAYS - EXITS + i].public_key;
}

struct wish fake_wish(unsigned exit)
{
	struct wish w = {.exits = 1, .hops = 3, .timeout = 30 * NSEC_PER_SEC};
	memcpy(w.exit[0].id, fake_exit(exit), 32);
	return w;
}

struct msg_grant fake_grant_of(unsigned n)
{
	struct msg_grant g = {.mtu = 1371, .ndns = 2, .max_paths = 4};
	g.lease4 = addr_from_ip((uint8_t[]){10, 73, 0, (uint8_t)n}, 4, 0);
	g.lease6 = addr_from_ip((uint8_t[16]){0xfd, 0x53, [15] = (uint8_t)n}, 16, 0);
	must(!addr_parse_ip("2620:fe::fe", &g.dns[0]) && !addr_parse_ip("9.9.9.9", &g.dns[1]));
	return g;
}

void fake_up(unsigned exit, unsigned lease)
{
	static const uint8_t seed[32] = {1, 2, 3};
	struct wish w = fake_wish(exit);
	struct msg_grant g = fake_grant_of(lease);
	char err[ROUTING_ERROR_BYTES];
	must(tunnel_up(&fake->c, &w, clock_now(), err) == FAULT_NONE);
	must(tunnel_seed(&fake->c, w.exit[0].id, seed, clock_now()) == 0);
	fake_built(fake->c.next);
	must(fake_grant(fake->c.next, &g));
	fake_verified(true);
	must(fake->c.state == CLIENT_UP);
}

struct fake_client *fake_client_new(void)
{
	fake = calloc(1, sizeof(*fake));
	must(fake && !aead_engine_choose("openssl"));
	sample_init(&fake->sample, 5, 1, 1, RELAYS, EXITS);
	fake->whole = fake->directory = sample_directory(&fake->sample);
	fake->dir_result = DIR_CUT;
	fake->env.retire = retire;
	fake->c.attempt_over = true;
	fake->c.inner = inner_new();
	must(fake->c.inner);
	strcpy(fake->c.config.interface, "sispop0");
	strcpy(fake->c.config.resolv_conf, "/etc/resolv.conf");
	fake->c.config.notrack = true;
	return fake;
}

void fake_client_free(void)
{
	char err[ROUTING_ERROR_BYTES];
	fake->fail_undo = 0;
	must(!tunnel_down(&fake->c, clock_now(), err));
	must(!fake->sets && !fake->tun_is_open && !fake->verifying && !fake->journal);
	inner_free(fake->c.inner);
	directory_free(fake->whole);
	free(fake);
	fake = NULL;
}
