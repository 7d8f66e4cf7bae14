/* tests/unit/test_relay_keys.c - identity and onion keys on disk: made, loaded, rotated, erased,
 * refused. */
#include "relay/keys.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/log.h"
#include "crypto/kdf.h"
#include "unit/seeded.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define T0     UINT64_C(1700000000)
#define PERIOD 86400
#define VALID  172800

struct fixture {
	char dir[40], state[60];
	struct seeded seed;
	struct rng rng;
	struct relay_keys k;
	char err[KEYFILE_ERROR_BYTES];
};

static void path_of(const struct fixture *f, const char *name, char out[120])
{
	snprintf(out, 120, "%s/%s", f->state, name);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	f->rng = seeded_rng(&f->seed, 7);
	strcpy(f->dir, "/tmp/test_relay_keys.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->state, sizeof(f->state), "%s/state", f->dir);
	assert_int_equal(mkdir(f->state, 0700), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	static const char *const names[] = {"identity", "onion-keys"};
	struct fixture *f = *state;
	char path[120];
	relay_keys_done(&f->k);
	for (unsigned i = 0; i < 2; i++) {
		path_of(f, names[i], path);
		unlink(path);
	}
	path_of(f, ".keyfile.tmp", path);
	unlink(path);
	assert_int_equal(rmdir(f->state), 0); /* no old keys, nothing half-written */
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

static int load(struct fixture *f, uint64_t now)
{
	relay_keys_done(&f->k);
	f->err[0] = 0;
	return relay_keys_load(&f->k, f->state, PERIOD, VALID, now, &f->rng, f->err);
}

static void make(struct fixture *f)
{
	assert_int_equal(relay_keys_create(f->state, &f->rng, f->err), 0);
	assert_int_equal(load(f, T0), 0);
}

/* Is this secret anywhere in the file? */
static bool file_has(const struct fixture *f, const char *name, const uint8_t *bytes, size_t n)
{
	uint8_t buf[4096];
	char path[120];
	path_of(f, name, path);
	FILE *in = fopen(path, "rb");
	assert_non_null(in);
	size_t got = fread(buf, 1, sizeof(buf), in);
	fclose(in);
	return memmem(buf, got, bytes, n) != NULL;
}

static void relay_keys_makes_an_identity_once(void **state)
{
	struct fixture *f = *state;
	char path[120];
	struct stat st;
	assert_int_equal(relay_keys_create(f->state, &f->rng, f->err), 0);
	path_of(f, "identity", path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_size, 32);
	assert_int_equal(relay_keys_create(f->state, &f->rng, f->err), -EEXIST);
	assert_non_null(strstr(f->err, "identity"));
}

static void relay_keys_wants_an_identity(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(load(f, T0), -ENOENT);
	assert_non_null(strstr(f->err, "sispopnet-relay keygen"));
	char path[120];
	path_of(f, "onion-keys", path);
	assert_int_not_equal(access(path, F_OK), 0); /* nothing was made without one */
}

static void relay_keys_come_back_the_same(void **state)
{
	struct fixture *f = *state;
	make(f);
	struct relay_keys first = f->k;
	assert_int_equal(first.n, 1);
	assert_int_equal(first.onion[0].about.from, T0);
	assert_int_equal(first.onion[0].about.to, T0 + VALID);
	assert_memory_equal(first.onion[0].about.public_key, first.onion[0].pair.public_key, 32);
	assert_int_equal(load(f, T0 + 10), 0);
	assert_int_equal(f->k.n, 1);
	assert_memory_equal(f->k.identity.public_key, first.identity.public_key, 32);
	assert_memory_equal(&f->k.onion[0].pair, &first.onion[0].pair, sizeof(first.onion[0].pair));
	assert_int_equal(f->k.onion[0].about.keyid, first.onion[0].about.keyid);
	assert_ptr_equal(relay_keys_find(&f->k, first.onion[0].about.keyid), &f->k.onion[0].pair);
	assert_null(relay_keys_find(&f->k, (uint16_t)(first.onion[0].about.keyid + 1)));
}

/* Ten days, an hour at a time, against what each moment must show. */
static void relay_keys_rotate_daily_and_erase(void **state)
{
	struct fixture *f = *state;
	make(f);
	uint16_t first = f->k.onion[0].about.keyid;
	uint8_t secret[11][32];
	memcpy(secret[0], f->k.onion[0].pair.secret_key, 32);
	for (unsigned hour = 1; hour < 10 * 24; hour++) {
		uint64_t now = T0 + hour * 3600;
		bool due = now >= relay_keys_next(&f->k);
		assert_int_equal(relay_keys_rotate(&f->k, now, &f->rng, f->err), due ? 1 : 0);
		unsigned day = hour / 24;
		assert_int_equal(due, hour % 24 == 0);
		assert_int_equal(f->k.n, day ? 2 : 1);
		for (unsigned d = 0; d <= day; d++) {
			uint16_t id = (uint16_t)(first + d);
			bool stands = d + 1 >= day;
			if (d == day)
				memcpy(secret[d], f->k.onion[f->k.n - 1].pair.secret_key, 32);
			assert_int_equal(relay_keys_find(&f->k, id) != NULL, stands);
			if (due)
				assert_int_equal(file_has(f, "onion-keys", secret[d], 32), stands);
			if (!stands) /* from memory as well */
				assert_null(memmem(&f->k, sizeof(f->k), secret[d], 32));
		}
	}
}

static void relay_keys_overwrite_the_file_before(void **state)
{
	struct fixture *f = *state;
	make(f);
	char path[120], old[120];
	path_of(f, "onion-keys", path);
	snprintf(old, sizeof(old), "%s/kept", f->dir);
	assert_int_equal(link(path, old), 0); /* whoever reads the disk's free blocks */
	assert_int_equal(relay_keys_rotate(&f->k, T0 + PERIOD, &f->rng, f->err), 1);
	uint8_t buf[4096];
	FILE *in = fopen(old, "rb");
	assert_non_null(in);
	size_t n = fread(buf, 1, sizeof(buf), in);
	fclose(in);
	assert_true(n > 0);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(buf[i], 0);
	unlink(old);
}

/* A crash between the steps of a rotation leaves two names: of one file, or of two. */
static void relay_keys_tidy_up_after_a_crash(void **state)
{
	struct fixture *f = *state;
	make(f);
	struct relay_keys first = f->k;
	char path[120], old[120];
	path_of(f, "onion-keys", path);
	path_of(f, "onion-keys.old", old);
	assert_int_equal(link(path, old), 0);
	assert_int_equal(load(f, T0), 0);
	assert_memory_equal(&f->k.onion[0], &first.onion[0], sizeof(first.onion[0]));
	assert_int_not_equal(access(old, F_OK), 0);
	assert_int_equal(keyfile_write(old, "secret", 6, f->err), 0);
	assert_int_equal(load(f, T0), 0);
	assert_memory_equal(&f->k.onion[0], &first.onion[0], sizeof(first.onion[0]));
	assert_int_not_equal(access(old, F_OK), 0);
}

static void relay_keys_after_a_long_pause_start_anew(void **state)
{
	struct fixture *f = *state;
	make(f);
	uint16_t id = f->k.onion[0].about.keyid;
	assert_int_equal(load(f, T0 + 30 * PERIOD), 0);
	assert_int_equal(f->k.n, 1);
	assert_int_equal(f->k.onion[0].about.from, T0 + 30 * PERIOD);
	assert_true(f->k.onion[0].about.keyid != id);
}

/* The clock was a week ahead when the key was made: a key that no client would take is no key. */
static void relay_keys_do_not_wait_for_the_future(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(relay_keys_create(f->state, &f->rng, f->err), 0);
	assert_int_equal(load(f, T0 + 7 * PERIOD), 0);
	assert_int_equal(load(f, T0), 0);
	assert_int_equal(f->k.n, 1);
	assert_int_equal(f->k.onion[0].about.from, T0);
	assert_true(relay_keys_next(&f->k) > T0);
}

static void relay_keys_refuse_loose_permissions(void **state)
{
	static const char *const names[] = {"identity", "onion-keys"};
	struct fixture *f = *state;
	make(f);
	for (unsigned i = 0; i < 2; i++) {
		char path[120];
		path_of(f, names[i], path);
		assert_int_equal(chmod(path, 0640), 0);
		assert_int_equal(load(f, T0), -EACCES);
		assert_non_null(strstr(f->err, names[i]));
		assert_non_null(strstr(f->err, "chmod"));
		assert_int_equal(chmod(path, 0600), 0);
	}
	assert_int_equal(chmod(f->state, 0755), 0);
	assert_int_equal(load(f, T0), -EACCES);
	assert_int_equal(chmod(f->state, 0700), 0);
	assert_int_equal(load(f, T0), 0);
}

static void relay_keys_refuse_damaged_files(void **state)
{
	static const size_t sizes[] = {1, 81, 83, 5 * 82};
	struct fixture *f = *state;
	make(f);
	char path[120];
	uint8_t noise[5 * 82];
	path_of(f, "onion-keys", path);
	memset(noise, 1, sizeof(noise));
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		assert_int_equal(keyfile_write(path, noise, sizes[i], f->err), 0);
		assert_int_equal(load(f, T0), -EINVAL);
		assert_non_null(strstr(f->err, "onion-keys"));
	}
	assert_int_equal(unlink(path), 0);
	assert_int_equal(load(f, T0), 0); /* as the sentence says */
	path_of(f, "identity", path);
	assert_int_equal(truncate(path, 31), 0);
	assert_int_equal(load(f, T0), -EINVAL);
}

/* No byte may be written: the keys in force stay in force, in memory and on disk, and the next try
 * works. */
static void relay_keys_survive_a_full_disk(void **state)
{
	struct fixture *f = *state;
	make(f);
	struct relay_keys before = f->k;
	struct rlimit kept, none;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &kept), 0);
	none = kept;
	none.rlim_cur = 0;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	int r = relay_keys_rotate(&f->k, T0 + PERIOD, &f->rng, f->err);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &kept), 0);
	assert_int_equal(r, -EFBIG);
	assert_non_null(strstr(f->err, "make room"));
	assert_memory_equal(&f->k, &before, sizeof(before));
	assert_int_equal(load(f, T0 + 10), 0);
	assert_memory_equal(&f->k.onion, &before.onion, sizeof(before.onion));
	assert_int_equal(relay_keys_rotate(&f->k, T0 + PERIOD, &f->rng, f->err), 1);
	assert_int_equal(f->k.n, 2);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(relay_keys_makes_an_identity_once),
		TEST(relay_keys_wants_an_identity),
		TEST(relay_keys_come_back_the_same),
		TEST(relay_keys_rotate_daily_and_erase),
		TEST(relay_keys_overwrite_the_file_before),
		TEST(relay_keys_tidy_up_after_a_crash),
		TEST(relay_keys_after_a_long_pause_start_anew),
		TEST(relay_keys_do_not_wait_for_the_future),
		TEST(relay_keys_refuse_loose_permissions),
		TEST(relay_keys_refuse_damaged_files),
		TEST(relay_keys_survive_a_full_disk),
	};
	log_set_level(LOG_ERROR);
	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
