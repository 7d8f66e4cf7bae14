/* base/offload.h - what the kernel may do for many packets at once, by name, so that each can be switched off: a
 * config key (`offloads-off`) and the environment variable OFFLOADS_ENV name them.
 */
#pragma once
#include <stddef.h>

enum offload {
	OFFLOAD_GSO = 1 << 0,  /* "gso": many datagrams in one send (UDP_SEGMENT) */
	OFFLOAD_GRO = 1 << 1,  /* "gro": many datagrams in one receive (UDP_GRO) */
	OFFLOAD_CSUM = 1 << 2, /* "csum": the TUN device hands and takes packets with open checksums */
	OFFLOAD_TSO = 1 << 3,  /* "tso": the TUN device hands and takes TCP segments of up to 64 KB; wants csum */
	OFFLOAD_USO = 1 << 4,  /* "uso": the same for UDP (Linux 6.2 and newer); wants csum */
	OFFLOAD_ALL = (1 << 5) - 1,
};

#define OFFLOADS_ENV        "SISPOPNET_OFFLOADS_OFF"
#define OFFLOADS_TEXT_BYTES 32
#define OFFLOADS_EXPECTED   "any of gso, gro, csum, tso and uso, with commas or spaces between them, or all, or none"

/* Read names ("gso,tso", "all", "none"; "" is none) into *ret, bits of enum offload. 0 or -EINVAL with *ret as it
 * was. */
int offloads_parse(const char *names, unsigned *ret) __attribute__((warn_unused_result));
/* The names of mask, with spaces between them, or "none". Returns out. */
const char *offloads_text(unsigned mask, char out[OFFLOADS_TEXT_BYTES]);
/* Add what the environment variable names to *off. 0, or -EINVAL with a sentence in err[n]. */
int offloads_from_env(unsigned *off, char *err, size_t n) __attribute__((warn_unused_result));
