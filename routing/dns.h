/* routing/dns.h - the static resolv.conf back-end.
 *
 * The file as it was (content, link target, mode, owner) goes into the journal, fsynced, before it
 * is replaced: by rename, or written in place where it is a mount of its own (a container, "ip
 * netns exec"). It begins with DNS_MARKER. host_undo() restores it, but only while it is still what
 * we wrote. Control thread only.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "base/addr.h"
#include "routing/error.h"

#define DNS_DEFAULT_PATH   "/etc/resolv.conf"
#define DNS_MARKER                                                                               \
	"# Written by sispopnetd while the tunnel is up; restored when it goes down.\n"
#define DNS_FILE_BYTES_MAX 65536 /* of a resolv.conf that we agree to replace */
#define DNS_SERVERS_MAX	   3	 /* what resolv.conf(5) reads */

struct host;

/* Make `path` name the n servers (1..DNS_SERVERS_MAX, no ports), by journal of h. When it was set
 * before by the same h, the new servers replace the old ones and the saved original stays. 0;
 * -EINVAL; -EFBIG or -EISDIR the file is none that we can save; -EROFS, -EPERM and other -errno:
 * the file is as it was. */
int dns_set(struct host *h, const char *path, const struct addr *servers, size_t n, char *err)
	__attribute__((warn_unused_result));
/* Make `path` what it was before dns_set(), unless another program has changed it since. 0, also
 * when it was never set; -errno. */
int dns_unset(struct host *h, const char *path, char *err) __attribute__((warn_unused_result));
/* True while `path` holds exactly what dns_set() wrote there: false means that another program has
 * changed it (call dns_set() again: it saves what that program wrote as the new original). */
bool dns_is_ours(struct host *h, const char *path);
