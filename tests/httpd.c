/* SPDX-License-Identifier: MIT */
/*
 * httpd LOG: a small HTTP server on loopback for tests/check_fetch.sh. It prints the number of its port and a newline, notes each request
 * in LOG (a line with its path), and serves until its standard input ends, two minutes at most.
 *
 * What HTTP allows, libmicrohttpd answers:
 *
 *     /text/TEXT     TEXT, a newline, and the number of the request
 *     /bytes/N       N bytes of the letter x; no length is announced above 1000000
 *     /slow/MS       "slow", after so many milliseconds
 *     /drip/MS       ten bytes, one each MS milliseconds, announced with their length
 *     /status/N      an answer with status N
 *     /redirect/P    a redirection to /P; /around to itself; /out to a file: URL
 *     /control       what would disturb a terminal
 *     /empty         nothing
 *
 * What it forbids is answered by hand, on the connection's own socket, on a second port (printed behind the first): /short announces
 * more than it sends, /garbage is no status line, /reset resets the connection in the middle of the body, /silent says nothing, /hangup closes
 * without a word, /headers never ends its headers, /chunks breaks off a chunked body.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <microhttpd.h>

static int log_file = -1;

static _Noreturn void fatal(const char *what)
{
	perror(what);
	exit(99);
}

static void note(const char *path)
{
	char line[256];
	int n = snprintf(line, sizeof line, "%.200s\n", path);

	if (write(log_file, line, (size_t)n) != n)
		fatal("log");
}

static void sleep_ms(long ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	nanosleep(&t, NULL);
}

/* ---- within HTTP: a thread for each connection, so that an answer may take its time ---- */

/* A body that is made as it is sent; behind it, in one block, nothing. */
struct body {
	uint64_t size;
	long pause_ms; /* before each byte */
};

static ssize_t body_read(void *arg, uint64_t at, char *buf, size_t size)
{
	const struct body *body = arg;
	uint64_t left = body->size - at;

	if (left == 0)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (body->pause_ms > 0) {
		sleep_ms(body->pause_ms);
		size = 1;
	}
	size = size < left ? size : (size_t)left;
	memset(buf, 'x', size);
	return (ssize_t)size;
}

static struct MHD_Response *made(uint64_t size, long pause_ms, bool announced)
{
	struct body *body = malloc(sizeof *body);

	if (body == NULL)
		return NULL;
	*body = (struct body){.size = size, .pause_ms = pause_ms};
	return MHD_create_response_from_callback(announced ? size : MHD_SIZE_UNKNOWN, 65536, body_read, body, free);
}

static struct MHD_Response *text(const char *format, ...) __attribute__((format(printf, 1, 2)));

static struct MHD_Response *text(const char *format, ...)
{
	char buf[512];
	va_list args;

	va_start(args, format);
	int n = vsnprintf(buf, sizeof buf, format, args);
	va_end(args);
	return MHD_create_response_from_buffer((size_t)n < sizeof buf ? (size_t)n : sizeof buf - 1, buf, MHD_RESPMEM_MUST_COPY);
}

static struct MHD_Response *redirection(const char *where)
{
	struct MHD_Response *response = text("elsewhere");

	if (response != NULL)
		MHD_add_response_header(response, "Location", where);
	return response;
}

static const char *behind(const char *path, const char *prefix)
{
	size_t n = strlen(prefix);

	return strncmp(path, prefix, n) == 0 ? path + n : NULL;
}

static struct MHD_Response *response_to(const char *path, unsigned *status)
{
	static atomic_uint requests;
	const char *rest;

	if ((rest = behind(path, "/text/")) != NULL)
		return text("%s\n%u", rest, ++requests);
	if ((rest = behind(path, "/bytes/")) != NULL) {
		uint64_t n = strtoull(rest, NULL, 10);
		return made(n, 0, n <= 1000000);
	}
	if ((rest = behind(path, "/slow/")) != NULL) {
		sleep_ms(atol(rest));
		return text("slow");
	}
	if ((rest = behind(path, "/drip/")) != NULL)
		return made(10, atol(rest), true);
	if ((rest = behind(path, "/status/")) != NULL) {
		*status = (unsigned)atoi(rest);
		return text("an answer with status %u", *status);
	}
	if ((rest = behind(path, "/redirect")) != NULL || strcmp(path, "/around") == 0 || strcmp(path, "/out") == 0) {
		*status = MHD_HTTP_FOUND;
		return redirection(rest != NULL ? rest : path[1] == 'a' ? "/around" : "file:///etc/passwd");
	}
	if (strcmp(path, "/control") == 0)
		return text("a\033[31mb\tc\r\n\302\233d \303\244 \377e\177");
	if (strcmp(path, "/empty") == 0)
		return text("%s", "");
	*status = MHD_HTTP_NOT_FOUND;
	return text("there is nothing");
}

static enum MHD_Result answer(void *arg, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
			      const char *data, size_t *size, void **state)
{
	static char begun;
	unsigned status = MHD_HTTP_OK;

	(void)arg, (void)method, (void)version, (void)data, (void)size;
	/* The first call is for the headers, and the answer must not be given in it. */
	if (*state == NULL) {
		*state = &begun;
		return MHD_YES;
	}
	note(url);
	struct MHD_Response *response = response_to(url, &status);
	if (response == NULL)
		return MHD_NO;
	enum MHD_Result result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static unsigned start_server(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct MHD_Daemon *daemon = MHD_start_daemon(MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, answer, NULL,
						     MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_END);
	const union MHD_DaemonInfo *info = daemon != NULL ? MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT) : NULL;

	if (info == NULL)
		fatal("MHD_start_daemon");
	return info->port;
}

/* ---- against HTTP ---- */

static void send_text(int fd, const char *words)
{
	send(fd, words, strlen(words), MSG_NOSIGNAL);
}

/* Reads a request up to its blank line; its path, or nothing. */
static void read_request(int fd, char *path, size_t size)
{
	char request[4096];
	size_t n = 0;
	ssize_t got;

	path[0] = '\0';
	request[0] = '\0';
	while (strstr(request, "\r\n\r\n") == NULL && n < sizeof request - 1) {
		got = recv(fd, request + n, sizeof request - 1 - n, 0);
		if (got <= 0)
			return;
		n += (size_t)got;
		request[n] = '\0';
	}
	char *begin = strchr(request, '/'), *end = begin != NULL ? strchr(begin, ' ') : NULL;
	if (end != NULL)
		snprintf(path, size, "%.*s", (int)(end - begin), begin);
}

static void wait_for_close(int fd)
{
	char byte;

	while (recv(fd, &byte, 1, 0) > 0)
		continue;
}

static void misbehave(int fd, const char *path)
{
	const struct linger abort_it = {.l_onoff = 1};

	if (strcmp(path, "/short") == 0)
		send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort");
	else if (strcmp(path, "/garbage") == 0)
		send_text(fd, "\001\002 this is no HTTP\r\n\r\n");
	else if (strcmp(path, "/chunks") == 0)
		send_text(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\nff\r\nbroken");
	else if (strcmp(path, "/silent") == 0)
		wait_for_close(fd);
	else if (strcmp(path, "/headers") == 0) {
		char line[1000];
		memset(line, 'h', sizeof line);
		memcpy(line, "X: ", 3);
		memcpy(line + sizeof line - 2, "\r\n", 2);
		send_text(fd, "HTTP/1.1 200 OK\r\n");
		while (send(fd, line, sizeof line, MSG_NOSIGNAL) > 0)
			continue;
	} else if (strcmp(path, "/reset") == 0) {
		send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbefore the reset");
		/* The other side shall have read that. */
		sleep_ms(100);
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort_it, sizeof abort_it);
	}
}

static void *serve_badly(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char path[256];

	read_request(fd, path, sizeof path);
	note(path);
	misbehave(fd, path);
	close(fd);
	return NULL;
}

static void *accept_badly(void *arg)
{
	int listener = (int)(intptr_t)arg;

	for (;;) {
		pthread_t thread;
		int fd = accept(listener, NULL, NULL);
		if (fd < 0 || pthread_create(&thread, NULL, serve_badly, (void *)(intptr_t)fd) != 0)
			fatal("accept");
		pthread_detach(thread);
	}
	return NULL;
}

static unsigned start_bad_server(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof address;
	pthread_t thread;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) != 0 || listen(fd, 64) != 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &size) != 0 || pthread_create(&thread, NULL, accept_badly, (void *)(intptr_t)fd) != 0)
		fatal("listen");
	pthread_detach(thread);
	return ntohs(address.sin_port);
}

int main(int argc, char **argv)
{
	char byte;

	log_file = argc == 2 ? open(argv[1], O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
	if (log_file < 0) {
		fprintf(stderr, "usage: httpd LOG\n");
		return 99;
	}
	/* The end of the input is what ends it; this only if that never comes. */
	alarm(3600);
	unsigned good = start_server(), bad = start_bad_server();
	printf("%u %u\n", good, bad);
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		continue;
	/* Connections may be open yet; nobody waits for them. */
	_exit(0);
}
