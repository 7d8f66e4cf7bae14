/* tests/unit/test_config.c - config files: what is read, and the sentence for each mistake. */
#include "base/config.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/addr.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

struct sample {
	char name[8];
	char path[32];
	uint16_t small;
	uint32_t hops;
	uint64_t big;
	bool on;
	uint64_t period;
	struct addr listen;
	struct addr dns;
	struct prefix range;
	unsigned words;
};

static const char *count_word(const char *value, void *to, const void *arg)
{
	(void)arg;
	if (strcmp(value, "no-such") == 0)
		return "a word";
	++*(unsigned *)to;
	return NULL;
}

static const struct config_range one_to_eight = {1, 8};
static const struct config_range up_to_a_day = {1, 86400};

#define ROW(section, key, read, field, ...)                                                        \
	{                                                                                          \
		section, key, read, offsetof(struct sample, field), __VA_ARGS__                    \
	}
static const struct config_row rows[] = {
	ROW("a", "name", config_string, name, (const void *)sizeof(((struct sample *)0)->name),
	    true, false),
	ROW("a", "path", config_path, path, (const void *)sizeof(((struct sample *)0)->path), false,
	    false),
	ROW("a", "small", config_u16, small, NULL, false, false),
	ROW("a", "hops", config_u32, hops, &one_to_eight, false, false),
	ROW("a", "big", config_u64, big, NULL, false, false),
	ROW("a", "on", config_bool, on, NULL, false, false),
	ROW("b", "period", config_seconds, period, &up_to_a_day, false, false),
	ROW("b", "listen", config_addr, listen, NULL, false, false),
	ROW("b", "dns", config_ip, dns, NULL, false, false),
	ROW("b", "range", config_prefix, range, NULL, false, false),
	ROW("b", "word", count_word, words, NULL, false, true),
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static void config_reads_every_kind(void **state)
{
	(void)state;
	static const char text[] = "# a comment\n"
				   "; another\r\n"
				   "[a]\n"
				   "name = seven77 ; and a comment\n"
				   "  path=/var/lib/x y\r\n"
				   "\tsmall : 65535\n"
				   "hops = 8\n"
				   "big = 18446744073709551615\n"
				   "on = yes\n"
				   "\n"
				   "[b]\n"
				   "period = 15m\n"
				   "listen = [2001:db8::1]:443\n"
				   "dns = 192.0.2.53\n"
				   "range = 10.0.0.0/8\n"
				   "word = x\n"
				   "word = y\n"
				   "word = z";
	struct sample s = {.hops = 3};
	char err[CONFIG_ERROR_BYTES] = "untouched";
	if (config_load_text("f", text, rows, ROWS, &s, err) != 0)
		fail_msg("%s", err);
	assert_string_equal(err, "untouched");
	assert_string_equal(s.name, "seven77");
	assert_string_equal(s.path, "/var/lib/x y");
	assert_int_equal(s.small, 65535);
	assert_int_equal(s.hops, 8);
	assert_true(s.big == UINT64_MAX);
	assert_true(s.on);
	assert_int_equal(s.period, 900);
	char buf[ADDR_TEXT_BYTES];
	assert_string_equal(addr_text(&s.listen, buf), "[2001:db8::1]:443");
	assert_string_equal(addr_ip_text(&s.dns, buf), "192.0.2.53");
	assert_string_equal(prefix_text(&s.range, buf), "10.0.0.0/8");
	assert_int_equal(s.words, 3);
}

static void config_keeps_defaults(void **state)
{
	(void)state;
	struct sample s = {.hops = 3, .on = true};
	char err[CONFIG_ERROR_BYTES];
	assert_int_equal(config_load_text("f", "[a]\nname=\n", rows, ROWS, &s, err), 0);
	assert_int_equal(s.hops, 3);
	assert_true(s.on);
	assert_string_equal(s.name, "");
}

static const struct {
	const char *text;
	const char *err;
} mistakes[] = {
	{"", "f:1: the file ends and [a] lacks \"name\"; add the line \"name = ...\" there"},
	{"[a]\n\non=no\n",
	 "f:3: the file ends and [a] lacks \"name\"; add the line \"name = ...\" there"},
	{"[a]\nname=x\nnmae=y\nhops=99\n",
	 "f:3: [a] has no key \"nmae\"; correct its spelling or remove the line"},
	{"\n[c]\nname=x\n", "f:3: there is no section [c]; correct its spelling or remove it"},
	{"name=x\n", "f:1: \"name\" stands before any section; put it under a [section] line"},
	{"[a]\nname=x\nname=y\n", "f:3: \"name\" is given twice in [a]; keep one of the lines"},
	{"[a]\nname\n",
	 "f:2: this is neither \"[section]\" nor \"key = value\"; correct or remove it"},
	{"[a\nname=x\n",
	 "f:1: this is neither \"[section]\" nor \"key = value\"; correct or remove it"},
	{"[a]\nwhat\nhops=9\n",
	 "f:2: this is neither \"[section]\" nor \"key = value\"; correct or remove it"},
	{"[a]\nhops=9\nwhat\n", "f:2: \"hops\" cannot be \"9\"; give a number from 1 to 8"},
	{"[a]\nhops=0\n", "f:2: \"hops\" cannot be \"0\"; give a number from 1 to 8"},
	{"[a]\nhops=+1\n", "f:2: \"hops\" cannot be \"+1\"; give a number from 1 to 8"},
	{"[a]\nhops=\n", "f:2: \"hops\" cannot be \"\"; give a number from 1 to 8"},
	{"[a]\nhops=4294967297\n",
	 "f:2: \"hops\" cannot be \"4294967297\"; give a number from 1 to 8"},
	{"[a]\nsmall=65536\n", "f:2: \"small\" cannot be \"65536\"; give a number from 0 to 65535"},
	{"[a]\nbig=18446744073709551616\n",
	 "f:2: \"big\" cannot be \"18446744073709551616\"; give a number from 0 to 18446744073709551615"},
	{"[a]\non=true\n", "f:2: \"on\" cannot be \"true\"; give yes or no"},
	{"[a]\nname=eightchr\n", "f:2: \"name\" cannot be \"eightchr\"; give at most 7 characters"},
	{"[a]\npath=x/y\n",
	 "f:2: \"path\" cannot be \"x/y\"; give an absolute path (one that starts with /)"},
	{"[b]\nperiod=0\n", "f:2: \"period\" cannot be \"0\"; "
			    "give a time such as 90s, 15m, 2h or 1d, in seconds from 1 to 86400"},
	{"[b]\nperiod=2d\n", "f:2: \"period\" cannot be \"2d\"; "
			     "give a time such as 90s, 15m, 2h or 1d, in seconds from 1 to 86400"},
	{"[b]\nperiod=18446744073709551615d\n",
	 "f:2: \"period\" cannot be \"18446744073709551615d\"; "
	 "give a time such as 90s, 15m, 2h or 1d, in seconds from 1 to 86400"},
	{"[b]\nperiod=5mm\n", "f:2: \"period\" cannot be \"5mm\"; "
			      "give a time such as 90s, 15m, 2h or 1d, in seconds from 1 to 86400"},
	{"[b]\nlisten=192.0.2.1\n",
	 "f:2: \"listen\" cannot be \"192.0.2.1\"; "
	 "give an address with a port, such as 192.0.2.1:443 or [2001:db8::1]:443"},
	{"[b]\ndns=192.0.2.1:53\n",
	 "f:2: \"dns\" cannot be \"192.0.2.1:53\"; "
	 "give an address without a port, such as 192.0.2.1 or 2001:db8::1"},
	{"[b]\nrange=10.0.0.1/8\n",
	 "f:2: \"range\" cannot be \"10.0.0.1/8\"; give a prefix whose host bits are zero, "
	 "such as 192.0.2.0/24 or 2001:db8::/32"},
	{"[b]\nword=x\nword=no-such\n", "f:3: \"word\" cannot be \"no-such\"; give a word"},
	{"[a]\nx\033[31m\001=1\n",
	 "f:2: [a] has no key \"x?[31m?\"; correct its spelling or remove the line"},
};

static void config_says_what_is_wrong_and_where(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
		struct sample s = {0};
		char err[CONFIG_ERROR_BYTES] = "";
		assert_int_equal(config_load_text("f", mistakes[i].text, rows, ROWS, &s, err),
				 -EINVAL);
		assert_string_equal(err, mistakes[i].err);
	}
}

static void config_refuses_a_long_line(void **state)
{
	(void)state;
	char text[5000] = "[a]\nname = x\n#";
	memset(text + strlen(text), 'x', 4000);
	struct sample s = {0};
	char err[CONFIG_ERROR_BYTES] = "";
	assert_int_equal(config_load_text("f", text, rows, ROWS, &s, err), -EINVAL);
	assert_memory_equal(err, "f:3: the line is too long", 25);
}

static void write_file(const char *path, const void *bytes, size_t n)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

static void config_reads_a_file(void **state)
{
	(void)state;
	char dir[] = "/tmp/test_config.XXXXXX";
	assert_non_null(mkdtemp(dir));
	char path[64];
	snprintf(path, sizeof(path), "%s/f.ini", dir);
	struct sample s = {0};
	char err[CONFIG_ERROR_BYTES] = "";
	char want[CONFIG_ERROR_BYTES];

	assert_int_equal(config_load(path, rows, ROWS, &s, err), -ENOENT);
	snprintf(want, sizeof(want),
		 "%s: cannot be read: No such file or directory; create it or name another file",
		 path);
	assert_string_equal(err, want);

	write_file(path, "[a]\nname=x\n", 11);
	assert_int_equal(config_load(path, rows, ROWS, &s, err), 0);
	assert_string_equal(s.name, "x");

	write_file(path, "[a]\nname=\0\n", 11);
	assert_int_equal(config_load(path, rows, ROWS, &s, err), -EILSEQ);
	assert_non_null(strstr(err, "not a text file"));

	char *large = malloc(1024 * 1024 + 1);
	assert_non_null(large);
	memset(large, '\n', 1024 * 1024 + 1);
	write_file(path, large, 1024 * 1024 + 1);
	assert_int_equal(config_load(path, rows, ROWS, &s, err), -EFBIG);
	free(large);

	assert_int_equal(config_load(dir, rows, ROWS, &s, err), -EISDIR);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(config_reads_every_kind),
		cmocka_unit_test(config_keeps_defaults),
		cmocka_unit_test(config_says_what_is_wrong_and_where),
		cmocka_unit_test(config_refuses_a_long_line),
		cmocka_unit_test(config_reads_a_file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
