/* SPDX-License-Identifier: MIT */
/*
 * transport: see transport.h.
 *
 * libcurl's memory is not scanned, so what it knows (CURLOPT_PRIVATE, CURLOPT_WRITEDATA) must be held elsewhere for as long: a transfer is
 * in transport->running from before its easy handle is added until after the handle is gone.
 *
 * Callbacks are delivered by transport_pump alone (main chooses WEAKREF_DELIVER_MANUAL). Delivered at allocation, a finalizer could run
 * within libcurl's own callbacks, which allocate, and would remove a handle from a multi handle that is at work on it.
 */
#include "transport.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_LIMIT (1024 * 1024)

static const gc_type response_type = {.name = "Response", .size = sizeof(struct response)};

/* ---- lists of transfers ---- */

static void list_remove(struct transfer *transfer)
{
	if (transfer->next != NULL)
		transfer->next->link = transfer->link;
	else if (transfer->transport->queue_end == &transfer->next)
		transfer->transport->queue_end = transfer->link;
	*transfer->link = transfer->next;
	transfer->link = NULL;
	transfer->next = NULL;
}

static void queue_add(struct transport *transport, struct transfer *transfer)
{
	transfer->link = transport->queue_end;
	*transport->queue_end = transfer;
	transport->queue_end = &transfer->next;
	transport->queued++;
}

static void running_add(struct transport *transport, struct transfer *transfer)
{
	transfer->next = transport->running;
	transfer->link = &transport->running;
	if (transfer->next != NULL)
		transfer->next->link = &transfer->next;
	transport->running = transfer;
	transport->runs++;
}

/* ---- text ---- */

static char *heap_string(const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = gc_alloc_leaf(size);

	return copy != NULL ? memcpy(copy, text, size) : NULL;
}

char *transport_url(const char *text, const char **why)
{
	char *whole = NULL, *scheme = NULL, *result = NULL;
	CURLU *url = curl_url();

	*why = "no memory";
	if (url == NULL)
		return NULL;
	CURLUcode code = curl_url_set(url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME | CURLU_DEFAULT_SCHEME);
	if (code == CURLUE_OK)
		code = curl_url_get(url, CURLUPART_SCHEME, &scheme, 0);
	if (code == CURLUE_OK && strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0) {
		*why = "only http and https are fetched";
	} else {
		if (code == CURLUE_OK)
			code = curl_url_set(url, CURLUPART_FRAGMENT, NULL, 0);
		if (code == CURLUE_OK)
			code = curl_url_get(url, CURLUPART_URL, &whole, 0);
		if (code == CURLUE_OK)
			result = heap_string(whole);
		else
			*why = curl_url_strerror(code);
	}
	curl_free(whole);
	curl_free(scheme);
	curl_url_cleanup(url);
	return result;
}

/* ---- one transfer ---- */

/* The end of a transfer, whatever it is. Afterwards libcurl knows nothing of it. */
static void transfer_end(struct transfer *transfer, enum response_state state, const char *error)
{
	struct transport *transport = transfer->transport;
	struct response *response = transfer->response;

	if (transfer->easy != NULL) {
		curl_multi_remove_handle(transport->multi, transfer->easy);
		curl_easy_cleanup(transfer->easy);
		transfer->easy = NULL;
		transport->runs--;
	} else {
		transport->queued--;
	}
	list_remove(transfer);
	response->transfer = NULL;
	response->state = state;
	if (state == RESPONSE_FAILED) {
		response->error = heap_string(error);
		response->body = NULL;
		response->size = 0;
		/* Who asks next tries anew. */
		weakref_cache_remove(transport->responses, response->url, response, NULL);
	}
	for (struct waiter *waiter = transfer->waiters; waiter != NULL; waiter = waiter->next) {
		void *who = weakref_ref_get(waiter->who);
		if (who != NULL)
			transport->ended(who);
	}
	transfer->waiters = NULL;
}

int transfer_leave(void *arg)
{
	struct transfer *transfer = arg;

	if (transfer->link == NULL || --transfer->waiting > 0)
		return 0;
	/* Those that waited are dead or have left: nobody is told. */
	transfer->waiters = NULL;
	transfer->transport->count.aborted++;
	transfer_end(transfer, RESPONSE_FAILED, "cancelled");
	return 0;
}

static size_t refuse(struct transfer *transfer, const char *why)
{
	transfer->refused = why;
	return 0;
}

/* libcurl's write callback. Anything but n ends the transfer. */
static size_t transfer_write(char *data, size_t one, size_t n, void *arg)
{
	struct transfer *transfer = arg;
	struct response *response = transfer->response;

	(void)one;
	if ((uint64_t)response->size + n > (uint64_t)transfer->transport->limits.max_bytes)
		return refuse(transfer, "the body is larger than --max-bytes allows");
	if (response->size + n >= response->room) {
		size_t room = response->room < 4096 ? 4096 : response->room;
		while (room <= response->size + n)
			room *= 2;
		char *larger = gc_alloc_leaf(room);
		if (larger == NULL)
			return refuse(transfer, "no memory for the body");
		if (response->size > 0)
			memcpy(larger, response->body, response->size);
		response->body = larger;
		response->room = room;
	}
	memcpy(response->body + response->size, data, n);
	response->size += n;
	response->body[response->size] = '\0';
	return n;
}

static size_t transfer_header(char *data, size_t one, size_t n, void *arg)
{
	struct transfer *transfer = arg;

	(void)data;
	(void)one;
	transfer->headers += n;
	return transfer->headers <= HEADER_LIMIT ? n : refuse(transfer, "the headers do not end");
}

static CURLcode set_options(struct transfer *transfer, CURL *easy)
{
	const struct transport_limits *limits = &transfer->transport->limits;
	CURLcode code = CURLE_OK;

#define SET(option, value)                                                                                                                   \
	if (code == CURLE_OK)                                                                                                                \
	code = curl_easy_setopt(easy, CURLOPT_##option, value)
	SET(URL, transfer->response->url);
	SET(PROTOCOLS_STR, "http,https");
	SET(REDIR_PROTOCOLS_STR, "http,https");
	SET(FOLLOWLOCATION, 1L);
	SET(MAXREDIRS, limits->redirects);
	SET(TIMEOUT_MS, limits->timeout_ms);
	SET(NOSIGNAL, 1L);
	SET(USERAGENT, "libweakref-fetch");
	SET(MAXFILESIZE_LARGE, (curl_off_t)limits->max_bytes);
	SET(PRIVATE, transfer);
	SET(WRITEFUNCTION, transfer_write);
	SET(WRITEDATA, transfer);
	SET(HEADERFUNCTION, transfer_header);
	SET(HEADERDATA, transfer);
	SET(ERRORBUFFER, transfer->curl_error);
#undef SET
	return code;
}

/* From the queue to those that run; where libcurl refuses, to its end. */
static void transfer_begin(struct transport *transport, struct transfer *transfer)
{
	CURL *easy = curl_easy_init();
	CURLcode code = easy != NULL ? set_options(transfer, easy) : CURLE_OUT_OF_MEMORY;

	if (code != CURLE_OK) {
		curl_easy_cleanup(easy);
		transfer_end(transfer, RESPONSE_FAILED, curl_easy_strerror(code));
		transport->count.failed++;
		return;
	}
	list_remove(transfer);
	transport->queued--;
	transfer->easy = easy;
	running_add(transport, transfer);
	transport->count.begun++;
	CURLMcode multi_code = curl_multi_add_handle(transport->multi, easy);
	if (multi_code != CURLM_OK) {
		transfer_end(transfer, RESPONSE_FAILED, curl_multi_strerror(multi_code));
		transport->count.failed++;
	}
}

/* What libcurl says of a transfer that it has ended. */
static void transfer_done(struct transfer *transfer, CURLcode code)
{
	struct transport *transport = transfer->transport;
	char status_text[64];
	const char *error = NULL;
	long status = 0;

	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	if (transfer->refused != NULL)
		error = transfer->refused;
	else if (code == CURLE_FILESIZE_EXCEEDED)
		error = "the body is larger than --max-bytes allows";
	else if (code != CURLE_OK)
		error = transfer->curl_error[0] != '\0' ? transfer->curl_error : curl_easy_strerror(code);
	else if (status >= 400 || status < 200) {
		snprintf(status_text, sizeof status_text, "the server answered with status %ld", status);
		error = status_text;
	} else if (transfer->response->body == NULL && (transfer->response->body = heap_string("")) == NULL)
		error = "no memory for the body";
	if (error != NULL)
		transport->count.failed++;
	else
		transport->count.received++;
	transfer_end(transfer, error != NULL ? RESPONSE_FAILED : RESPONSE_RECEIVED, error);
}

/* ---- the transport ---- */

struct transport *transport_new(const struct transport_limits *limits, weakref_cache *responses, void (*ended)(void *who))
{
	struct transport *transport = gc_alloc(sizeof *transport);

	if (transport == NULL)
		return NULL;
	transport->limits = *limits;
	transport->ended = ended;
	transport->queue_end = &transport->queue;
	transport->responses = responses;
	transport->multi = curl_multi_init();
	if (transport->multi == NULL) {
		errno = ENOMEM;
		return NULL;
	}
	return transport;
}

int transport_close(void *arg)
{
	struct transport *transport = arg;
	struct transfer *transfer;

	while ((transfer = transport->running != NULL ? transport->running : transport->queue) != NULL) {
		transport->count.aborted++;
		transfer_end(transfer, RESPONSE_FAILED, "the session was closed");
	}
	CURLMcode code = curl_multi_cleanup(transport->multi);
	transport->multi = NULL;
	transport->count.closed++;
	return code == CURLM_OK ? 0 : -EIO;
}

/* One more who waits for a pending response. */
static int transfer_join(struct transfer *transfer, void *who)
{
	struct waiter *waiter = gc_alloc(sizeof *waiter);

	if (waiter == NULL || (waiter->who = weakref_ref_new(who, NULL, NULL)) == NULL)
		return -1;
	/* At the end: they are told in the order in which they came. */
	struct waiter **end = &transfer->waiters;
	while (*end != NULL)
		end = &(*end)->next;
	*end = waiter;
	transfer->waiting++;
	return 0;
}

static struct response *response_new(struct transport *transport, char *url, void *who)
{
	struct response *response = gc_new(&response_type);
	struct transfer *transfer = gc_alloc(sizeof *transfer);

	if (response == NULL || transfer == NULL)
		return NULL;
	response->url = url;
	response->transfer = transfer;
	transfer->transport = transport;
	transfer->response = response;
	if (transfer_join(transfer, who) != 0)
		return NULL;
	int error = weakref_cache_put(transport->responses, url, response);
	if (error != 0) {
		errno = -error;
		return NULL;
	}
	queue_add(transport, transfer);
	return response;
}

struct response *transport_get(struct transport *transport, char *url, void *who)
{
	struct response *response = weakref_cache_get_if_present(transport->responses, url);

	if (response == NULL)
		return response_new(transport, url, who);
	if (response->transfer != NULL && transfer_join(response->transfer, who) != 0)
		return NULL;
	transport->count.shared++;
	return response;
}

static bool take_messages(struct transport *transport)
{
	CURLMsg *message;
	bool any = false;
	int left;

	while ((message = curl_multi_info_read(transport->multi, &left)) != NULL) {
		char *private = NULL;
		if (message->msg != CURLMSG_DONE)
			continue;
		any = true;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private);
		transfer_done((struct transfer *)(void *)private, message->data.result);
	}
	return any;
}

int transport_pump(struct transport *transport, int timeout_ms)
{
	struct curl_waitfd callbacks = {.fd = gc_callbacks_fd(), .events = CURL_WAIT_POLLIN};
	CURLMcode code;
	int still;

	while (transport->queue != NULL && transport->runs < transport->limits.parallel)
		transfer_begin(transport, transport->queue);
	code = curl_multi_perform(transport->multi, &still);
	if (code == CURLM_OK && !take_messages(transport))
		code = curl_multi_poll(transport->multi, &callbacks, callbacks.fd >= 0, timeout_ms, NULL);
	gc_run_callbacks();
	return code == CURLM_OK ? 0 : -EIO;
}
