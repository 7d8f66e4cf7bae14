/* directory/netconf.h - network.conf: which network, whose signatures, where, and the periods.
 *
 *	[network]
 *	id = 7                                 a number of one's own
 *	k = 2                                  signatures needed, more than half
 *	authority = KEY http://192.0.2.1:8080  for each, as `sispopnet-authority init` prints it
 *	subnet-rule = no                       only on a test network
 *	path-lifetime = 60s                    and so on: the words of directory/params.h
 */
#pragma once
#include <stdint.h>
#include "base/addr.h"
#include "base/config.h"
#include "directory/params.h"

#define NETCONF_AUTHORITIES_MAX 16
#define NETCONF_DEFAULT_PATH	"/etc/sispopnet/network.conf"

struct netconf_authority {
	uint8_t key[32];  /* Ed25519 */
	struct addr addr; /* of its HTTP server */
};

struct netconf {
	uint32_t net_id;
	uint8_t k; /* n / 2 < k <= n */
	uint8_t n;
	struct netconf_authority authority[NETCONF_AUTHORITIES_MAX]; /* by key: the index is its
									number on the wire */
	struct params params;
};

/* Read and check the file. 0; or -EINVAL / -errno with one sentence "FILE:LINE: …" in
 * err[CONFIG_ERROR_BYTES]. *ret is untouched after a failure. */
int netconf_load(const char *path, struct netconf *ret, char *err)
	__attribute__((warn_unused_result));
/* The same from memory; `name` stands for the file in errors. */
int netconf_load_text(const char *name, const char *text, struct netconf *ret, char *err)
	__attribute__((warn_unused_result));
/* The number of the authority with this key, or -1. */
int netconf_find(const struct netconf *c, const uint8_t key[32]);
