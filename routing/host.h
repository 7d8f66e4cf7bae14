/* routing/host.h - what a client or an exit changes of the host, each change journalled, and the
 * way back.
 *
 * Nothing is taken from others: a table, a mark, a name that somebody else uses is refused (-EBUSY)
 * before anything is changed. A set-up that fails half-way takes its own steps back before it
 * returns. Routes and rules are marked with protocol HOST_PROTOCOL; every request to the kernel is
 * acknowledged.
 *
 * Order of a client:  host_open, host_undo (what a dead daemon left), host_client_check, tun_open,
 *                     host_client_up, dns_set; then host_undo, tun_close, host_close.
 * Control thread only. Needs CAP_NET_ADMIN, nothing else; acts in the caller's network namespace.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "routing/error.h"

#define HOST_DEFAULT_TABLE 0x73697370u /* "sisp" */
#define HOST_DEFAULT_MARK  0x73697370u
#define HOST_PROTOCOL	   115	       /* rtm_protocol and FRA_PROTOCOL of all that is ours */
#define HOST_GUARD_METRIC  2000000000u /* the unreachable route behind the tunnel's */
#define HOST_RANGES_MAX	   16

struct host;
struct journal;

/* Hear one sentence (something was left alone, a step was taken back): log it. */
typedef void host_say_fn(void *arg, const char *sentence);

/* Open the journal at journal_path (routing/journal.h) and the netlink sockets. 0; -EBUSY another
 * daemon holds the journal; other -errno. Changes nothing. */
int host_open(const char *journal_path, struct host **ret, char *err)
	__attribute__((warn_unused_result));
/* Close without taking anything back: what is in the journal stays there for the next start. Takes
 * NULL. */
void host_close(struct host *h);
/* Changes that the journal holds: right after host_open() those of a dead daemon. */
size_t host_changes(const struct host *h);
/* Take back everything, newest first: own changes and a dead daemon's alike. What another program
 * changed meanwhile is left as it is and said. 0, or the first -errno (the rest was done; calling
 * again goes on). Whether the TUN is still there or gone already makes no difference. */
int host_undo(struct host *h, host_say_fn *say, void *arg, char *err)
	__attribute__((warn_unused_result));
/* For routing/dns.h and tests. */
struct journal *host_journal(struct host *h);

struct host_client {
	const char *ifname; /* of the open TUN */
	uint16_t mtu;	    /* inner MTU in bytes; with v6 at least 1280 */
	struct addr v4, v6; /* leases, /32 and /128; family 0: the exit carries no such packets */
	uint32_t table;	    /* of our own: neither 0 nor 252..255 */
	uint32_t mark;	    /* of the daemon's own sockets (SO_MARK); not 0 */
	/* Only these destinations go through the tunnel; none: everything. The caller's, for the
	 * time of the call. */
	const struct prefix *ranges;
	size_t nranges; /* at most HOST_RANGES_MAX */
	/* The daemon's own UDP ports of each family, whose datagrams the connection tracker shall
	 * not see (both 0: it sees all): when its table is full, no new link could be made. */
	uint16_t port4, port6;
};

/* Would host_client_up() be refused? Changes nothing; call before tun_open(). 0; -EBUSY the
 * interface name, the table (any route in it) or the mark (any rule that names it, or names the
 * table) is in use: the sentence names it and the setting to change; -EINVAL a bad value; -EPERM no
 * CAP_NET_ADMIN. */
int host_client_check(struct host *h, const struct host_client *c, char *err)
	__attribute__((warn_unused_result));
/* Send everything but packets with our mark, and those to networks that the main table knows by
 * more than a default route, through the TUN: link up, MTU, leases (v6 without DAD, no link-local
 * address); table T: default through the TUN for each family that has a lease, and behind it in
 * both families "unreachable default metric HOST_GUARD_METRIC", which is what a family without
 * lease gets, and all that is left when the daemon dies: no packet goes out beside the tunnel;
 *   rules, v4 and v6, ahead of all others but "local":  lookup main suppress_prefixlength 0;  not
 * fwmark M lookup T; where rp_filter is strict: net.ipv4.conf.all.src_valid_mark = 1 and an
 * nftables table "inet sispopnet_IFNAME" that gives answers to marked packets their mark back (as
 * wg-quick does); the table also drops what comes for a lease by another interface than the TUN,
 * and what would leave with a lease by another one; and it keeps from connection tracking the UDP
 * that has our mark and port4 or port6, and that which comes for these by another interface than
 * the TUN (where rp_filter is strict it gets the mark).
 *
 * With ranges: send only packets to these there; all others go as without us. Each range gets the
 * two routes that the default has above. A route of main wins over a range when it is as specific
 * or more, and networks that this host is on win always (those that it is on now, when they are
 * wider than the range): they stay local. Sockets bound to the TUN reach everything through it. 0,
 * or -errno with the host as before. */
int host_client_up(struct host *h, const struct host_client *c, char *err)
	__attribute__((warn_unused_result));
/* After another grant or with other ranges: change MTU, leases, routes and rules of the running
 * set-up to c (same ifname, table, mark) without a moment in which a packet that belongs into the
 * tunnel before and after could leave beside it. -errno:
 * some of it may be changed; still closed, host_undo() still leads back. */
int host_client_change(struct host *h, const struct host_client *c, char *err)
	__attribute__((warn_unused_result));
/* Let the connection tracker see the daemon's datagrams from here on (port4 and port6 of the
 * running set-up become 0): a firewall that lets in nothing but answers knows answers by it alone.
 * 0, also when it sees them or nothing is set up; -errno with all as before. */
int host_client_track(struct host *h, char *err) __attribute__((warn_unused_result));

struct host_exit {
	const char *name;     /* 1..32 of a-z A-Z 0-9 _ : the nftables table is "inet
				 sispopnet_exit_NAME" */
	const char *ifname;   /* of the open TUN */
	uint16_t mtu;	      /* of the TUN, in bytes */
	struct addr address4; /* our own address in the range, family 0 without the range; clients
				 see it as the */
	struct addr address6; /* source of our ICMP answers */
	struct prefix range4; /* leases; addr.family 0: none. At least one range */
	struct prefix range6;
	/* Where the relay sends from and answers, with the port: kept from connection tracking.
	 * family 0: none. */
	struct addr relay4, relay6;
};

/* Would host_exit_up() be refused? -EBUSY: the interface or nftables table exists, or a range
 * overlaps a network of this host; -EINVAL a bad value (an address outside its range, a name);
 * -EPERM no CAP_NET_ADMIN. Changes nothing; call before tun_open(). */
int host_exit_check(struct host *h, const struct host_exit *e, char *err)
	__attribute__((warn_unused_result));
/* Forward and masquerade for the lease ranges:
 *   link up, MTU, our address with the range's prefix length (so the range's route leads into the
 * TUN); net.ipv4.ip_forward and net.ipv6.conf.all.forwarding = 1, each only for a range that is
 * there; first accept_ra 1 -> 2 where a router's advertisement gives this host its default route,
 * which the kernel would drop otherwise; all per-interface values that this changes are saved;
 *   table "inet sispopnet_exit_NAME": masquerade what comes from the ranges and leaves by another
 * interface; forward from the TUN only with a source in a range and never back into the TUN,
 * forward into the TUN only answers; nothing but echo requests and answers from the TUN reaches
 * this host itself; UDP from and to relay4 and relay6 is not tracked, so that a full table of
 * connections cuts no link, and no UDP of a client leaves with such a port: its answers would be
 * the relay's. Rules of others (a firewall with policy drop on forward) are not touched and
 * can still forbid it. 0, or -errno with the host as before. */
int host_exit_up(struct host *h, const struct host_exit *e, char *err)
	__attribute__((warn_unused_result));
