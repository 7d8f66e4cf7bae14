/* tests/unit/fake_client.h - the client's state machine among parts that do what the test says:
 * path sets, host, TUN, directory, verification. One world at a time. Linked instead of
 * onion/path_set.c, routing/, tun/, engine/, daemon/. */
#pragma once
#include "client/client.h"
#include "unit/directory_sample.h"

struct path {
	struct path_data data;
	struct path_hop hop[3];
	void *user;
};

struct path_set {
	struct path_set_config cfg;
	struct path path[2]; /* the second one: a successor */
	unsigned serving;    /* which of them */
	bool started, bound, goodbye, has_token, has_seed;
	uint8_t seed[32];
};

struct fake_client {
	struct client c;
	struct sample sample;
	struct directory *whole, *directory; /* the second is what dirsync has; NULL: none */
	enum dir_result dir_result;
	unsigned refreshed;
	struct onion_env env;
	/* the host */
	int fail_check, fail_tun, fail_up, fail_change, fail_dns, fail_attach, fail_undo;
	unsigned ups, changes, tracks, undos, dns_sets, dns_unsets;
	size_t journal; /* changes that stand */
	struct host_client host;
	struct addr dns[3];
	size_t ndns;
	bool tun_is_open, attached;
	/* the rest */
	bool deferred, verifying;
	void (*verified)(void *arg, bool ok);
	void *verified_arg;
	unsigned links_closed, sets;
	struct path_data *sealed_on; /* where the last packet of the TUN went */
};

extern struct fake_client *fake;

struct fake_client *fake_client_new(void);
void fake_client_free(void);
/* Exit i of the directory's three. */
const uint8_t *fake_exit(unsigned i);
/* One exit, a token that is still to come, 3 hops, 30 s. */
struct wish fake_wish(unsigned exit);
/* What the exit grants: 10.73.0.N and fd53::N, one resolver of each family. */
struct msg_grant fake_grant_of(unsigned n);
void fake_up(unsigned exit, unsigned lease); /* all the way */

/* What happens to a carrier (fake->c.next or .carrier). The event loop's turn follows. */
void fake_built(struct carrier *k);
bool fake_grant(struct carrier *k, const struct msg_grant *g);
void fake_deny(struct carrier *k, uint8_t reason);
void fake_closed(struct carrier *k, uint8_t reason);
void fake_failed(struct carrier *k);
void fake_lost(struct carrier *k);
void fake_found(struct carrier *k);
void fake_verified(bool ok);
void fake_turn(void); /* of the event loop: what was deferred */
/* Send a packet into the TUN: the path that it goes out on; NULL: none. */
struct path_data *fake_traffic(void);
