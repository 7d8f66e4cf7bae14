/* net/control.h - the control socket: newline-delimited JSON over a UNIX stream socket, both ends.
 *
 *   -> {"id":1,"method":"up","params":{...}}
 *   <- {"id":1,"result":{...}}   or   {"id":1,"error":{"code":"bad-request","message":"..."}}
 *   <- {"event":"state","data":{...}}                          to those who watch
 *
 * docs/CONTROL.md is the paper. The server runs on the control thread's libevent loop; the client blocks
 * and is meant for command lines. json_t arguments that are "taken" lose the caller's reference.
 */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include "base/clock.h"

struct event_base;

#define CONTROL_LINE_BYTES_MAX   (64 * 1024)       /* of one request, newline included */
#define CONTROL_REPLY_BYTES_MAX  (4 * 1024 * 1024) /* of one line that a client takes */
#define CONTROL_CLIENTS_MAX      32
#define CONTROL_PENDING_MAX      16                /* unanswered requests of one client */
#define CONTROL_OUTPUT_BYTES_MAX (256 * 1024)      /* unread by a client when more is to come: cut off */

/* ---- server ---- */

struct control;

/* Who asks. The kernel's word (SO_PEERCRED, SO_PEERGROUPS) from when it connected. */
struct control_peer {
	pid_t pid;
	uid_t uid;
	gid_t gid;
	bool may_change; /* root, the daemon's own user, or a member of the socket's group */
};

/* One request on its way to an answer. It stays valid until it is answered by exactly one control_reply or
 * control_reply_error, however much later, also when its client is gone and when the server is closed. */
struct control_request;

/* A request came in. params is an object, borrowed, {} when absent. Answer now or later. */
typedef void control_handle_fn(void *arg, struct control_request *q, const char *method, json_t *params);
/* The client of a request that is not answered yet is gone. Answer it (the words go nowhere) to free it. */
typedef void control_gone_fn(void *arg, struct control_request *q);

struct control_config {
	const char *path;  /* of the socket */
	mode_t mode;       /* 0 is 0660 */
	const char *group; /* that the socket is given to, when such a group exists; NULL for none */
	control_handle_fn *handle;
	void *arg; /* for handle */
};

/* Bind and serve on base. The socket is never wider open than `mode`, not even for a moment. A lock on
 * PATH.lock is held while it serves. The file of a dead daemon is replaced. Makes the process ignore
 * SIGPIPE. 0 or -errno: -EADDRINUSE when a live daemon holds the path, -EEXIST when something else than a
 * socket stands there, -ENAMETOOLONG, -EPERM when it may not be given to the group, what the system said. */
int control_open(struct event_base *base, const struct control_config *c, struct control **ret)
	__attribute__((warn_unused_result));
/* Cut all clients off and remove the socket's file. Requests that are not answered yet are told (gone) and
 * stay valid. Not from within a handler. */
void control_close(struct control *c);

/* Who asked; good as long as the request. */
const struct control_peer *control_request_peer(const struct control_request *q);
/* True when nobody waits for the answer any more. */
bool control_request_is_gone(const struct control_request *q);
/* Have fn told when the client goes before it was answered. NULL to stop that. Not called by control_reply. */
void control_request_on_gone(struct control_request *q, control_gone_fn *fn, void *arg);
/* Answer and free q. result is taken; NULL stands for {}. */
void control_reply(struct control_request *q, json_t *result);
/* Answer with an error and free q. code is one of the words of docs/CONTROL.md. */
void control_reply_error(struct control_request *q, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Send events to the client of q from now on. Answer q as well. */
void control_watch(struct control_request *q);
/* Clients that watch: none, and the event need not be made. */
size_t control_watchers(const struct control *c);
/* Tell all that watch. data is taken; NULL stands for {}. */
void control_event(struct control *c, const char *event, json_t *data);

/* ---- client ---- */

#define CONTROL_CODE_BYTES    32
#define CONTROL_MESSAGE_BYTES 512

struct control_client;

/* The server's error object, cut to these sizes. */
struct control_error {
	char code[CONTROL_CODE_BYTES];
	char message[CONTROL_MESSAGE_BYTES];
};

/* An event line came. data is borrowed, {} when absent. Do not call control_call from here. */
typedef void control_event_fn(void *arg, const char *event, json_t *data);

/* Connect. 0 or -errno: -ENOENT, -ECONNREFUSED when no daemon is there, -EACCES when not permitted. */
int control_connect(const char *path, struct control_client **ret) __attribute__((warn_unused_result));
void control_disconnect(struct control_client *c);
/* Send a request (params is taken, NULL for {}) and wait at most `timeout` (NSEC_NEVER for no limit) for its
 * answer; events that come before it go to on_event (may be NULL). 0 and *ret_result, an object to be
 * json_decref'ed (ret_result may be NULL); -EREMOTEIO and *ret_error when the daemon refused; -ETIMEDOUT;
 * -ECONNRESET when the daemon went; -EPROTO when it does not speak this; -EINTR after a signal handler ran.
 * After any failure but -EREMOTEIO the connection is of no more use. */
int control_call(struct control_client *c, const char *method, json_t *params, nsec_t timeout,
		 control_event_fn *on_event, void *arg, json_t **ret_result,
		 struct control_error *ret_error) __attribute__((warn_unused_result));
/* Wait at most `timeout` for one event. Failures as above; after -ETIMEDOUT and -EINTR it may be called
 * again. */
int control_wait_event(struct control_client *c, nsec_t timeout, control_event_fn *on_event, void *arg)
	__attribute__((warn_unused_result));
