/* daemon/settings.h - readers of config values that several daemons share (base/config.h). */
#pragma once
#include "base/config.h"

#define SETTINGS_ENGINE_BYTES 16

/* The AES engine, into char[SETTINGS_ENGINE_BYTES]; the level of the log, into enum log_level; offloads that may not
 * be used, into unsigned (base/offload.h). */
config_read_fn settings_engine, settings_log, settings_offloads;
