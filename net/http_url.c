/* net/http_url.c - see net/http_url.h. */
#include "net/http_url.h"
#include <errno.h>
#include <http_parser.h>
#include <string.h>

#define HTTP_PORT 80

static const char scheme[] = "http://";
#define SCHEME_BYTES (sizeof(scheme) - 1)

static bool has(const struct http_parser_url *u, enum http_parser_url_fields field)
{
	return u->field_set & 1u << field;
}

/* The library finds a host by its characters; whether it is an address, and nothing in front of it
 * (an "@"), is ours to say. */
static int read_address(const char *text, const struct http_parser_url *u, struct addr *ret)
{
	char host[ADDR_TEXT_BYTES];
	size_t at = u->field_data[UF_HOST].off, n = u->field_data[UF_HOST].len;
	bool in_brackets = text[SCHEME_BYTES] == '[';

	if (n >= sizeof(host) || at != SCHEME_BYTES + in_brackets)
		return -EINVAL;
	memcpy(host, text + at, n);
	host[n] = '\0';
	if (addr_parse_ip(host, ret) < 0 || (ret->family == 6) != in_brackets)
		return -EINVAL;
	ret->port = has(u, UF_PORT) ? u->port : HTTP_PORT;
	return ret->port ? 0 : -EINVAL;
}

int http_url_parse(const char *text, struct http_url *ret)
{
	struct http_parser_url u;
	struct addr to;
	size_t n = strnlen(text, HTTP_URL_BYTES_MAX + 1);

	if (n > HTTP_URL_BYTES_MAX || strncmp(text, scheme, SCHEME_BYTES) != 0)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) /* Debian's library takes some others */
		if (text[i] <= ' ' || text[i] > '~')
			return -EINVAL;
	http_parser_url_init(&u);
	if (http_parser_parse_url(text, n, 0, &u) != 0 || !has(&u, UF_HOST))
		return -EINVAL;
	if (strchr(text, '#')) /* an empty fragment is no field */
		return -EINVAL;
	if (has(&u, UF_QUERY) && !has(&u, UF_PATH))
		return -EINVAL;
	if (read_address(text, &u, &to) < 0)
		return -EINVAL;
	ret->to = to;
	ret->path = has(&u, UF_PATH) ? text + u.field_data[UF_PATH].off : "/";
	return 0;
}
