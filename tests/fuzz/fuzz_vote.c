/* tests/fuzz/fuzz_vote.c - any bytes as a vote or a signature, the last 64 replaced by a good
 * signature; then a tally. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "crypto/kdf.h"
#include "directory/vote.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static struct sign_keypair key;
static struct netconf net = {.net_id = 77, .k = 1, .n = 1};

static void start(void)
{
	if (key.seed[0])
		return;
	if (crypto_init())
		abort();
	sign_keypair_from_seed(&key, (const uint8_t[32]){1});
	memcpy(net.authority[0].key, key.public_key, 32);
	params_init(&net.params);
}

static void judge(const uint8_t *p, size_t n)
{
	struct vote *v;
	struct consensus *c;
	uint8_t *again;
	size_t nagain;
	if (vote_parse(&net, p, n, &v) != DIR_OK)
		return;
	if (vote_write(v, &net, &key, &again, &nagain) != 0 || nagain != n || memcmp(p, again, n))
		abort();
	free(again);
	if (vote_tally(&net, &v, 1, v->serial & 0xffffffff, &c) != 0)
		abort();
	consensus_free(c);
	vote_free(v);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct vote_signature s;
	struct vote *v;
	start();
	if (vote_parse(&net, bytes, n, &v) == DIR_OK)
		vote_free(v);
	if (vote_signature_parse(&net, bytes, n, &s) == DIR_OK && s.authority >= net.n)
		abort();
	uint8_t *p = malloc(n + 1), h[32];
	if (!p || n < SIGN_BYTES)
		goto out;
	memcpy(p, bytes, n);
	hash(h, p, n - SIGN_BYTES);
	if (sign_message(p + n - SIGN_BYTES, &key, "sispop1 vote", h, sizeof(h)))
		abort();
	judge(p, n);
out:
	free(p);
	return 0;
}
