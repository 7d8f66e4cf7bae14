/* client/config.h - client.ini. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/config.h"
#include "base/log.h"
#include "daemon/settings.h"
#include "onion/wire.h"

#define CLIENT_CONFIG_DEFAULT "/etc/sispopnet/client.ini"
#define CLIENT_SOCKET_DEFAULT "/run/sispopnet/vpn.sock"

struct client_config {
	char socket[108];   /* control socket */
	char group[33];	    /* that may change; default sispopnet */
	char state[160];    /* guards, directory cache; 0700 */
	char run[160];	    /* undo journal */
	char network[200];  /* network.conf */
	char interface[16]; /* of the TUN */
	char resolv_conf[200];
	uint32_t table, mark;
	uint32_t workers; /* 0: one per core */
	char engine[SETTINGS_ENGINE_BYTES];
	unsigned offloads_off; /* bits of enum offload, the environment's among them */
	bool underlay4, underlay6;
	enum padding padding;
	bool standby; /* keep a second path */
	bool notrack; /* keep our datagrams from connection tracking */
	enum log_level log;
};

/* Read and check; a missing default file gives the defaults. 0 or -errno with one sentence in
 * err[CONFIG_ERROR_BYTES]. */
int client_config_load(const char *path, struct client_config *ret, char *err)
	__attribute__((warn_unused_result));
