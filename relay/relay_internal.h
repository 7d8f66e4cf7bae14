/* relay/relay_internal.h - the daemon's parts, for relay.c, relay_open.c, publish.c, status.c. */
#pragma once
#include <stdbool.h>
#include "daemon/deadline.h"
#include "daemon/dirsync.h"
#include "engine/engine.h"
#include "exit/exit.h"
#include "onion/circuits.h"
#include "onion/links.h"
#include "relay/config.h"
#include "relay/keys.h"

struct event;
struct event_base;
struct publish;
struct status;

struct relayd {
	const char *config_path;
	struct relay_config config;
	struct netconf net;
	struct periods periods;
	struct relay_keys keys;
	struct event_base *base;
	struct engine *engine;
	struct links *links;
	struct circuits *circuits;
	struct exit *exit; /* NULL: a relay that is none */
	struct dirsync *dirsync;
	struct publish *publish;
	struct status *status;
	struct deadline *deadline; /* links, circuits, sessions */
	struct event *tick;	   /* once a second: keys, descriptor */
	struct event *sig_term, *sig_int, *sig_hup;
	nsec_t keys_retry; /* a rotation that failed is tried again then */
	nsec_t ask_anew;   /* before that an unknown relay is no reason to fetch the directory */
	bool draining;
	nsec_t started;
};

/* publish.c: the descriptor, its way to the authorities, the directory mirror. */
int publish_open(struct relayd *r, struct publish **ret, char *err)
	__attribute__((warn_unused_result));
void publish_close(struct publish *p);
/* Something in the descriptor changed, or it grows old: sign and send it. */
void publish_now(struct publish *p, nsec_t now);
void publish_tick(struct publish *p, nsec_t now);
/* The mirror serves another directory from now on. */
void publish_directory_changed(struct publish *p);

/* status.c: the control socket RUN/relay.sock. */
int status_open(struct relayd *r, struct status **ret, char *err)
	__attribute__((warn_unused_result));
void status_close(struct status *s);

/* relay_open.c: make all parts. 0, or -errno with a sentence in err[RELAY_ERROR_BYTES];
 * relayd_close() either way. */
int relayd_open(struct relayd *r, nsec_t now, char *err) __attribute__((warn_unused_result));
void relayd_close(struct relayd *r, nsec_t now);

/* relay.c: whom the parts call. */
int relayd_open_loop(struct relayd *r, char *err) __attribute__((warn_unused_result));
struct links_ops relayd_links_ops(struct relayd *r);
struct circuits_ops relayd_circuits_ops(struct relayd *r);
struct engine_control_ops relayd_control_ops(struct relayd *r);
struct dirsync_ops relayd_dirsync_ops(struct relayd *r);

/* relay.c: set the timer to the earliest deadline; call after anything that may have moved one. */
void relayd_rearm(struct relayd *r, nsec_t now);
