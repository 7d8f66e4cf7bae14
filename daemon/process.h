/* daemon/process.h - what every daemon does to itself: no core dumps, no capability it does not
 * need. */
#pragma once
#include <stdbool.h>
#include <sys/types.h>

#define PROCESS_ERROR_BYTES 256

/* First thing in main(): no core dumps, not dumpable (so /proc/PID is closed to others and no
 * debugger attaches), umask 077, SIGPIPE ignored. 0 or -errno. */
int process_harden(void) __attribute__((warn_unused_result));
/* Drop every capability but CAP_NET_ADMIN (keep_net_admin) or all of them, from the bounding set
 * too, and set no_new_privs. With `user` (NULL: stay) and uid 0, become that user first.
 * CAP_NET_ADMIN is kept only when it was permitted. Capabilities belong to a thread: call it before
 * any other thread is started. 0; -ENOENT no such user; -errno: with a sentence in
 * err[PROCESS_ERROR_BYTES]. */
int process_drop(const char *user, bool keep_net_admin, char *err)
	__attribute__((warn_unused_result));
/* True when CAP_NET_ADMIN is in the permitted set: process_drop() then makes it effective. */
bool process_has_net_admin(void);
/* Make the folder `path` (and one missing parent) with this mode; fine when it is there. With
 * `user` (NULL or "": stay) and uid 0 it is given to that user, whom process_drop() then becomes.
 * -errno with a sentence that names it and the mend. */
int process_make_folder(const char *path, mode_t mode, const char *user, char *err)
	__attribute__((warn_unused_result));
