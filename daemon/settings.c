/* daemon/settings.c - see settings.h. */
#include "daemon/settings.h"
#include <stdio.h>
#include <string.h>
#include "base/log.h"
#include "base/offload.h"

const char *settings_engine(const char *value, void *to, const void *arg)
{
	(void)arg;
	if (strcmp(value, "auto") && strcmp(value, "ipsec-mb") && strcmp(value, "openssl"))
		return "auto, ipsec-mb or openssl";
	snprintf(to, SETTINGS_ENGINE_BYTES, "%s", value);
	return NULL;
}

const char *settings_log(const char *value, void *to, const void *arg)
{
	(void)arg;
	return log_level_parse(value, to) ? "error, warn, info or debug" : NULL;
}

const char *settings_offloads(const char *value, void *to, const void *arg)
{
	(void)arg;
	return offloads_parse(value, to) ? OFFLOADS_EXPECTED : NULL;
}
