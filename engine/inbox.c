/* engine/inbox.c - from the workers' ring to the control thread's callbacks. Control thread only.
 */
#include <errno.h>
#include <event2/event.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "engine/engine_internal.h"

static void dispatch(struct engine *e, const struct message *m, uint8_t *body, size_t n, nsec_t now)
{
	const struct engine_control_ops *ops = &e->config.control;

	engine_set_now(e, now);
	switch (m->kind) {
	case MESSAGE_HANDSHAKE:
		ops->on_handshake(ops->arg, &m->from, m->worker, body, n, now);
		break;
	case MESSAGE_CTRL:
		ops->on_ctrl(ops->arg, m->id, &m->from, m->worker, m->ctr, body, n, now);
		break;
	case MESSAGE_FOREIGN:
		ops->on_foreign_source(ops->arg, m->id, &m->from, now);
		break;
	case MESSAGE_PLAIN:
		ops->on_plain(ops->arg, m->id, body, n, m->datagram, now);
		break;
	case MESSAGE_NOTE:
		if (ops->on_note)
			ops->on_note(ops->arg, body, n, now);
		break;
	}
}

/* Take at most CONTROL_BATCH messages, so that timers and sockets of the loop get their turn under
 * a flood. */
static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct engine *e = arg;
	uint64_t count;
	uint8_t cell[MESSAGE_BYTES] __attribute__((aligned(16)));
	size_t n;

	(void)what;
	if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return;
	for (unsigned i = 0; i < CONTROL_BATCH; i++) {
		n = ring_pop(e->control_ring, cell);
		if (!n)
			return;
		if (n >= sizeof(struct message))
			dispatch(e, (const struct message *)cell, cell + sizeof(struct message),
				 n - sizeof(struct message), clock_now());
	}
	eventfd_wake(e->control_fd);
}

int inbox_open(struct engine *e)
{
	e->control_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (e->control_fd < 0)
		return -errno;
	e->control_ring = ring_new(CONTROL_RING_CELLS, MESSAGE_BYTES);
	e->control_event =
		event_new(e->config.base, e->control_fd, EV_READ | EV_PERSIST, on_wake, e);
	if (!e->control_ring || !e->control_event || event_add(e->control_event, NULL) < 0)
		return -ENOMEM;
	return 0;
}

void inbox_close(struct engine *e)
{
	if (e->control_event)
		event_free(e->control_event);
	ring_free(e->control_ring);
	if (e->control_fd >= 0)
		close(e->control_fd);
}
