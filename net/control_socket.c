/* net/control_socket.c - bind the control socket so that only a dead daemon's file is replaced.
 *
 * A lock on PATH.lock, which the kernel drops when its holder dies, makes look-then-replace safe
 * against a second daemon that starts in the same moment. The test connection finds a live one that
 * knows no lock.
 */
#include "net/control_socket.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODE_DEFAULT 0660
#define GROUPS_MAX   1024 /* of one peer; more than that do not count */

int control_socket_address(const char *path, struct sockaddr_un *ret)
{
	size_t n = strlen(path);
	if (n == 0) /* the kernel would choose a name for us */
		return -EINVAL;
	if (n >= sizeof(ret->sun_path))
		return -ENAMETOOLONG;
	memset(ret, 0, sizeof(*ret));
	ret->sun_family = AF_UNIX;
	memcpy(ret->sun_path, path, n + 1);
	return 0;
}

static int take_lock(struct control_socket *s)
{
	char path[sizeof(s->path) + sizeof(".lock")];
	snprintf(path, sizeof(path), "%s.lock", s->path);
	s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->lock_fd < 0)
		return -errno;
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EADDRINUSE : -errno;
	return 0;
}

/* True when somebody accepts connections at the address. Takes EAGAIN (a full backlog) for life. */
static bool is_live(const struct sockaddr_un *sun)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return true; /* unknown: harm nobody */
	int result = connect(fd, (const struct sockaddr *)sun, sizeof(*sun));
	bool dead = result < 0 && (errno == ECONNREFUSED || errno == ENOENT);
	close(fd);
	return !dead;
}

/* Make the path free: nothing there, or the socket of a dead daemon, which is removed. */
static int clear_path(const struct sockaddr_un *sun)
{
	struct stat st;
	if (lstat(sun->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	if (is_live(sun))
		return -EADDRINUSE;
	return unlink(sun->sun_path) < 0 ? -errno : 0;
}

/* The group's id; CONTROL_NO_GROUP when there is none of this name. */
static int group_find(const char *name, gid_t *ret)
{
	*ret = CONTROL_NO_GROUP;
	if (!name)
		return 0;
	errno = 0;
	struct group *g = getgrnam(name); /* at start, on the only thread */
	if (g)
		*ret = g->gr_gid;
	else if (errno != 0 && errno != ENOENT && errno != ESRCH)
		return -errno;
	return 0;
}

/* Give what was bound to the group and open it up as far as wanted. The folder may belong to the
 * user that we become later: by name alone he could have us open up another file. */
static int open_up(const struct control_socket *s, mode_t mode)
{
	char name[32];
	struct stat st;
	int err = 0, fd = open(s->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	if (fstat(fd, &st) < 0)
		err = -errno;
	else if (!S_ISSOCK(st.st_mode) || st.st_uid != geteuid() || st.st_nlink != 1)
		err = -EEXIST;
	else if (s->gid != CONTROL_NO_GROUP &&
		 fchownat(fd, "", (uid_t)-1, s->gid, AT_EMPTY_PATH) < 0)
		err = -errno;
	else if (chmod(name, mode) < 0)
		err = -errno;
	close(fd);
	return err;
}

/* Bind with mode 0600 (the kernel takes it from the unbound socket), then open up as far as wanted.
 */
static int bind_path(struct control_socket *s, const struct sockaddr_un *sun, mode_t mode)
{
	if (fchmod(s->fd, 0600) < 0)
		return -errno;
	if (bind(s->fd, (const struct sockaddr *)sun, sizeof(*sun)) < 0)
		return -errno;
	int err = open_up(s, mode ? mode : MODE_DEFAULT);
	if (err == 0 && listen(s->fd, CONTROL_CLIENTS_MAX) < 0)
		err = -errno;
	if (err < 0)
		unlink(s->path);
	return err;
}

int control_socket_open(struct control_socket *s, const struct control_config *c)
{
	struct sockaddr_un sun;
	int err = control_socket_address(c->path, &sun);
	if (err < 0)
		return err;
	*s = (struct control_socket){.fd = -1, .lock_fd = -1};
	memcpy(s->path, sun.sun_path, sizeof(s->path));
	err = group_find(c->group, &s->gid);
	if (err == 0)
		err = take_lock(s);
	if (err == 0)
		err = clear_path(&sun);
	if (err < 0)
		goto out;
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	err = s->fd < 0 ? -errno : bind_path(s, &sun, c->mode);
out:
	if (err < 0) {
		if (s->fd >= 0)
			close(s->fd);
		if (s->lock_fd >= 0)
			close(s->lock_fd);
	}
	return err;
}

void control_socket_close(struct control_socket *s)
{
	unlink(s->path); /* before the lock goes: it is still ours */
	close(s->fd);
	close(s->lock_fd);
}

/* True when gid is among the groups that the peer had when it connected. */
static bool has_group(int fd, gid_t primary, gid_t gid)
{
	if (primary == gid)
		return true;
	gid_t *groups = calloc(GROUPS_MAX, sizeof(*groups));
	socklen_t bytes = GROUPS_MAX * sizeof(*groups);
	bool found = false;
	if (groups && getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &bytes) == 0)
		for (size_t i = 0; i < bytes / sizeof(*groups); i++)
			found = found || groups[i] == gid;
	free(groups);
	return found;
}

int control_socket_peer(const struct control_socket *s, int fd, struct control_peer *ret)
{
	struct ucred cred;
	socklen_t n = sizeof(cred);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) < 0)
		return -errno;
	ret->pid = cred.pid;
	ret->uid = cred.uid;
	ret->gid = cred.gid;
	ret->may_change = cred.uid == 0 || cred.uid == geteuid() ||
			  (s->gid != CONTROL_NO_GROUP && has_group(fd, cred.gid, s->gid));
	return 0;
}
