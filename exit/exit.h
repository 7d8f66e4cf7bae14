/* exit/exit.h - what makes a relay an exit: accounts, leases, policy, NAT, the inner packets' way.
 *
 * The relay daemon sees this header alone (and exit/accounts.h for `token`). Control thread, but for the two inner
 * operations, which run on the engine's workers.
 *
 * Life: exit_new, exit_host_up, engine_new(.inner = exit_inner()), exit_start; then exit_stop, engine_free,
 * exit_host_down, exit_free.
 */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/clock.h"
#include "base/config.h"
#include "directory/policy.h"
#include "engine/engine.h"
#include "onion/circuits.h"

#define EXIT_ERROR_BYTES 384
#define EXIT_DNS_MOST    3
#define EXIT_DEFAULT_MTU 1371 /* inner MTU at 1,440 B and 3 hops */

/* The [exit] section of relay.ini, read by exit_config_rows into a struct exit_settings at some offset. */
struct exit_settings {
	bool present;           /* set by the relay when the section stands */
	char interface[16];     /* TUN; default sxexit0 */
	struct prefix lease4;   /* family 0: no IPv4 leases */
	struct prefix lease6;
	struct addr dns[EXIT_DNS_MOST]; /* what GRANT names; reachable through the exit */
	unsigned ndns;
	struct policy policy;   /* as given; what is private or ours is refused before it unless allow_private */
	bool has_policy;        /* false: the default, all but port 25 */
	bool allow_private;     /* default no */
	bool open;              /* method 0 (no token) is granted; default no */
	bool notrack;           /* keep the relay's datagrams from connection tracking; default yes */
	uint32_t sessions_most;
	uint64_t idle_s;
	struct addr relay4, relay6; /* the relay's own, with the port; the relay sets them */
	unsigned offloads_off;  /* the relay sets it */
	char journal[200];      /* undo journal; the relay sets it from its run folder */
	char accounts[200];     /* SQLite file; the relay sets it from its state folder */
};

void exit_settings_init(struct exit_settings *s);
/* Append the [exit] rows to rows (room for EXIT_CONFIG_ROWS); offsets count from `base`. Returns how many. */
#define EXIT_CONFIG_ROWS 16
size_t exit_config_rows(struct config_row *rows, size_t base);
/* Do the settings fit together? 0 or -EINVAL with a sentence that names the key. */
int exit_settings_check(const struct exit_settings *s, char err[EXIT_ERROR_BYTES]) __attribute__((warn_unused_result));

struct exit;

/* Open the accounts, make the lease table. Changes nothing on the host. */
int exit_new(const struct exit_settings *s, const uint8_t id[32], struct exit **ret, char err[EXIT_ERROR_BYTES])
	__attribute__((warn_unused_result));
void exit_free(struct exit *x);
/* Take back what a dead exit left (journal), check, open the TUN with `queues` queues, addresses, forwarding, NAT. */
int exit_host_up(struct exit *x, unsigned queues, char err[EXIT_ERROR_BYTES]) __attribute__((warn_unused_result));
/* Take it all back. */
void exit_host_down(struct exit *x);
/* Worker-side operations for engine_config.inner. */
struct engine_inner_ops exit_inner(struct exit *x);
/* The engine runs and circuits stand: sessions may begin. addresses: the relay's own, never reached from inside. */
int exit_start(struct exit *x, struct engine *e, struct circuits *c, const struct addr *addresses, size_t n, nsec_t now,
	       char err[EXIT_ERROR_BYTES]) __attribute__((warn_unused_result));
void exit_stop(struct exit *x, nsec_t now);
/* Relays' addresses of the current directory: refused as inner destinations (published to workers; copied). */
int exit_set_relays(struct exit *x, const struct addr *relays, size_t n) __attribute__((warn_unused_result));
/* New settings after SIGHUP: policy, allow-private, open; what stands in force stays so after a failure. -ENOTSUP with a
 * sentence for what needs a restart: interface, leases, folders, and (the sessions have a copy) dns, sessions, idle; the
 * policy's hash in GRANT is renewed by a restart too. */
int exit_reload(struct exit *x, const struct exit_settings *s, char err[EXIT_ERROR_BYTES])
	__attribute__((warn_unused_result));

/* What the relay passes on. */
bool exit_on_end(struct exit *x, struct circuit *c, const uint8_t h[32], const uint8_t res[32], nsec_t now);
void exit_on_end_gone(struct exit *x, struct circuit *c, nsec_t now);
void exit_on_plain(struct exit *x, struct circuit *c, const uint8_t *plain, size_t n, size_t datagram, nsec_t now);
void exit_on_note(struct exit *x, const uint8_t *note, size_t n, nsec_t now);
nsec_t exit_next_deadline(const struct exit *x);
void exit_on_timer(struct exit *x, nsec_t now);
/* The policy as it goes into the descriptor: the effective one, with what is private in front. */
const struct policy *exit_policy(const struct exit *x);
/* For status: {"sessions":…,"leases":…,"bytes":{"up","down"},…}; NULL without memory. No names, no leases by address. */
json_t *exit_status(const struct exit *x);
