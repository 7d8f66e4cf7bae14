/* relay/keys.c - see keys.h. The file is a list of {u16 keyid, secret[32], u64 from, u64 to},
 * big-endian. */
#include "relay/keys.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/bytes.h"
#include "base/log.h"

#define ONION_KEY_RECORD (2 + 32 + 32 + 8 + 8)

static void file_name(char *out, size_t n, const char *state, const char *name)
{
	snprintf(out, n, "%s/%s", state, name);
}

int relay_keys_create(const char *state, const struct rng *rng, char *err)
{
	char path[200];
	struct sign_keypair k;
	struct stat st;
	int r;

	file_name(path, sizeof(path), state, "identity");
	if (lstat(path, &st) == 0) {
		snprintf(err, KEYFILE_ERROR_BYTES,
			 "%.180s exists: a relay keeps its identity; remove the file for a new one",
			 path);
		return -EEXIST;
	}
	sign_keypair_new(&k, rng);
	r = keyfile_write(path, k.seed, sizeof(k.seed), err);
	sign_keypair_done(&k);
	return r;
}

/* A file that is replaced is overwritten, not only unlinked: until then it has a second name. After
 * a crash both names may be one file, which is in force. */
static void erase_replaced(const char *path, const char *old)
{
	char err[KEYFILE_ERROR_BYTES];
	struct stat a, b;

	if (lstat(old, &b) < 0)
		return;
	if (lstat(path, &a) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
		(void)unlink(old);
	else if (keyfile_erase(old, err))
		log_warn("old onion keys are left on disk: %s", err);
}

static int replace_onion_keys(const char *state, const uint8_t *bytes, size_t n, char *err)
{
	char path[200], old[200];
	int r;

	file_name(path, sizeof(path), state, "onion-keys");
	file_name(old, sizeof(old), state, "onion-keys.old");
	erase_replaced(path, old);
	if (link(path, old) < 0 && errno != ENOENT)
		log_warn("the old onion keys are not overwritten on disk: %s", strerror(errno));
	r = keyfile_write(path, bytes, n, err);
	erase_replaced(path, old);
	return r;
}

static int write_onion_keys(const struct relay_keys *k, char *err)
{
	uint8_t buf[DESCRIPTOR_KEYS_MAX * ONION_KEY_RECORD];
	struct writer w;
	int r;

	writer_init(&w, buf, sizeof(buf));
	for (unsigned i = 0; i < k->n; i++) {
		writer_u16(&w, k->onion[i].about.keyid);
		writer_put(&w, k->onion[i].pair.public_key, 32);
		writer_put(&w, k->onion[i].pair.secret_key, 32);
		writer_u64(&w, k->onion[i].about.from);
		writer_u64(&w, k->onion[i].about.to);
	}
	r = replace_onion_keys(k->state, buf, w.used, err);
	wipe(buf, sizeof(buf));
	return r;
}

static int read_onion_keys(struct relay_keys *k, char *err)
{
	uint8_t buf[DESCRIPTOR_KEYS_MAX * ONION_KEY_RECORD];
	char path[200], old[200];
	struct reader r;
	size_t n = 0;
	int ret;

	file_name(path, sizeof(path), k->state, "onion-keys");
	file_name(old, sizeof(old), k->state, "onion-keys.old");
	erase_replaced(path, old); /* what a crash left */
	ret = keyfile_read_some(path, buf, sizeof(buf), &n, err);
	if (ret == -ENOENT)
		return 0;
	if (!ret && n % ONION_KEY_RECORD) {
		snprintf(err, KEYFILE_ERROR_BYTES,
			 "%.180s is damaged: remove it, the relay then makes new onion keys", path);
		ret = -EINVAL;
	}
	reader_init(&r, buf, ret ? 0 : n);
	while (!ret && r.left) {
		struct onion_key *a = &k->onion[k->n].about;
		a->keyid = reader_u16(&r);
		reader_copy(&r, a->public_key, 32);
		memcpy(k->onion[k->n].pair.public_key, a->public_key, 32);
		reader_copy(&r, k->onion[k->n].pair.secret_key, 32);
		a->from = reader_u64(&r);
		a->to = reader_u64(&r);
		k->n++;
	}
	wipe(buf, sizeof(buf));
	return ret;
}

static void forget(struct relay_keys *k, unsigned i)
{
	wipe(&k->onion[i], sizeof(k->onion[i]));
	memmove(&k->onion[i], &k->onion[i + 1], (k->n - i - 1) * sizeof(k->onion[0]));
	k->n--;
	wipe(&k->onion[k->n], sizeof(k->onion[0]));
}

/* What is past its time; and what our clock, when it was ahead, made for a time that has not come:
 * no client would use it, and no newer key would be made before. */
static bool erase_old(struct relay_keys *k, uint64_t now_unix)
{
	bool changed = false;

	for (unsigned i = k->n; i-- > 0;)
		if (k->onion[i].about.to <= now_unix ||
		    k->onion[i].about.from > now_unix + DESCRIPTOR_SKEW_SECONDS) {
			forget(k, i);
			changed = true;
		}
	return changed;
}

static void add_new(struct relay_keys *k, uint64_t now_unix, const struct rng *rng)
{
	uint16_t last = k->n ? k->onion[k->n - 1].about.keyid : (uint16_t)rng_u32(rng);
	struct onion_key *a;

	if (k->n == DESCRIPTOR_KEYS_MAX)
		forget(k, 0);
	a = &k->onion[k->n].about;
	onion_keypair_new(&k->onion[k->n].pair, rng);
	memcpy(a->public_key, k->onion[k->n].pair.public_key, 32);
	a->keyid = (uint16_t)(last + 1);
	a->from = now_unix;
	a->to = now_unix + k->valid_s;
	k->n++;
}

int relay_keys_rotate(struct relay_keys *k, uint64_t now_unix, const struct rng *rng, char *err)
{
	struct relay_keys before = *k;
	bool changed = erase_old(k, now_unix);
	int r = 0;

	if (!k->n || now_unix >= k->onion[k->n - 1].about.from + k->period_s) {
		add_new(k, now_unix, rng);
		changed = true;
	}
	if (changed)
		r = write_onion_keys(k, err);
	if (r)
		*k = before;
	wipe(&before, sizeof(before));
	return r ? r : changed;
}

int relay_keys_load(struct relay_keys *k, const char *state, uint32_t period_s, uint32_t valid_s,
		    uint64_t now_unix, const struct rng *rng, char *err)
{
	uint8_t seed[32];
	char path[200];
	int r;

	memset(k, 0, sizeof(*k));
	snprintf(k->state, sizeof(k->state), "%s", state);
	k->period_s = period_s;
	k->valid_s = valid_s;
	file_name(path, sizeof(path), state, "identity");
	r = keyfile_read(path, seed, sizeof(seed), err);
	if (r == -ENOENT)
		snprintf(err, KEYFILE_ERROR_BYTES,
			 "there is no identity in %.120s: run `sispopnet-relay keygen` first",
			 state);
	if (r)
		return r;
	sign_keypair_from_seed(&k->identity, seed);
	wipe(seed, sizeof(seed));
	r = read_onion_keys(k, err);
	if (!r)
		r = relay_keys_rotate(k, now_unix, rng, err);
	if (r < 0)
		relay_keys_done(k);
	return r < 0 ? r : 0;
}

uint64_t relay_keys_next(const struct relay_keys *k)
{
	uint64_t next = k->onion[k->n - 1].about.from + k->period_s;

	for (unsigned i = 0; i < k->n; i++)
		if (k->onion[i].about.to < next)
			next = k->onion[i].about.to;
	return next;
}

const struct onion_keypair *relay_keys_find(const struct relay_keys *k, uint16_t keyid)
{
	for (unsigned i = 0; i < k->n; i++)
		if (k->onion[i].about.keyid == keyid)
			return &k->onion[i].pair;
	return NULL;
}

void relay_keys_done(struct relay_keys *k)
{
	wipe(k, sizeof(*k));
}
