/* tests/bench/network.c - see network.h. */
#include "tests/bench/network.h"
#include <errno.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/bytes.h"
#include "base/clock.h"
#include "base/zbase32.h"
#include "crypto/kdf.h"
#include "daemon/dircache.h"
#include "relay/keys.h"

#define PORT	      4400
#define NET_ID	      7777
#define FRESH_SECONDS 43200 /* no run is so long, so the relay never fetches */
#define VALID_SECONDS 86400
#define PAST_SECONDS  60 /* what is signed now is valid since then */

static int fail(char *err, int code, const char *what)
{
	snprintf(err, NETWORK_ERROR_BYTES, "%s: %s", what, strerror(-code));
	return code;
}

/* --- files --- */

__attribute__((format(printf, 3, 4))) static int write_text(const struct network *n,
							    const char *name, const char *fmt, ...)
{
	char path[96];
	va_list args;
	snprintf(path, sizeof(path), "%s/%s", n->folder, name);
	FILE *f = fopen(path, "we");
	if (!f)
		return -errno;
	va_start(args, fmt);
	bool good = vfprintf(f, fmt, args) >= 0;
	va_end(args);
	return fclose(f) == 0 && good ? 0 : -EIO;
}

static int make_folder(struct network *n)
{
	char path[96];
	snprintf(n->folder, sizeof(n->folder), "/tmp/relay-load.XXXXXX");
	if (!mkdtemp(n->folder)) {
		n->folder[0] = 0;
		return -errno;
	}
	snprintf(n->config, sizeof(n->config), "%s/relay.ini", n->folder);
	snprintf(n->log, sizeof(n->log), "%s/relay.log", n->folder);
	snprintf(n->socket, sizeof(n->socket), "%s/run/relay.sock", n->folder);
	snprintf(path, sizeof(path), "%s/state", n->folder);
	return mkdir(path, 0700) < 0 ? -errno : 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path);
}

static int write_configs(const struct network *n, const struct sign_keypair *authority,
			 unsigned workers, const char *engine)
{
	char key[ZBASE32_KEY_CHARS + 1], address[ADDR_TEXT_BYTES];
	zbase32_encode_key(authority->public_key, key);
	/* Nobody answers at port 9: what the relay would post there is of no use here. */
	int e = write_text(n, "network.conf",
			   "[network]\nid = %u\nk = 1\nauthority = %s http://127.0.0.1:9\n"
			   "subnet-rule = no\nconsensus-fresh = %u\n",
			   n->net_id, key, FRESH_SECONDS);
	if (e)
		return e;
	return write_text(n, "relay.ini",
			  "[relay]\nstate = %s/state\nrun = %s/run\nnetwork = %s/network.conf\n"
			  "address4 = %s\nworkers = %u\nengine = %s\nlog = warn\n",
			  n->folder, n->folder, n->folder, addr_text(&n->relay.addr, address),
			  workers, engine);
}

/* --- keys --- */

static int make_relay_keys(struct network *n, struct sign_keypair *ret_id, char *err)
{
	struct relay_keys k = {.n = 0};
	char state[64];
	snprintf(state, sizeof(state), "%s/state", n->folder);
	int e = relay_keys_create(state, &rng_system, err);
	if (!e)
		e = relay_keys_load(&k, state, VALID_SECONDS, 2 * VALID_SECONDS,
				    clock_unix_seconds(), &rng_system, err);
	if (e)
		return e;
	*ret_id = k.identity;
	memcpy(n->relay.id, k.identity.public_key, 32);
	memcpy(n->relay.onion_key, k.onion[k.n - 1].about.public_key, 32);
	n->relay.keyid = k.onion[k.n - 1].about.keyid;
	relay_keys_done(&k);
	return 0;
}

static int make_members(struct network *n, unsigned members)
{
	n->member = calloc(members, sizeof(*n->member));
	if (!n->member)
		return -ENOMEM;
	n->n = members;
	for (unsigned i = 0; i < members; i++) {
		struct member *m = &n->member[i];
		sign_keypair_new(&m->id, &rng_system);
		onion_keypair_new(&m->onion, &rng_system);
		m->addr = addr_from_ip((uint8_t[]){127, 1, (uint8_t)(i >> 8), (uint8_t)i}, 4, PORT);
	}
	return 0;
}

/* --- the directory --- */

/* What gathers while it is made; consensus and directory take it over or not. */
struct papers {
	struct consensus body; /* unsigned */
	struct writer blob;    /* {u16 len, descriptor}... */
};

static int add_relay(struct papers *p, const struct sign_keypair *id, const struct addr *addr,
		     uint16_t keyid, const uint8_t onion_key[32])
{
	uint8_t bytes[DESCRIPTOR_MAX_BYTES];
	size_t n = 0;
	uint64_t since = clock_unix_seconds() - PAST_SECONDS;
	struct descriptor d = {.published = since,
			       .valid_until = since + VALID_SECONDS,
			       .nkeys = 1,
			       .flags = RELAY_FLAG_GUARD,
			       .v4 = *addr,
			       .max_dgram = DATAGRAM_FULL_MOST,
			       .mbit = 1000};
	d.key[0] = (struct onion_key){.keyid = keyid, .from = since, .to = since + VALID_SECONDS};
	memcpy(d.key[0].public_key, onion_key, 32);
	int e = descriptor_write(&d, id, bytes, sizeof(bytes), &n);
	if (e)
		return e;
	struct consensus_relay *r = &p->body.relay[p->body.nrelays++];
	memcpy(r->id, id->public_key, 32);
	descriptor_hash(bytes, n, r->hash);
	r->flags = d.flags;
	r->weight = d.mbit;
	writer_u16(&p->blob, (uint16_t)n);
	writer_put(&p->blob, bytes, n);
	return p->blob.bad ? -EMSGSIZE : 0;
}

static int by_id(const void *a, const void *b)
{
	return memcmp(((const struct consensus_relay *)a)->id,
		      ((const struct consensus_relay *)b)->id, 32);
}

static int describe_all(const struct network *n, const struct sign_keypair *relay_id,
			struct papers *p)
{
	int e = add_relay(p, relay_id, &n->relay.addr, n->relay.keyid, n->relay.onion_key);
	for (unsigned i = 0; i < n->n && !e; i++)
		e = add_relay(p, &n->member[i].id, &n->member[i].addr, MEMBER_KEYID,
			      n->member[i].onion.public_key);
	qsort(p->body.relay, p->body.nrelays, sizeof(*p->body.relay), by_id);
	return e;
}

static int sign_body(struct consensus *c, const struct sign_keypair *authority, uint8_t **ret,
		     size_t *ret_n)
{
	uint8_t *body = NULL;
	size_t n = 0;
	int e = consensus_write(c, false, &body, &n);
	if (e)
		return e;
	hash(c->body_hash, body, n);
	free(body);
	c->nsignatures = 1;
	c->signature[0].authority = 0;
	e = consensus_sign(c->body_hash, authority, c->signature[0].sig);
	return e ? e : consensus_write(c, true, ret, ret_n);
}

/* Read it back as the relay will, and write it where the relay looks for it. */
static int store(const struct network *n, const struct papers *p, const uint8_t *bytes,
		 size_t nbytes, char *err)
{
	struct netconf conf;
	struct consensus *c = NULL;
	struct directory *d = NULL;
	char path[96];
	snprintf(path, sizeof(path), "%s/network.conf", n->folder);
	int e = netconf_load(path, &conf, err);
	if (e)
		return e;
	enum dir_result r = consensus_accept(&conf, NULL, clock_unix_seconds(), bytes, nbytes, &c);
	if (r == DIR_OK)
		r = directory_new(c, &conf.params, p->blob.start, p->blob.used, NULL, &d);
	if (r != DIR_OK) {
		consensus_free(c);
		snprintf(err, NETWORK_ERROR_BYTES, "the directory: %s", dir_result_text(r));
		return -EINVAL;
	}
	snprintf(path, sizeof(path), "%s/state", n->folder);
	e = d->n == n->n + 1 ? dircache_write(path, d, err)
			     : fail(err, -EINVAL, "a relay is missing in the directory");
	directory_free(d);
	return e;
}

static int write_directory(const struct network *n, const struct sign_keypair *authority,
			   const struct sign_keypair *relay_id, char *err)
{
	uint64_t since = clock_unix_seconds() - PAST_SECONDS;
	size_t room = (n->n + 1) * (2 + (size_t)DESCRIPTOR_MAX_BYTES), nbytes = 0;
	struct papers p = {.body = {.net_id = n->net_id,
				    .serial = since,
				    .valid_after = since,
				    .fresh_until = since + FRESH_SECONDS,
				    .valid_until = since + VALID_SECONDS}};
	uint8_t *blob = malloc(room), *bytes = NULL;
	int e = -ENOMEM;
	p.body.relay = calloc(n->n + 1, sizeof(*p.body.relay));
	writer_init(&p.blob, blob, room);
	if (blob && p.body.relay)
		e = describe_all(n, relay_id, &p);
	if (!e)
		e = sign_body(&p.body, authority, &bytes, &nbytes);
	if (e)
		fail(err, e, "the directory could not be made");
	else
		e = store(n, &p, bytes, nbytes, err);
	free(p.body.relay);
	free(blob);
	free(bytes);
	return e;
}

/* --- life --- */

int network_new(struct network *n, unsigned members, unsigned workers, const char *engine,
		char *err)
{
	struct sign_keypair authority, relay_id;
	memset(n, 0, sizeof(*n));
	n->net_id = NET_ID;
	n->relay.addr = addr_from_ip((uint8_t[]){127, 0, 0, 1}, 4, PORT);
	sign_keypair_new(&authority, &rng_system);
	int e = make_folder(n);
	if (!e)
		e = write_configs(n, &authority, workers, engine);
	if (!e)
		e = make_members(n, members);
	if (e)
		return fail(err, e, "the relay's folder could not be made");
	e = make_relay_keys(n, &relay_id, err);
	if (!e)
		e = write_directory(n, &authority, &relay_id, err);
	sign_keypair_done(&relay_id);
	sign_keypair_done(&authority);
	return e;
}

void network_done(struct network *n)
{
	for (unsigned i = 0; i < n->n; i++)
		wipe(&n->member[i], sizeof(n->member[i]));
	free(n->member);
	if (n->folder[0] && nftw(n->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS) < 0)
		fprintf(stderr, "%s is left behind: %s\n", n->folder, strerror(errno));
	memset(n, 0, sizeof(*n));
}
