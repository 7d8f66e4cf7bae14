/* routing/sysctl.h - private to routing/: read and write /proc/sys. */
#pragma once
#include <stddef.h>

#define SYSCTL_VALUE_BYTES 32
#define SYSCTL_PATH_BYTES  128

/* Read `name` ("net/ipv4/ip_forward") without the newline into value[SYSCTL_VALUE_BYTES]. -ENOENT:
 * no such. */
int sysctl_read(const char *name, char *value) __attribute__((warn_unused_result));
int sysctl_write(const char *name, const char *value) __attribute__((warn_unused_result));
