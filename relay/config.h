/* relay/config.h - relay.ini. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/config.h"
#include "base/log.h"
#include "daemon/settings.h"
#include "exit/exit.h"

#define RELAY_CONFIG_DEFAULT "/etc/sispopnet/relay.ini"

struct relay_config {
	char state[160];		/* identity, onion keys, accounts, directory cache; 0700 */
	char run[160];			/* control socket, undo journal */
	char network[200];		/* network.conf */
	struct addr address4, address6; /* advertised and bound */
	uint16_t dir_port;		/* HTTP mirror on address4 / address6; 0: none */
	char nickname[21];
	char contact[101];
	char family[65]; /* 64 hex digits, or empty */
	uint32_t bandwidth_mbit;
	uint32_t workers; /* 0: one per core */
	char engine[SETTINGS_ENGINE_BYTES];  /* auto, ipsec-mb, openssl */
	unsigned offloads_off; /* bits of enum offload, the environment's among them */
	char user[33];	  /* become this user; empty: stay */
	enum log_level log;
	struct exit_settings exit;
};

/* Read and check. 0 or -errno with one sentence "FILE:LINE: …" in err[CONFIG_ERROR_BYTES]. */
int relay_config_load(const char *path, struct relay_config *ret, char *err)
	__attribute__((warn_unused_result));
