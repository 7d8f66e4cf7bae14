/* tests/fuzz/fuzz_consensus.c - any bytes as a consensus, and with descriptors after it: first u32
 * the length of the consensus. Signed afresh, so that the judges behind the signature are reached
 * as well. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"
#include "crypto/kdf.h"
#include "directory/directory.h"

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

/* Its body with one good signature must be accepted, whoever signed before. */
static struct consensus *sign_again(struct consensus *c)
{
	uint8_t *p;
	size_t n;
	struct consensus *d = NULL;
	c->net_id = net.net_id;
	c->nsignatures = 1;
	c->signature[0].authority = 0;
	if (consensus_write(c, false, &p, &n) != 0)
		abort();
	uint8_t h[32];
	hash(h, p, n);
	free(p);
	if (consensus_sign(h, &key, c->signature[0].sig) || consensus_write(c, true, &p, &n))
		abort();
	if (consensus_accept(&net, NULL, CONSENSUS_NO_CLOCK, p, n, &d) != DIR_OK)
		abort();
	free(p);
	return d;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct consensus *c;
	start();
	struct reader r;
	reader_init(&r, bytes, n);
	size_t len = reader_u32(&r);
	const uint8_t *p = reader_take(&r, len);
	if (!p || consensus_parse(p, len, &c) != DIR_OK)
		return 0;
	struct consensus *d = sign_again(c);
	consensus_free(c);
	struct directory *dir;
	if (directory_new(d, &net.params, r.at, r.left, NULL, &dir) != DIR_OK) {
		consensus_free(d);
		return 0;
	}
	for (size_t i = 0; i < dir->n; i++)
		if (directory_find(dir, dir->relay[i].id) != &dir->relay[i])
			abort();
	directory_free(dir);
	return 0;
}
