/* net/http_parse.c - the head of an HTTP/1.x request, as strictly as RFC 9112 lets a server be. See
 * http.h.
 *
 * Lines end in CRLF, nothing is folded, names are tokens. Only Content-Length says where a body
 * ends; a transfer coding or a second length is refused, so that nobody can read another request
 * into the bytes.
 */
#include <errno.h>
#include <string.h>
#include <strings.h>
#include "net/http.h"

/* A piece of the head; no NUL at its end. */
struct piece {
	const char *at;
	size_t n;
};

static bool piece_is(struct piece p, const char *word)
{
	return p.n == strlen(word) && memcmp(p.at, word, p.n) == 0;
}

static bool piece_is_nocase(struct piece p, const char *word)
{
	return p.n == strlen(word) && strncasecmp(p.at, word, p.n) == 0;
}

/* Cut off and return what stands before the first `end`; all of it, and *rest.at NULL, when there
 * is none. */
static struct piece cut(struct piece *rest, char end)
{
	struct piece first = *rest;
	const char *at = rest->n ? memchr(rest->at, end, rest->n) : NULL;
	if (!at) {
		*rest = (struct piece){NULL, 0};
		return first;
	}
	first.n = (size_t)(at - first.at);
	rest->at = at + 1;
	rest->n -= first.n + 1;
	return first;
}

/* True when it is not empty and all its characters are visible ASCII. */
static bool is_visible(struct piece p)
{
	for (size_t i = 0; i < p.n; i++)
		if (p.at[i] <= ' ' || p.at[i] >= 0x7f)
			return false;
	return p.n > 0;
}

static bool is_token(struct piece p)
{
	static const char others[] = "!#$%&'*+-.^_`|~";
	for (size_t i = 0; i < p.n; i++) {
		char c = p.at[i];
		bool alnum =
			(c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
		if (!alnum && (c == '\0' || !strchr(others, c)))
			return false;
	}
	return p.n > 0;
}

static int parse_target(struct piece target, struct http_head *head)
{
	if (!is_visible(target) || target.at[0] != '/')
		return -400;
	struct piece path = cut(&target, '?');
	if (path.n >= sizeof(head->path))
		return -414;
	memcpy(head->path, path.at, path.n);
	head->path[path.n] = '\0';
	return 0;
}

/* METHOD SP TARGET SP HTTP/1.DIGIT */
static int parse_request_line(struct piece line, struct http_head *head)
{
	struct piece method = cut(&line, ' ');
	struct piece target = line.at ? cut(&line, ' ') : line;
	if (!line.at || !is_token(method))
		return -400;
	if (line.n != 8 || memcmp(line.at, "HTTP/", 5) != 0)
		return -400;
	if (memcmp(line.at + 5, "1.", 2) != 0 || line.at[7] < '0' || line.at[7] > '9')
		return -505;
	head->is_known = true;
	if (piece_is(method, "GET"))
		head->method = HTTP_GET;
	else if (piece_is(method, "POST"))
		head->method = HTTP_POST;
	else
		head->is_known = false;
	return parse_target(target, head);
}

/* Take blanks off both ends. */
static struct piece trim(struct piece p)
{
	while (p.n > 0 && (p.at[0] == ' ' || p.at[0] == '\t')) {
		p.at++;
		p.n--;
	}
	while (p.n > 0 && (p.at[p.n - 1] == ' ' || p.at[p.n - 1] == '\t'))
		p.n--;
	return p;
}

static int parse_length(struct piece value, uint64_t *ret)
{
	uint64_t v = 0;
	if (value.n == 0 || value.n > 19) /* 19 digits cannot overflow */
		return -400;
	for (size_t i = 0; i < value.n; i++) {
		if (value.at[i] < '0' || value.at[i] > '9')
			return -400;
		v = v * 10 + (uint64_t)(value.at[i] - '0');
	}
	*ret = v;
	return 0;
}

static int parse_header(struct piece line, struct http_head *head, bool *has_length)
{
	struct piece value = line;
	struct piece name = cut(&value, ':');
	if (!value.at || !is_token(name)) /* a folded line starts with a blank, which is no token */
		return -400;
	for (size_t i = 0; i < value.n; i++)
		if ((unsigned char)value.at[i] < ' ' && value.at[i] != '\t')
			return -400;
	value = trim(value);
	if (piece_is_nocase(name, "Transfer-Encoding"))
		return -501;
	if (!piece_is_nocase(name, "Content-Length"))
		return 0;
	if (*has_length)
		return -400;
	*has_length = true;
	return parse_length(value, &head->body_bytes);
}

/* Cut the next line off; its CRLF goes. at NULL when it does not end in one. */
static struct piece cut_line(struct piece *rest)
{
	struct piece line = cut(rest, '\n');
	if (line.n == 0 || line.at[line.n - 1] != '\r')
		return (struct piece){NULL, 0};
	line.n--;
	return line;
}

int http_head_parse(const uint8_t *bytes, size_t n, struct http_head *ret)
{
	size_t looked_at = n < HTTP_HEAD_BYTES_MAX ? n : HTTP_HEAD_BYTES_MAX;
	const uint8_t *end = looked_at ? memmem(bytes, looked_at, "\r\n\r\n", 4) : NULL;
	if (!end)
		return looked_at == HTTP_HEAD_BYTES_MAX ? -431 : -EAGAIN;
	struct http_head head = {.head_bytes = (size_t)(end - bytes) + 4};
	struct piece rest = {(const char *)bytes, head.head_bytes - 2}; /* without the empty line */
	struct piece line = cut_line(&rest);
	int err = line.at ? parse_request_line(line, &head) : -400;
	bool has_length = false;
	while (err == 0 && rest.n > 0) {
		line = cut_line(&rest);
		err = line.at ? parse_header(line, &head, &has_length) : -400;
	}
	if (err == 0 && head.is_known && head.method == HTTP_POST && !has_length)
		err = -411;
	if (err == 0)
		*ret = head;
	return err;
}
