/* net/udp.h - UDP sockets of packet workers: batches in, batches out.
 *
 * A worker opens its own socket (all of them on one port by SO_REUSEPORT), one struct udp_in to receive and
 * one struct udp_out to send. Both work in batches and hand out or take single packets: how datagrams travel
 * between them and the kernel (one each now, GSO and GRO later) is no business of the caller's.
 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/pkt.h"

#define UDP_BATCH                64                /* datagrams a system call at most */
#define UDP_BUFFER_BYTES_DEFAULT (4 * 1024 * 1024) /* of each socket buffer, when nothing is asked for */

enum udp_df {
	UDP_DF_PROBE, /* DF set, the kernel's path MTU ignored: we probe ourselves (the default) */
	UDP_DF_ON,    /* DF set, larger than the kernel's path MTU fails with EMSGSIZE */
	UDP_DF_OFF,   /* DF clear, the network may fragment */
};

struct udp_config {
	struct addr bind;    /* family 4 or 6; port 0 takes a free one */
	uint32_t mark;       /* SO_MARK, 0 for none; needs CAP_NET_ADMIN */
	size_t buffer_bytes; /* of each socket buffer; 0 is UDP_BUFFER_BYTES_DEFAULT */
	enum udp_df df;
};

struct udp;

/* Open a non-blocking socket (close-on-exec, SO_REUSEPORT, IPV6_V6ONLY on IPv6) and bind it. Buffers larger
 * than the system's limit need CAP_NET_ADMIN; without it they are as large as they may be. 0 or -errno:
 * -EINVAL for no family, -EPERM for a mark without the capability, what bind said. */
int udp_open(const struct udp_config *c, struct udp **ret) __attribute__((warn_unused_result));
/* Close the socket. Its udp_in and udp_out must be gone. */
void udp_close(struct udp *u);
/* To wait on (poll, epoll, an event loop). */
int udp_fd(const struct udp *u);
/* The address it is bound to, with the true port. */
struct addr udp_local(const struct udp *u);
/* Bytes of the receive buffer that the kernel granted (twice what was asked for, as it counts). */
size_t udp_receive_buffer(const struct udp *u);
/* Switch don't-fragment. 0 or -errno. */
int udp_set_df(struct udp *u, enum udp_df df) __attribute__((warn_unused_result));
/* Send one datagram at once, by any thread, also while a worker uses the socket. 0 or -errno; -EAGAIN when
 * the socket's buffer is full, -EAFNOSUPPORT when `to` is of the other family. */
int udp_send_now(const struct udp *u, const void *bytes, size_t n, const struct addr *to)
	__attribute__((warn_unused_result));

/* Receiving: one thread's. */
struct udp_in;

struct udp_in_counters {         /* written by the owner, read by any thread */
	_Atomic uint64_t received;   /* datagrams handed out */
	_Atomic uint64_t too_long;   /* datagrams that no packet holds: dropped */
	_Atomic uint64_t pool_empty; /* calls that found no free packet */
};

/* Receive from u into packets of pool, both of which outlive it. NULL without memory. */
struct udp_in *udp_in_new(struct udp *u, struct pkt_pool *pool);
void udp_in_free(struct udp_in *in);
/* Take at most max datagrams, without waiting, into ret[]: data, len and from are set, the packet is the
 * caller's (pkt_put). Returns how many, 0 when none waits; -ENOBUFS when the pool is empty (what waits is
 * not lost), another -errno when the socket is broken (-ENETDOWN and the like may pass). */
int udp_in_receive(struct udp_in *in, struct pkt **ret, size_t max) __attribute__((warn_unused_result));
const struct udp_in_counters *udp_in_counters(const struct udp_in *in);

/* Sending: one thread's. */
struct udp_out;

struct udp_out_counters {       /* written by the owner, read by any thread */
	_Atomic uint64_t sent;      /* datagrams the kernel took */
	_Atomic uint64_t failed;    /* datagrams it refused, too_large and full among them */
	_Atomic uint64_t too_large; /* EMSGSIZE: beyond the interface's MTU (or the path's) */
	_Atomic uint64_t full;      /* EAGAIN: the socket's buffer was full; the rest of a batch is dropped */
};

/* Send on u packets of pool, both of which outlive it. NULL without memory. */
struct udp_out *udp_out_new(struct udp *u, struct pkt_pool *pool);
/* What is still queued is not sent; its packets go back to the pool. */
void udp_out_free(struct udp_out *out);
/* Queue k for `to` and take it over: it goes back to the pool when it was sent or refused. Flushes by itself
 * when the batch is full. */
void udp_out_put(struct udp_out *out, struct pkt *k, const struct addr *to);
/* Send all that is queued. A datagram that is refused (MTU, no route) costs only itself. Returns how many of
 * the batch were refused. */
size_t udp_out_flush(struct udp_out *out);
/* Datagrams that are queued now. */
size_t udp_out_queued(const struct udp_out *out);
const struct udp_out_counters *udp_out_counters(const struct udp_out *out);
