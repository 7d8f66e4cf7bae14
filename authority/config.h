/* authority/config.h - authority.ini.
 *
 *	[authority]
 *	listen = 192.0.2.1:8400                 its HTTP server
 *	address = 198.51.100.7:8400             how others reach it, where that is not `listen`
 *	state = /var/lib/sispopnet/authority    key, descriptors, consensus, what was signed
 *	network = /etc/sispopnet/network.conf
 *	max-relays = 4096                       descriptors that it keeps
 *	revoked = NAME.sispop                   never to be listed; once for each
 *	user = _sispopnet                       whom to become when started as root
 *	log = info
 */
#pragma once
#include <stdint.h>
#include "base/addr.h"
#include "base/config.h"
#include "directory/consensus.h"
#include "directory/netconf.h"

#define AUTHORITY_CONFIG_PATH "/etc/sispopnet/authority.ini"
#define AUTHORITY_PATH_BYTES  256
#define AUTHORITY_FILE_BYTES  (AUTHORITY_PATH_BYTES + 32) /* a file's path in `state` */
#define AUTHORITY_REVOKED_MAX 256

struct authority_config {
	struct addr listen, address;
	char state[AUTHORITY_PATH_BYTES];
	char network[AUTHORITY_PATH_BYTES];
	char user[64];
	char log[8];
	uint32_t max_relays;
	uint16_t nrevoked;
	uint8_t revoked[AUTHORITY_REVOKED_MAX][32]; /* sorted, distinct */
};

/* Read and check the file. 0, or a negative error with one sentence in err[CONFIG_ERROR_BYTES]. */
int authority_config_load(const char *path, struct authority_config *ret, char *err)
	__attribute__((warn_unused_result));
/* STATE/name into buf[AUTHORITY_FILE_BYTES]; returns buf. */
const char *authority_file(const struct authority_config *c, const char *name, char *buf);
