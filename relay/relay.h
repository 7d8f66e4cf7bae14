/* relay/relay.h - the running relay: engine, links, circuits, directory, and the exit when there is
 * one.
 *
 * Control thread only.
 */
#pragma once
#include <stdbool.h>
#include "relay/config.h"

#define RELAY_ERROR_BYTES 512

/* Run until SIGTERM or SIGINT; SIGHUP reads config_path anew. Returns the exit status: 0, 1 a
 * failure at run time (said on stderr), 2 config. */
int relay_run(const char *config_path);
