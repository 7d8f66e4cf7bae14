/* crypto/aead.h - AES-256-GCM for data and AES-256 blocks for headers: one small interface, two engines.
 *
 * The engine is chosen once a process, by CPU or by name. A key is expanded once and then read-only: any
 * thread may use it. A context belongs to one thread. In place only: data is sealed and opened where it lies.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AEAD_TAG_BYTES    16
#define AEAD_KEY_ROOM     1008 /* the larger of the engines' expanded keys: 15 round keys, 48 powers of the hash key */
#define HEADER_BLOCK_BYTES 16

/* 1,024 B, of which a relay holds two a circuit. malloc()'s alignment is enough. */
struct aead_key {
	uint8_t iv[12];
	uint8_t room[AEAD_KEY_ROOM] __attribute__((aligned(16)));
};

struct header_key {
	uint8_t enc[15 * 16] __attribute__((aligned(16)));
	uint8_t dec[15 * 16] __attribute__((aligned(16)));
};

struct aead_ctx; /* one thread's working memory */

/* Choose the engine: "ipsec-mb", "openssl" or NULL / "auto" for the fastest that this CPU runs. 0; -ENOENT for
 * an unknown name; -ENOTSUP when it is not built in or the CPU lacks it (AES-NI, AVX2). Once, before any key. */
int aead_engine_choose(const char *name) __attribute__((warn_unused_result));
const char *aead_engine_name(void);

/* A context of the engine chosen (of the fastest, when none was); all that packets need is allocated here. Keys must
 * be expanded by the engine that uses them. NULL without memory. */
struct aead_ctx *aead_ctx_new(void);
void aead_ctx_free(struct aead_ctx *c);

void aead_key_init(struct aead_key *k, struct aead_ctx *c, const uint8_t key[32], const uint8_t iv[12]);
void aead_key_done(struct aead_key *k);

/* One piece of data of a batch. */
struct aead_item {
	uint8_t *p;   /* n bytes, sealed and opened in place */
	size_t n;
	uint8_t *tag; /* 16 bytes anywhere outside p[0..n): written by seal, only read by open */
	uint64_t ctr; /* 56 bits: the nonce is iv XOR ctr */
	bool ok;      /* set by open: the tag verified. Else the bytes at p are worthless. */
};
/* Seal, open n items (0 too) under one key, in order; items must not overlap. An engine chooses its key once a
 * batch. The caller answers for it that no counter seals twice. */
void aead_seal_batch(struct aead_ctx *c, const struct aead_key *k, struct aead_item *it, size_t n);
void aead_open_batch(struct aead_ctx *c, const struct aead_key *k, struct aead_item *it, size_t n);

/* A batch of one. Seal n bytes at p in place under the nonce iv XOR ctr56; the tag goes to tag[16] (anywhere outside p[0..n)). */
void aead_seal(struct aead_ctx *c, const struct aead_key *k, uint64_t ctr56, uint8_t *p, size_t n, uint8_t *tag);
/* Open n bytes at p in place. False when the tag does not verify: the bytes are then worthless. */
bool aead_open(struct aead_ctx *c, const struct aead_key *k, uint64_t ctr56, uint8_t *p, size_t n,
	       const uint8_t *tag) __attribute__((warn_unused_result));

void header_key_init(struct header_key *k, struct aead_ctx *c, const uint8_t key[32]);
void header_key_done(struct header_key *k);

struct header {
	uint32_t circuit_id; /* 0 for CTRL */
	uint8_t type;        /* 1 DATA, 2 CTRL */
	uint64_t ctr;        /* 56 bits */
};
/* AES-256(hk, circuit_id u32 | type u8 | ctr u56 | 0 u32) and back. open: false when the last 32 bits are not 0. */
void header_seal(struct aead_ctx *c, const struct header_key *k, const struct header *h, uint8_t out[16]);
bool header_open(struct aead_ctx *c, const struct header_key *k, const uint8_t in[16], struct header *ret)
	__attribute__((warn_unused_result));
/* The same for n blocks under one key: at[i] is where block i lies. headers_open leaves the blocks unchanged, sets
 * ok[i], and ret[i] only where ok[i]. */
void headers_seal(struct aead_ctx *c, const struct header_key *k, const struct header h[], size_t n,
		  uint8_t *const at[]);
void headers_open(struct aead_ctx *c, const struct header_key *k, const uint8_t *const at[], size_t n,
		  struct header ret[], bool ok[]);
