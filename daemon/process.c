/* daemon/process.c - see process.h. Capabilities by libcap, the bounding set by prctl. */
#include "daemon/process.h"
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail(char *err, int code, const char *what)
{
	snprintf(err, PROCESS_ERROR_BYTES, "%s: %s", what, strerror(-code));
	return code;
}

int process_harden(void)
{
	const struct rlimit none = {0, 0};

	umask(077);
	if (setrlimit(RLIMIT_CORE, &none) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return -errno;
	if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		return -errno;
	return 0;
}

static const struct passwd *find_user(const char *user, char *err)
{
	const struct passwd *pw = getpwnam(user); /* at start, on the only thread */

	if (!pw)
		snprintf(
			err, PROCESS_ERROR_BYTES,
			"there is no user \"%.64s\": add one with `adduser --system`, or change `user`",
			user);
	return pw;
}

static int become(const char *user, char *err)
{
	const struct passwd *pw = find_user(user, err);

	if (!pw)
		return -ENOENT;
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || initgroups(pw->pw_name, pw->pw_gid) < 0 ||
	    setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) < 0 ||
	    setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) < 0)
		return fail(err, -errno, "could not become the user of `user`");
	return 0;
}

static int cut_bounding_set(bool keep_net_admin)
{
	for (int c = 0; c <= cap_max_bits() && prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++)
		if (!(keep_net_admin && c == CAP_NET_ADMIN) &&
		    prctl(PR_CAPBSET_READ, c, 0, 0, 0) == 1 &&
		    prctl(PR_CAPBSET_DROP, c, 0, 0, 0) < 0 && errno != EPERM)
			return -errno;
	return 0;
}

static int set_capabilities(bool net_admin)
{
	const cap_value_t want = CAP_NET_ADMIN;
	cap_t caps = cap_init();
	int ret = 0;

	if (!caps)
		return -ENOMEM;
	if (net_admin && (cap_set_flag(caps, CAP_PERMITTED, 1, &want, CAP_SET) < 0 ||
			  cap_set_flag(caps, CAP_EFFECTIVE, 1, &want, CAP_SET) < 0))
		ret = -errno;
	if (!ret && cap_set_proc(caps) < 0)
		ret = -errno;
	cap_free(caps);
	return ret;
}

bool process_has_net_admin(void)
{
	cap_flag_value_t v = CAP_CLEAR;
	cap_t caps = cap_get_proc();

	if (!caps)
		return false;
	cap_get_flag(caps, CAP_NET_ADMIN, CAP_PERMITTED, &v);
	cap_free(caps);
	return v == CAP_SET;
}

int process_drop(const char *user, bool keep_net_admin, char *err)
{
	bool net_admin = keep_net_admin && process_has_net_admin();
	int r = cut_bounding_set(keep_net_admin);

	if (r)
		return fail(err, r, "could not cut the capability bounding set");
	if (user && *user && geteuid() == 0) {
		r = become(user, err);
		if (r)
			return r;
	}
	r = set_capabilities(net_admin);
	if (r)
		return fail(err, r, "could not drop capabilities");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return fail(err, -errno, "could not set no_new_privs");
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) /* a change of uid resets it */
		return fail(err, -errno, "could not forbid core dumps");
	return 0;
}

static int folder_failed(const char *path, const char *what, char *err)
{
	int code = -errno;

	snprintf(err, PROCESS_ERROR_BYTES,
		 "the folder %.120s %s: %s; make it, or give another one in the config", path, what,
		 strerror(-code));
	return code;
}

/* Never through a symbolic link: who could put one there would choose whose folder it is. */
static int give_folder(const char *path, const char *user, char *err)
{
	const struct passwd *pw;

	if (!user || !*user || geteuid() != 0)
		return 0;
	pw = find_user(user, err);
	if (!pw)
		return -ENOENT;
	if (lchown(path, pw->pw_uid, pw->pw_gid) < 0)
		return folder_failed(path, "could not be given to the user of `user`", err);
	return 0;
}

static int make_folder(const char *path, mode_t mode, char *err)
{
	struct stat st;

	if (mkdir(path, mode) == 0) {
		if (chmod(path, mode) == 0) /* whatever the umask */
			return 0;
		return folder_failed(path, "could not be given its mode", err);
	}
	if (errno != EEXIST || stat(path, &st) < 0)
		return folder_failed(path, "could not be made", err);
	if (!S_ISDIR(st.st_mode)) {
		snprintf(err, PROCESS_ERROR_BYTES, "%.180s is no folder: move it away", path);
		return -ENOTDIR;
	}
	return 0;
}

int process_make_folder(const char *path, mode_t mode, const char *user, char *err)
{
	char parent[512];
	const char *slash = strrchr(path, '/');
	int r;

	if (slash && slash != path && (size_t)(slash - path) < sizeof(parent)) {
		memcpy(parent, path, (size_t)(slash - path));
		parent[slash - path] = 0;
		if (mkdir(parent, 0755) == 0)
			(void)chmod(parent, 0755); /* when either fails the next step says why */
	}
	r = make_folder(path, mode, err);
	return r ? r : give_folder(path, user, err);
}
