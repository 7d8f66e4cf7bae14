/* authority/authority.h - sispopnet-authority run: what its files share. One thread, the libevent
 * loop's. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "authority/config.h"
#include "authority/prober.h"
#include "authority/relays.h"
#include "authority/round.h"
#include "crypto/sign.h"
#include "directory/directory.h"
#include "net/http.h"

#define FILE_KEY	   "identity.key" /* 32 B: the seed of the Ed25519 key */
#define FILE_CONSENSUS	   "consensus"
#define FILE_DESCRIPTORS   "descriptors"
#define FILE_SIGNED	   "signed"

#define EARLY_ROUND_MS	   1000
#define ROUND_MAX_MS	   30000 /* or a quarter of the interval */
#define EARLY_ROUNDS_FREE  5	 /* early rounds a second apart; then the gap doubles */
#define PROBE_PERIOD_MAX_S 600
#define PEER_TIMEOUT_MS	   5000

struct event_base;
struct event;
struct authority;

struct peer {
	struct authority *authority;
	unsigned number; /* in network.conf */
};

struct authority {
	struct authority_config config;
	struct netconf net;
	struct sign_keypair key;
	uint8_t me; /* our number */
	struct event_base *base;
	struct event *timer, *sigterm, *sigint;
	struct http_server *server;
	struct addr friends[NETCONF_AUTHORITIES_MAX]; /* the authorities' addresses */
	struct http_client *client;
	struct prober *prober;
	struct relays relays;
	struct directory *current;			     /* NULL: no consensus yet */
	struct http_body *consensus_body, *descriptors_body; /* of current, as served */
	struct peer peer[NETCONF_AUTHORITIES_MAX];

	bool in_round;
	struct round round;	/* the last one stays for late signatures; serial 0: none yet */
	uint64_t second;	/* last one that was looked at */
	uint64_t slot;		/* last interval whose regular round began */
	unsigned early;		/* early rounds since the last regular one */
	uint64_t early_at;	/* the next may begin */
	uint64_t signed_serial; /* the largest that we signed a body for, also on disk */
	uint8_t signed_hash[32];
};

/* authority/agree.c - rounds, and what goes to and comes from the other authorities. */
uint64_t authority_interval(const struct authority *a);
uint64_t authority_within(const struct authority *a); /* seconds that an answer of a relay counts */
uint64_t authority_now_ms(void);
/* Begin and advance rounds that are due. */
void agree_tick(struct authority *a);
/* ms since 1970 of the next moment when agree_tick() has something to do. */
uint64_t agree_next_ms(const struct authority *a);
/* {u32 len, vote}… from another authority. Returns the HTTP status and a sentence. */
int agree_on_votes(struct authority *a, const uint8_t *p, size_t n, const char **ret_text);
int agree_on_signature(struct authority *a, const uint8_t *p, size_t n, const char **ret_text);
/* Ask all others for their consensus. */
void agree_ask(struct authority *a);

/* authority/store.c - the current consensus, in memory, on disk and as served; what was signed. */
int store_open(struct authority *a, char *err) __attribute__((warn_unused_result));
void store_close(struct authority *a);
/* Take a consensus, ours or another authority's, if it is newer. */
enum dir_result store_take_consensus(struct authority *a, const uint8_t *p, size_t n);
/* The same body with more signatures. */
void store_resigned(struct authority *a, const uint8_t *p, size_t n);
/* Descriptors that the current consensus names and we lack, from {u16 len, descriptor}…. */
void store_take_descriptors(struct authority *a, const uint8_t *p, size_t n);
/* Remember on disk that `serial` stands for this body, before it is signed. -EPERM when it stands
 * for another one or is smaller than one signed before. */
int store_may_sign(struct authority *a, uint64_t serial, const uint8_t hash[32])
	__attribute__((warn_unused_result));
void store_save_descriptors(struct authority *a);

/* authority/serve.c - the HTTP server. */
int serve_open(struct authority *a, char *err) __attribute__((warn_unused_result));
/* Test all addresses of one relay. -EBUSY when too many are under test: try again in a second. */
int probe_relay(struct authority *a, struct known_relay *r, uint64_t now_s);
/* The prober's answer; `arg` is the authority. */
probe_done_fn serve_on_probe;

/* authority/run.c: a round may have begun: look again when the timer must fire. */
void authority_rearm(struct authority *a);

/* The commands; they return the exit status. */
int authority_init(const char *config);
int authority_run(const char *config);
int authority_show(const char *config, bool json);
