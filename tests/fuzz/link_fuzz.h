/* tests/fuzz/link_fuzz.h - one party with links for the fuzzers of link datagrams: fresh and the
 * same for each input. */
#pragma once
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"
#include "onion/link_priv.h"
#include "unit/seeded.h"

#define FUZZ_NET   7
#define FUZZ_KEYID 1
#define FUZZ_NOW   (1000 * NSEC_PER_SEC)
#define FUZZ_UNIX  UINT64_C(1700000000)

struct fuzz_party {
	struct seeded seed;
	struct rng rng;
	struct links *links;
	struct onion_env env;
	struct periods periods;
	struct drops drops;
	struct onion_keypair key;
	uint8_t id[32];
	struct addr other;
	/* the last datagram that it sent */
	uint8_t sent[DATAGRAM_MAX];
	size_t sent_bytes;
	unsigned sent_count;
};

static inline void expect(bool fact)
{
	if (!fact)
		abort();
}

static inline void fuzz_send(void *arg, const struct addr *to, const uint8_t *d, size_t n)
{
	struct fuzz_party *p = arg;
	expect(n <= sizeof(p->sent) && addr_equal(to, &p->other));
	memcpy(p->sent, d, n);
	p->sent_bytes = n;
	p->sent_count++;
}

static inline void fuzz_retire(void *arg, void *object, void (*free_fn)(void *object))
{
	(void)arg;
	free_fn(object);
}

static inline void fuzz_event(void *arg, struct link *l, nsec_t now)
{
	(void)arg;
	(void)now;
	expect(link_data_of(l) != NULL);
}

static inline void fuzz_failed(void *arg, struct link *l, int why, nsec_t now)
{
	(void)arg;
	(void)now;
	expect(why < 0 && !link_is_up(l));
}

static inline void fuzz_frame(void *arg, struct link *l, enum frame_type type, const uint8_t *data,
			      size_t n, nsec_t now)
{
	(void)arg;
	(void)now;
	expect(link_is_up(l) && n > 0 && n == ctrl_frame_bytes(type));
	uint8_t read_all[HASH_BYTES];
	hash(read_all, data, n);
}

static inline bool fuzz_relay_at(void *arg, const struct addr *a, uint8_t ret_id[32])
{
	(void)arg;
	(void)a;
	memset(ret_id, 9, 32);
	return true;
}

static inline const struct onion_keypair *fuzz_key(void *arg, uint16_t keyid)
{
	struct fuzz_party *p = arg;
	return keyid == FUZZ_KEYID ? &p->key : NULL;
}

static inline uint64_t fuzz_unix(void *arg)
{
	(void)arg;
	return FUZZ_UNIX;
}

static inline void fuzz_party_init(struct fuzz_party *p, enum link_role role, uint64_t seed)
{
	static struct aead_ctx *aead;
	memset(p, 0, sizeof(*p));
	if (!aead) {
		expect(crypto_init() == 0 && aead_engine_choose("openssl") == 0);
		aead = aead_ctx_new();
	}
	p->rng = seeded_rng(&p->seed, seed);
	onion_keypair_new(&p->key, &p->rng);
	rng_bytes(&p->rng, p->id, sizeof(p->id));
	expect(addr_parse("192.0.2.1:1000", &p->other) == 0);
	p->periods = (struct periods)PERIODS_DEFAULT;
	p->env = (struct onion_env){.arg = p,
				    .send = fuzz_send,
				    .retire = fuzz_retire,
				    .rng = &p->rng,
				    .aead = aead,
				    .drops = &p->drops,
				    .links = slots_new(8, 64),
				    .periods = &p->periods};
	struct links_config c = {
		.env = &p->env,
		.ops = {p, fuzz_event, fuzz_failed, fuzz_event, fuzz_frame, fuzz_relay_at, fuzz_key,
			fuzz_unix, fuzz_unix},
		.role = role,
		.responds = role == ROLE_RELAY,
		.net_id = FUZZ_NET,
		.max_dgram = DATAGRAM_FULL_MOST,
		.links_most = 32,
		.half_open_most = 8,
		.inits_per_s_busy = 1000,
		.init_replay_most = 256,
	};
	memcpy(c.id, p->id, sizeof(c.id));
	p->links = links_new(&c, FUZZ_NOW);
	expect(p->links && p->env.links);
}

static inline void fuzz_party_done(struct fuzz_party *p)
{
	links_free(p->links);
	expect(slots_count(p->env.links) == 0);
	slots_free(p->env.links);
}

static inline struct link *fuzz_open(struct fuzz_party *client, const struct fuzz_party *relay)
{
	struct link_target t = {.keyid = FUZZ_KEYID, .addr = client->other};
	memcpy(t.id, relay->id, 32);
	memcpy(t.onion_key, relay->key.public_key, 32);
	struct link *l;
	expect(links_open(client->links, &t, FUZZ_NOW, &l) == 0);
	return l;
}

static inline void fuzz_handshake(struct fuzz_party *p, const uint8_t *d, size_t n)
{
	links_on_handshake(p->links, &p->other, 0, d, n, FUZZ_NOW);
}
