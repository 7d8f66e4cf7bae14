/* net/http_url.h - the URLs that are fetched: http, an IP address, a path. A value. */
#pragma once
#include "base/addr.h"

#define HTTP_URL_BYTES_MAX 256

struct http_url {
	struct addr to;	  /* port 80 when none is given */
	const char *path; /* and query, to the end; lies in the text, or is "/" */
};

/* Parse "http://192.0.2.1/PATH?QUERY" or "http://[2001:db8::1]:8080/PATH"; port and path may be
 * missing, a query needs its path. A name, userinfo, a fragment, another scheme and anything but
 * printable ASCII are refused. *ret refers to `text`. 0, or -EINVAL with *ret untouched. */
int http_url_parse(const char *text, struct http_url *ret) __attribute__((warn_unused_result));
