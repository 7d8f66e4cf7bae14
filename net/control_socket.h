/* net/control_socket.h - the file side of the control socket: lock, stale files, owner and mode, who connects.
 * For control.c and control_client.c alone. */
#pragma once
#include <sys/types.h>
#include <sys/un.h>
#include "net/control.h"

#define CONTROL_NO_GROUP ((gid_t)-1)

struct control_socket {
	int fd;      /* listening, non-blocking */
	int lock_fd; /* PATH.lock, held until closed */
	gid_t gid;   /* the group it was given to, or CONTROL_NO_GROUP */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

/* Bind and listen as control_open says. 0 or -errno, then nothing is left behind. */
int control_socket_open(struct control_socket *s, const struct control_config *c)
	__attribute__((warn_unused_result));
/* Close, and remove the socket's file; the lock's file stays, unlocked. */
void control_socket_close(struct control_socket *s);
/* Who is at the other end of fd. 0 or -errno. */
int control_socket_peer(const struct control_socket *s, int fd, struct control_peer *ret)
	__attribute__((warn_unused_result));
/* Fill in the address of path. -ENAMETOOLONG, -EINVAL for an empty one. */
int control_socket_address(const char *path, struct sockaddr_un *ret) __attribute__((warn_unused_result));
