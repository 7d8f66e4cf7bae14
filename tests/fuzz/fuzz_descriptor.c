/* tests/fuzz/fuzz_descriptor.c - any bytes as a descriptor: what is taken is written back byte for
 * byte. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "crypto/kdf.h"
#include "directory/descriptor.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static struct sign_keypair key;
	struct descriptor d;
	uint8_t out[DESCRIPTOR_MAX_BYTES];
	size_t nout;
	if (!key.seed[0]) {
		if (crypto_init())
			abort();
		sign_keypair_from_seed(&key, (const uint8_t[32]){1});
	}
	if (descriptor_parse(bytes, n, &d) == 0 && descriptor_parse_known(bytes, n, &d) != 0)
		abort();
	if (descriptor_parse_known(bytes, n, &d) != 0)
		return 0;
	if (descriptor_write(&d, &key, out, sizeof(out), &nout) != 0 || nout != n)
		abort();
	memcpy(out + 4, bytes + 4, 32); /* the ID is the key's that signs */
	if (memcmp(out, bytes, n - SIGN_BYTES) != 0)
		abort();
	descriptor_onion_key(&d, d.published);
	struct addr a = d.v4.family ? d.v4 : d.v6;
	policy_allows(&d.policy, 6, &a);
	for (unsigned i = 0; i < d.policy.n; i++) {
		char text[POLICY_TEXT_BYTES];
		policy_rule_text(&d.policy.rule[i], text);
	}
	return 0;
}
