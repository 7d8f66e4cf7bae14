/* crypto/filler.c - see filler.h. */
#include "crypto/filler.h"
#include "crypto/kdf.h"

#include <string.h>
#include <sodium.h>

/* The first 32 bytes of each run of the key stream are the next key: what was given out before
 * cannot be computed from what is in memory now. */
static void refill(struct filler *f)
{
	static const uint8_t nonce[crypto_stream_chacha20_ietf_NONCEBYTES]; /* a key serves once */
	crypto_stream_chacha20_ietf(f->buf, sizeof(f->buf), nonce, f->key);
	memcpy(f->key, f->buf, sizeof(f->key));
	memset(f->buf, 0, sizeof(f->key));
	f->used = sizeof(f->key);
}

void filler_init(struct filler *f, const struct rng *rng)
{
	rng_bytes(rng, f->key, sizeof(f->key));
	f->used = sizeof(f->buf); /* the first call refills */
}

void filler_done(struct filler *f)
{
	wipe(f, sizeof(*f));
}

void filler_bytes(struct filler *f, uint8_t *p, size_t n)
{
	while (n > 0) {
		if (f->used == sizeof(f->buf))
			refill(f);
		size_t take = sizeof(f->buf) - f->used;
		if (take > n)
			take = n;
		memcpy(p, f->buf + f->used, take);
		memset(f->buf + f->used, 0, take);
		f->used += take;
		p += take;
		n -= take;
	}
}
