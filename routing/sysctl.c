/* routing/sysctl.c - see routing/sysctl.h. */
#include "routing/sysctl.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int open_sysctl(const char *name, int flags)
{
	char path[sizeof("/proc/sys/") + SYSCTL_PATH_BYTES];
	int n = snprintf(path, sizeof(path), "/proc/sys/%s", name);
	if (n < 0 || (size_t)n >= sizeof(path))
		return -ENAMETOOLONG;
	int fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int sysctl_read(const char *name, char *value)
{
	int fd = open_sysctl(name, O_RDONLY);
	if (fd < 0)
		return fd;
	char text[SYSCTL_VALUE_BYTES];
	ssize_t n = read(fd, text, sizeof(text) - 1);
	int rc = n < 0 ? -errno : 0;
	close(fd);
	if (rc < 0)
		return rc;
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	memcpy(value, text, strlen(text) + 1);
	return 0;
}

int sysctl_write(const char *name, const char *value)
{
	int fd = open_sysctl(name, O_WRONLY);
	if (fd < 0)
		return fd;
	ssize_t n = write(fd, value, strlen(value));
	int rc = n < 0 ? -errno : 0;
	close(fd);
	return rc;
}
