/* net/udp.h - UDP sockets of packet workers: batches in, batches out.
 *
 * A worker opens its own socket (all of them on one port by SO_REUSEPORT). A struct udp_reader hands out
 * bursts (many datagrams of one source in one piece, UDP GRO) and a struct udp_writer joins datagrams for one
 * destination into runs (UDP GSO); both do without where the kernel or the path of a packet cannot.
 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"

#define UDP_BATCH                64                /* datagrams a system call at most */
#define UDP_BUFFER_BYTES_DEFAULT (4 * 1024 * 1024) /* of each socket buffer, when nothing is asked for */

enum udp_df {
	UDP_DF_PROBE, /* DF set, the kernel's path MTU ignored: we probe ourselves (the default) */
	UDP_DF_ON,    /* DF set, larger than the kernel's path MTU fails with EMSGSIZE */
	UDP_DF_OFF,   /* DF clear, the network may fragment */
};

enum udp_offload {
	UDP_OFFLOAD_GSO = 1 << 0, /* a run of datagrams goes to the kernel as one message (UDP_SEGMENT, Linux 4.18) */
	UDP_OFFLOAD_GRO = 1 << 1, /* and comes from it as one (UDP_GRO, Linux 5.0) */
};

struct udp_config {
	struct addr bind;    /* family 4 or 6; port 0 takes a free one */
	uint32_t mark;       /* SO_MARK, 0 for none; needs CAP_NET_ADMIN */
	size_t buffer_bytes; /* of each socket buffer; 0 is UDP_BUFFER_BYTES_DEFAULT */
	enum udp_df df;
	unsigned without; /* offloads that may not be used, bits of enum udp_offload */
};

struct udp;

/* Open a non-blocking socket (close-on-exec, SO_REUSEPORT, IPV6_V6ONLY on IPv6), bind it and try which
 * offloads the kernel has. Buffers larger than the system's limit need CAP_NET_ADMIN; without it they are as
 * large as they may be. What it sends has TTL or hop limit 64, traffic class 0 and flow label 0, whatever the
 * system's defaults are, so that these fields tell nothing (but net.ipv6.auto_flowlabels = 3 forces labels).
 * 0 or -errno: -EINVAL for no family, -EPERM for a mark without the capability, what bind said. */
int udp_open(const struct udp_config *c, struct udp **ret) __attribute__((warn_unused_result));
/* Close the socket. Its reader and writer must be gone. */
void udp_close(struct udp *u);
/* The offloads in use now, bits of enum udp_offload. GSO goes for good when a path turns out not to carry it.
 * Any thread. */
unsigned udp_offloads(const struct udp *u);
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

/* Receiving bursts: one thread's. */
struct udp_reader;

#define UDP_BURST_HEADROOM  64    /* bytes before each burst that are the caller's to write to */
#define UDP_BURST_BYTES_MAX 65535 /* no datagram and no burst is longer */

/* Datagrams of one source back to back: `segment` bytes each, only the last may be shorter. */
struct udp_burst {
	uint8_t *data;
	uint32_t len;     /* 1 .. UDP_BURST_BYTES_MAX */
	uint16_t segment; /* 1 .. len; len when it is one datagram */
	uint64_t waited;  /* ns from its arrival at this host to the call that took it; 0: the kernel did not say */
	struct addr from;
};

struct udp_reader_counters {       /* written by the owner, read by any thread */
	_Atomic uint64_t calls;    /* system calls that brought something */
	_Atomic uint64_t bursts;   /* handed out */
	_Atomic uint64_t received; /* datagrams in them */
	_Atomic uint64_t too_long; /* datagrams that no buffer holds: dropped */
	_Atomic uint64_t empty;    /* datagrams of no bytes: dropped */
};

/* Receive from u, which outlives it. Its buffers take 0.5 MB of addresses, and memory only where datagrams
 * were received: a reader that gets one small datagram at a time touches one page. NULL without memory. */
struct udp_reader *udp_reader_new(struct udp *u);
void udp_reader_free(struct udp_reader *r);
/* Take what waits, without waiting, at most `most` messages: with GRO at most 8 bursts of up to UDP_BURST_BYTES_MAX bytes, without at
 * most UDP_BATCH datagrams of up to 2,048. *ret is an array of them in order of arrival; it and the bytes,
 * with the headroom, are the caller's to work on in place until the next call. Returns how many, 0 when none
 * waits (or all were dropped), -errno when the socket is broken (-ENETDOWN and the like may pass). */
int udp_reader_receive(struct udp_reader *r, size_t most, const struct udp_burst **ret)
	__attribute__((warn_unused_result));
const struct udp_reader_counters *udp_reader_counters(const struct udp_reader *r);

/* Sending runs: one thread's. */
struct udp_writer;

struct udp_writer_counters {        /* written by the owner, read by any thread */
	_Atomic uint64_t calls;     /* system calls */
	_Atomic uint64_t bursts;    /* messages the kernel took: runs and single datagrams */
	_Atomic uint64_t sent;      /* datagrams the kernel took */
	_Atomic uint64_t failed;    /* datagrams it refused, too_large and full among them */
	_Atomic uint64_t too_large; /* EMSGSIZE: beyond the interface's MTU (or the path's) */
	_Atomic uint64_t full;      /* EAGAIN: the socket's buffer was full; the rest of a batch is dropped */
	_Atomic uint64_t fell_back; /* runs that the kernel refused and whose datagrams went one by one */
};

/* Send on u, which outlives it. NULL without memory. On IPv4 the datagrams of a run leave with the IP IDs 0, 1, 2
 * and so on, single ones with 0: who sees the wire sees how many went together. The kernel offers no other. */
struct udp_writer *udp_writer_new(struct udp *u);
/* What is still queued is not sent. */
void udp_writer_free(struct udp_writer *w);
/* Queue a datagram of n bytes for `to`, which is copied. The bytes stay the caller's and must hold still until
 * the next flush. With GSO it joins the latest run for the same destination if it is as long as the others, or
 * shorter, which ends that run. Datagrams for one destination keep their order. Sends what is queued when there
 * is no room (UDP_BATCH messages). */
void udp_writer_put(struct udp_writer *w, const uint8_t *bytes, size_t n, const struct addr *to);
/* How many datagrams of n bytes (1 or more) one run holds; 1 without GSO. */
size_t udp_writer_run(const struct udp_writer *w, size_t n);
/* Send all that is queued. A datagram that is refused (MTU, no route) costs only itself: a run that the kernel
 * does not take is sent datagram by datagram, and when that shows that this socket's packets go where GSO is not
 * known, GSO is off from then on. Returns how many datagrams were refused since the last call, those that put
 * sent or would not take (the other family) among them. */
size_t udp_writer_flush(struct udp_writer *w);
const struct udp_writer_counters *udp_writer_counters(const struct udp_writer *w);
