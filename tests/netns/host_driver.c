/* tests/netns/host_driver.c - drives tun/ and routing/ as a daemon would, one command a line on
 * standard input.
 *
 * host_driver JOURNAL, then:
 *   die N                        SIGKILL ourselves at the N-th journal hook from now
 *   at N FILE                    run the shell script FILE at the N-th: another program comes
 * between ranges [CIDR...]: of the next clients. own ADDR4:PORT|- [ADDR6]:PORT|-: the daemon's, of
 * the next clients (ports alone) and exits. track check-client / client / change IFNAME MTU V4|-
 * V6|- TABLE MARK check-exit / exit NAME IFNAME MTU RANGE4|- ADDR4|- RANGE6|- ADDR6|- tun IFNAME
 * QUEUES [whole] / untun    dns PATH SERVER... / ours PATH    undo / changes / hooks send HEX /
 * send-open HEX / read        one packet of queue 0; read waits until one comes prefixes EXCEPT|- /
 * direct EXCEPT|- MAX / default 4|6 / link NAME / watch / changed EXCEPT|- (waits for an event
 * first) Each answers with lines that end in "ok ..." or "error CODE sentence".
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/offload.h"
#include "routing/dns.h"
#include "routing/host.h"
#include "routing/journal.h"
#include "routing/netinfo.h"
#include "tun/device.h"

#define WORDS_MAX	24
#define READ_TIMEOUT_MS 5000

struct driver {
	struct host *host;
	struct tun *tun;
	struct netinfo_watch *watch;
	struct addr own4, own6;
	struct prefix ranges[WORDS_MAX];
	size_t nranges;
	unsigned die_at, run_at, hooks;
	char script[256];
	char err[ROUTING_ERROR_BYTES];
	char *word[WORDS_MAX];
	int n;
};

static void on_hook(void *arg, unsigned n)
{
	struct driver *d = arg;
	(void)n;
	if (++d->hooks == d->die_at)
		kill(getpid(), SIGKILL);
	if (d->hooks == d->run_at && system(d->script) != 0)
		exit(2);
}

static void say(void *arg, const char *sentence)
{
	(void)arg;
	printf("say %s\n", sentence);
}

static void answer(struct driver *d, int rc)
{
	if (rc < 0)
		printf("error %d %s\n", -rc, d->err);
	else
		printf("ok %d\n", rc);
	fflush(stdout);
}

static struct addr ip_of(const char *text)
{
	struct addr a = {.family = 0};
	if (strcmp(text, "-") != 0 && addr_parse_ip(text, &a) < 0)
		exit(2);
	return a;
}

static struct prefix range_of(const char *text)
{
	struct prefix p = {.len = 0};
	if (strcmp(text, "-") != 0 && prefix_parse(text, &p) < 0)
		exit(2);
	return p;
}

static int do_client(struct driver *d)
{
	struct host_client c = {.ifname = d->word[1],
				.mtu = (uint16_t)atoi(d->word[2]),
				.v4 = ip_of(d->word[3]),
				.v6 = ip_of(d->word[4]),
				.table = (uint32_t)strtoul(d->word[5], NULL, 0),
				.mark = (uint32_t)strtoul(d->word[6], NULL, 0),
				.ranges = d->ranges,
				.nranges = d->nranges,
				.port4 = d->own4.port,
				.port6 = d->own6.port};
	if (strcmp(d->word[0], "check-client") == 0)
		return host_client_check(d->host, &c, d->err);
	if (strcmp(d->word[0], "change") == 0)
		return host_client_change(d->host, &c, d->err);
	return host_client_up(d->host, &c, d->err);
}

static int do_ranges(struct driver *d)
{
	d->nranges = 0;
	for (int i = 1; i < d->n; i++)
		d->ranges[d->nranges++] = range_of(d->word[i]);
	return 0;
}

static struct addr socket_of(const char *text)
{
	struct addr a = {.family = 0};
	if (strcmp(text, "-") != 0 && addr_parse(text, &a) < 0)
		exit(2);
	return a;
}

static int do_own(struct driver *d)
{
	d->own4 = socket_of(d->word[1]);
	d->own6 = socket_of(d->word[2]);
	return 0;
}

static int do_track(struct driver *d)
{
	return host_client_track(d->host, d->err);
}

static int do_exit(struct driver *d)
{
	struct host_exit e = {.name = d->word[1],
			      .ifname = d->word[2],
			      .mtu = (uint16_t)atoi(d->word[3]),
			      .range4 = range_of(d->word[4]),
			      .address4 = ip_of(d->word[5]),
			      .range6 = range_of(d->word[6]),
			      .address6 = ip_of(d->word[7]),
			      .relay4 = d->own4,
			      .relay6 = d->own6};
	return strcmp(d->word[0], "exit") == 0 ? host_exit_up(d->host, &e, d->err)
					       : host_exit_check(d->host, &e, d->err);
}

static int do_dns(struct driver *d)
{
	struct addr servers[WORDS_MAX];
	for (int i = 2; i < d->n; i++)
		servers[i - 2] = ip_of(d->word[i]);
	return dns_set(d->host, d->word[1], servers, (size_t)d->n - 2, d->err);
}

static int do_undns(struct driver *d)
{
	return dns_unset(d->host, d->word[1], d->err);
}

static int do_send(struct driver *d)
{
	uint8_t packet[2048];
	struct iovec iov[2] = {[1] = {.iov_base = packet}};
	struct virtio_net_hdr h = {.gso_type = VIRTIO_NET_HDR_GSO_NONE};
	struct ip_view v;
	const char *hex = d->word[1];
	size_t n = 0;
	for (unsigned byte; n < sizeof(packet) && sscanf(hex, "%2x", &byte) == 1; hex += 2)
		packet[n++] = (uint8_t)byte;
	if (strcmp(d->word[0], "send-open") == 0) {
		if (ip_parse(packet, n, &v) != 0 || ip_open_checksum_at(&v) == 0)
			exit(2);
		h.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		h.csum_start = v.l4_offset;
		h.csum_offset = (uint16_t)(ip_open_checksum_at(&v) - v.l4_offset);
	}
	iov[1].iov_len = n;
	int rc = tun_write_iov(d->tun, 0, &h, iov, 2);
	snprintf(d->err, sizeof(d->err), "%s", strerror(-rc));
	return rc;
}

static int do_read(struct driver *d)
{
	struct pollfd p = {.fd = tun_fd(d->tun, 0), .events = POLLIN};
	static uint8_t buf[TUN_FRAME_ROOM];
	struct tun_frame f;
	int rc = poll(&p, 1, READ_TIMEOUT_MS) == 1 ? tun_read_frame(d->tun, 0, buf, sizeof(buf), &f)
						   : -ETIMEDOUT;
	snprintf(d->err, sizeof(d->err), "%s", strerror(-rc));
	if (rc == 0) {
		printf("packet %d ", f.csum_open);
		for (uint32_t i = 0; i < f.len; i++)
			printf("%02x", f.data[i]);
		printf("\n");
	}
	return rc;
}

static int do_prefixes(struct driver *d)
{
	struct prefix p[NETINFO_PREFIXES_MAX];
	char text[ADDR_TEXT_BYTES];
	size_t n = 0;
	const char *except = strcmp(d->word[1], "-") ? d->word[1] : NULL;
	int rc = netinfo_local_prefixes(except, p, NETINFO_PREFIXES_MAX, &n, d->err);
	for (size_t i = 0; i < n; i++)
		printf("prefix %s\n", prefix_text(&p[i], text));
	return rc;
}

static int do_direct(struct driver *d)
{
	struct prefix p[NETINFO_PREFIXES_MAX];
	char text[ADDR_TEXT_BYTES];
	size_t max = (size_t)atoi(d->word[2]), nlocal = 0, n = 0;
	const char *except = strcmp(d->word[1], "-") ? d->word[1] : NULL;
	if (max > NETINFO_PREFIXES_MAX)
		return -EINVAL;
	int rc = netinfo_direct_prefixes(except, p, max, &nlocal, &n, d->err);
	for (size_t i = 0; i < n; i++)
		printf("%s %s\n", i < nlocal ? "prefix" : "route", prefix_text(&p[i], text));
	return rc;
}

static int do_tun(struct driver *d)
{
	bool offload = d->n < 4 || strcmp(d->word[3], "whole") != 0;
	int rc = tun_open(d->word[1], (unsigned)atoi(d->word[2]), offload ? OFFLOAD_CSUM : 0,
			  &d->tun, d->err);
	return rc < 0 ? rc : (tun_offloads(d->tun) & OFFLOAD_CSUM) != 0;
}

static int do_untun(struct driver *d)
{
	tun_close(d->tun);
	d->tun = NULL;
	return 0;
}

static int do_undo(struct driver *d)
{
	return host_undo(d->host, say, NULL, d->err);
}

static int do_changes(struct driver *d)
{
	return (int)host_changes(d->host);
}

static int do_hooks(struct driver *d)
{
	return (int)d->hooks;
}

static int do_die(struct driver *d)
{
	d->hooks = 0;
	d->die_at = (unsigned)atoi(d->word[1]);
	return 0;
}

static int do_at(struct driver *d)
{
	d->hooks = 0;
	d->run_at = (unsigned)atoi(d->word[1]);
	snprintf(d->script, sizeof(d->script), "sh %s", d->word[2]);
	return 0;
}

static int do_ours(struct driver *d)
{
	return dns_is_ours(d->host, d->word[1]);
}

static int do_default(struct driver *d)
{
	return netinfo_has_default_route((uint8_t)atoi(d->word[1]), d->err);
}

static int do_link(struct driver *d)
{
	return netinfo_has_link(d->word[1], d->err);
}

static int do_watch(struct driver *d)
{
	return netinfo_watch_open(&d->watch, d->err);
}

static int do_changed(struct driver *d)
{
	struct pollfd p = {.fd = netinfo_watch_fd(d->watch), .events = POLLIN};
	const char *except = strcmp(d->word[1], "-") ? d->word[1] : NULL;
	snprintf(d->err, sizeof(d->err), "no event");
	return poll(&p, 1, READ_TIMEOUT_MS) == 1 ? netinfo_watch_drain(d->watch, except)
						 : -ETIMEDOUT;
}

static const struct {
	const char *word;
	int args;
	int (*run)(struct driver *d);
} commands[] = {
	{"die", 1, do_die},	      {"at", 2, do_at},		  {"check-client", 6, do_client},
	{"client", 6, do_client},     {"change", 6, do_client},	  {"check-exit", 7, do_exit},
	{"exit", 7, do_exit},	      {"tun", 2, do_tun},	  {"untun", 0, do_untun},
	{"dns", 2, do_dns},	      {"undns", 1, do_undns},	  {"ours", 1, do_ours},
	{"undo", 0, do_undo},	      {"changes", 0, do_changes}, {"hooks", 0, do_hooks},
	{"send", 1, do_send},	      {"send-open", 1, do_send},  {"read", 0, do_read},
	{"prefixes", 1, do_prefixes}, {"default", 1, do_default}, {"link", 1, do_link},
	{"direct", 2, do_direct},     {"watch", 0, do_watch},	  {"changed", 1, do_changed},
	{"ranges", 0, do_ranges},     {"own", 2, do_own},	  {"track", 0, do_track},
};

static void run(struct driver *d, char *line)
{
	d->n = 0;
	for (char *word = strtok(line, " \n"); word && d->n < WORDS_MAX; word = strtok(NULL, " \n"))
		d->word[d->n++] = word;
	for (size_t i = 0; d->n > 0 && i < sizeof(commands) / sizeof(*commands); i++) {
		if (strcmp(commands[i].word, d->word[0]) == 0 && d->n > commands[i].args) {
			answer(d, commands[i].run(d));
			return;
		}
	}
	snprintf(d->err, sizeof(d->err), "no such command");
	answer(d, -EINVAL);
}

int main(int argc, char **argv)
{
	struct driver d = {.n = 0};
	char *line = NULL;
	size_t room = 0;
	if (argc != 2)
		return 2;
	int rc = host_open(argv[1], &d.host, d.err);
	answer(&d, rc);
	if (rc < 0)
		return 1;
	journal_on_line(host_journal(d.host), on_hook, &d);
	while (getline(&line, &room, stdin) > 0)
		run(&d, line);
	free(line);
	netinfo_watch_close(d.watch);
	tun_close(d.tun);
	host_close(d.host);
	return 0;
}
