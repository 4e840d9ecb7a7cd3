/*
 * A native Dialmux worker in C, on libzmq and msgpack-c: one thread, one poll loop, a few lines of state for each stream. It serves the
 * paths of frame/CONFORM.md; to serve others, write a step like those below and name it in the table of routes.
 *
 *   apt-get install gcc libc6-dev libzmq3-dev libmsgpack-dev
 *   cc -std=c11 -O2 -Wall -Wextra -o worker worker.c -lzmq -lmsgpackc
 *   ./worker [NAME [ENDPOINT]]     ($DIALMUX_ROUTER, or tcp://127.0.0.1:8000; $DIALMUX_TOKEN is shown to the router)
 *
 * SIGTERM ends it when what it has begun is done.
 */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <msgpack.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

enum { DATA = 0, HEADERS = 1, RST_STREAM = 3, GOAWAY = 7, WINDOW_UPDATE = 8, WELCOME = 64, JOIN = 65 };
enum { END_STREAM = 1 };
enum { NO_ERROR = 0, PROTOCOL_ERROR = 1, INTERNAL_ERROR = 2, FLOW_CONTROL_ERROR = 3, REFUSED_STREAM = 7, CANCEL = 8 };
enum { CONCURRENCY = 64, REQUEST_WINDOW = 65536, RESPONSE_WINDOW = 262144, MAX_PAYLOAD = 65536, MIN_COST = 1024 };

static const uint64_t MAX_ROOM = 9007199254740991; /* 2^53-1, the largest number of the protocol */

/* Text of a message; it lives as long as the message. */
struct text {
	const char *p;
	size_t n;
};

/* One request and its answer. */
struct stream {
	struct stream *next;
	uint64_t number;
	void (*step)(struct stream *); /* does what can be done now: called when body, credit or its time has come */
	bool done;                     /* its END_STREAM or RST_STREAM is sent, or none is owed */

	char status[4];
	bool head_sent, bodiless; /* bodiless: an answer to HEAD */
	int64_t room;             /* what may still be sent, in cost */
	uint64_t sent;            /* bytes */

	bool expecting, complete;    /* the request waits for a 100; its END_STREAM has come */
	int64_t window, debt;        /* what the router may still send, in cost, and what it shall get back */
	uint64_t received;           /* bytes */
	size_t waiting;              /* bytes in inbox */

	/* What the path asked for. */
	uint64_t count, size;
	int64_t pause, due; /* ms; due is on the clock of now() */
	const msgpack_object_array *fields; /* of the request, during the first step only */

	unsigned char inbox[REQUEST_WINDOW]; /* body that has come and has not been dealt with */
};

static void *the_socket;
static struct stream *streams;
static size_t open_streams;
static bool joined, leaving;
static uint64_t connection, last_taken;
static const char *name;
static char instance[33];
static int signalled[2]; /* a pipe: a signal handler may write to it, and zmq_poll waits for it */

static void die(const char *what)
{
	fprintf(stderr, "worker: %s: %s\n", what, zmq_strerror(errno));
	exit(1);
}

static int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t cost(size_t n)
{
	return n == 0 ? 0 : n < MIN_COST ? MIN_COST : (int64_t)n;
}

/* ---- msgpack ---- */

static struct text text_of(msgpack_object o)
{
	switch (o.type) {
	case MSGPACK_OBJECT_STR:
		return (struct text){o.via.str.ptr, o.via.str.size};
	case MSGPACK_OBJECT_BIN: /* text that is not UTF-8 */
		return (struct text){o.via.bin.ptr, o.via.bin.size};
	default:
		return (struct text){"", 0};
	}
}

static bool is(struct text t, const char *s)
{
	return t.n == strlen(s) && memcmp(t.p, s, t.n) == 0;
}

static bool begins(struct text t, const char *s)
{
	return t.n >= strlen(s) && memcmp(t.p, s, strlen(s)) == 0;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool number_of(msgpack_object o, uint64_t *n)
{
	*n = o.via.u64;
	return o.type == MSGPACK_OBJECT_POSITIVE_INTEGER;
}

static void pack_text(msgpack_packer *pk, const char *s)
{
	msgpack_pack_str(pk, strlen(s));
	msgpack_pack_str_body(pk, s, strlen(s));
}

/* The head of a message, as it is being written. */
struct head {
	msgpack_sbuffer bytes;
	msgpack_packer pk;
};

static void begin(struct head *h, size_t elements, int type, uint64_t number, int flags)
{
	msgpack_sbuffer_init(&h->bytes);
	msgpack_packer_init(&h->pk, &h->bytes, msgpack_sbuffer_write);
	msgpack_pack_array(&h->pk, elements);
	msgpack_pack_int(&h->pk, type);
	msgpack_pack_uint64(&h->pk, number);
	msgpack_pack_int(&h->pk, flags);
}

/* Without a high-water mark, sending waits for nothing: the windows bound what is queued. */
static void end(struct head *h, const void *payload, size_t n)
{
	if (zmq_send(the_socket, h->bytes.data, h->bytes.size, n > 0 ? ZMQ_SNDMORE : 0) < 0)
		die("send");
	if (n > 0 && zmq_send(the_socket, payload, n, 0) < 0)
		die("send");
	msgpack_sbuffer_destroy(&h->bytes);
}

/* ---- frames that the worker sends ---- */

static void send_join(void)
{
	struct head h;
	const char *token = getenv("DIALMUX_TOKEN");
	begin(&h, 4, JOIN, 0, 0);
	msgpack_pack_map(&h.pk, 6);
	pack_text(&h.pk, "protocol"), msgpack_pack_int(&h.pk, 1);
	pack_text(&h.pk, "connection"), msgpack_pack_uint64(&h.pk, connection);
	pack_text(&h.pk, "instance"), pack_text(&h.pk, instance);
	pack_text(&h.pk, "name"), pack_text(&h.pk, name);
	pack_text(&h.pk, "concurrency"), msgpack_pack_int(&h.pk, CONCURRENCY);
	pack_text(&h.pk, "token"), pack_text(&h.pk, token ? token : "");
	end(&h, NULL, 0);
}

static void send_goaway(void)
{
	struct head h;
	begin(&h, 6, GOAWAY, 0, 0);
	msgpack_pack_uint64(&h.pk, last_taken);
	msgpack_pack_int(&h.pk, NO_ERROR);
	pack_text(&h.pk, "leaving");
	end(&h, NULL, 0);
}

static void send_reset(uint64_t number, int code, const char *reason)
{
	struct head h;
	begin(&h, 5, RST_STREAM, number, 0);
	msgpack_pack_int(&h.pk, code);
	pack_text(&h.pk, reason);
	end(&h, NULL, 0);
}

static void send_credit(struct stream *s)
{
	struct head h;
	begin(&h, 4, WINDOW_UPDATE, s->number, 0);
	msgpack_pack_int64(&h.pk, s->debt);
	end(&h, NULL, 0);
	s->window += s->debt;
	s->debt = 0;
}

static void send_informational(struct stream *s, const char *status)
{
	struct head h;
	begin(&h, 4, HEADERS, s->number, 0);
	msgpack_pack_array(&h.pk, 2);
	pack_text(&h.pk, ":status"), pack_text(&h.pk, status);
	end(&h, NULL, 0);
}

static void set_status(struct stream *s, const char *status)
{
	memcpy(s->status, status, sizeof s->status);
}

/* reset breaks the answer off. */
static void reset(struct stream *s, int code, const char *reason)
{
	send_reset(s->number, code, reason);
	s->done = true;
}

/* emit sends a piece of the answer, in HEADERS if its head has not left yet. The caller knows that it fits into the window. */
static void emit(struct stream *s, bool last, const void *piece, size_t n)
{
	struct head h;
	if (s->bodiless)
		n = 0;
	if (n == 0 && !last && s->head_sent)
		return;
	s->sent += n;
	s->room -= cost(n);
	begin(&h, 3u + !s->head_sent + last, s->head_sent ? DATA : HEADERS, s->number, last ? END_STREAM : 0);
	if (!s->head_sent) {
		msgpack_pack_array(&h.pk, 2);
		pack_text(&h.pk, ":status"), pack_text(&h.pk, s->status);
	}
	if (last)
		msgpack_pack_uint64(&h.pk, s->sent);
	end(&h, piece, n);
	s->head_sent = true;
	s->done = last;
}

static void finish(struct stream *s)
{
	emit(s, true, NULL, 0);
}

/* write_body sends what the window allows, and says how much that is. */
static size_t write_body(struct stream *s, const void *p, size_t n)
{
	size_t gone = 0;
	if (s->bodiless)
		return n;
	while (gone < n && s->room >= MIN_COST) {
		size_t piece = n - gone;
		if (piece > MAX_PAYLOAD)
			piece = MAX_PAYLOAD;
		if ((int64_t)piece > s->room)
			piece = (size_t)s->room;
		emit(s, false, (const char *)p + gone, piece);
		gone += piece;
	}
	return gone;
}

/* ---- what is served: one step for each path ---- */

static void step_echo(struct stream *s)
{
	if (s->expecting) {
		s->expecting = false;
		s->window = REQUEST_WINDOW;
		send_informational(s, "100");
	}
	size_t gone = write_body(s, s->inbox, s->waiting);
	s->waiting -= gone;
	memmove(s->inbox, s->inbox + gone, s->waiting);
	if (s->waiting > 0)
		return; /* until there is credit */
	if (s->complete)
		finish(s);
	else if (s->debt > 0)
		send_credit(s);
}

static void step_upgrade(struct stream *s)
{
	if (!s->head_sent) {
		set_status(s, "101");
		emit(s, false, NULL, 0);
	}
	if (s->count > 0 && s->waiting > s->count - s->sent)
		s->waiting = s->count - s->sent; /* the rest is not wanted */
	step_echo(s);
	if (s->count > 0 && s->sent == s->count && !s->done)
		finish(s);
}

static void step_bytes(struct stream *s)
{
	static const unsigned char some[MAX_PAYLOAD];
	while (s->size > 0) {
		size_t n = s->size < sizeof some ? (size_t)s->size : sizeof some;
		size_t gone = write_body(s, some, n);
		s->size -= gone;
		if (gone < n)
			return;
	}
	finish(s);
}

static void step_stream(struct stream *s)
{
	for (; s->size < s->count; s->size++) {
		char line[64];
		int n = snprintf(line, sizeof line, "chunk %llu\n", (unsigned long long)s->size);
		if (now() < s->due || s->room < MIN_COST)
			return;
		write_body(s, line, (size_t)n);
		s->due += s->pause;
	}
	finish(s);
}

static void step_slow(struct stream *s)
{
	if (s->pause < 0 && !s->head_sent)
		emit(s, false, "s", 1);
	else if (s->pause >= 0 && now() >= s->due)
		finish(s);
}

static void step_status(struct stream *s)
{
	finish(s);
}

static void step_fields(struct stream *s)
{
	struct head h;
	const msgpack_object *field = s->fields->ptr;
	uint32_t pairs = 0;
	for (uint32_t i = 0; i + 1 < s->fields->size; i += 2)
		pairs += begins(text_of(field[i]), "x-");
	begin(&h, 5, HEADERS, s->number, END_STREAM);
	msgpack_pack_array(&h.pk, 2 + 2 * (size_t)pairs);
	pack_text(&h.pk, ":status"), pack_text(&h.pk, "200");
	for (uint32_t i = 0; i + 1 < s->fields->size; i += 2)
		if (begins(text_of(field[i]), "x-")) /* str stays str, and bin bin */
			msgpack_pack_object(&h.pk, field[i]), msgpack_pack_object(&h.pk, field[i + 1]);
	msgpack_pack_uint64(&h.pk, 0);
	end(&h, NULL, 0);
	s->done = true;
}

static void step_early(struct stream *s)
{
	emit(s, true, "early", strlen("early"));
}

static void step_hints(struct stream *s)
{
	send_informational(s, "103");
	finish(s);
}

static void step_trailers(struct stream *s)
{
	struct head h;
	emit(s, false, "body", strlen("body"));
	begin(&h, 5, HEADERS, s->number, END_STREAM);
	msgpack_pack_array(&h.pk, 2);
	pack_text(&h.pk, "x-trailer"), pack_text(&h.pk, "yes");
	msgpack_pack_uint64(&h.pk, s->sent);
	end(&h, NULL, 0);
	s->done = true;
}

static void step_reset(struct stream *s)
{
	reset(s, INTERNAL_ERROR, "as asked");
}

static const struct {
	const char *path;
	void (*step)(struct stream *);
} routes[] = {
	{"/echo", step_echo},   {"/bytes", step_bytes}, {"/stream", step_stream},     {"/slow", step_slow},   {"/fields", step_fields},
	{"/early", step_early}, {"/hints", step_hints}, {"/trailers", step_trailers}, {"/reset", step_reset}, {"/upgrade", step_upgrade},
};

/* query_number reads a number from the query of a path, as n in /bytes?n=5. */
static int64_t query_number(struct text path, const char *key, int64_t otherwise)
{
	size_t n = strlen(key);
	for (size_t i = 0; i + n + 1 < path.n; i++) {
		if ((path.p[i] != '?' && path.p[i] != '&') || memcmp(path.p + i + 1, key, n) != 0 || path.p[i + 1 + n] != '=')
			continue;
		int64_t value = 0;
		for (i += n + 2; i < path.n && is_digit(path.p[i]) && value < INT64_MAX / 100; i++)
			value = 10 * value + (path.p[i] - '0');
		return value;
	}
	return otherwise;
}

static void route(struct stream *s, struct text path, bool upgrade)
{
	const char *query = memchr(path.p, '?', path.n);
	struct text plain = {path.p, query ? (size_t)(query - path.p) : path.n};
	s->step = step_status;
	set_status(s, "404");
	if (begins(plain, "/status/") && plain.n == strlen("/status/200")) {
		const char *code = plain.p + strlen("/status/");
		if (code[0] >= '2' && code[0] <= '5' && is_digit(code[1]) && is_digit(code[2]))
			memcpy(s->status, code, 3);
	}
	for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++)
		if (is(plain, routes[i].path) && upgrade == (routes[i].step == step_upgrade)) {
			set_status(s, "200");
			s->step = routes[i].step;
		}
	if (s->step == step_slow)
		s->pause = query_number(path, "ms", -1);
	else if (s->step == step_stream)
		s->count = (uint64_t)query_number(path, "n", 0), s->pause = query_number(path, "ms", 0);
	else if (s->step == step_bytes)
		s->size = (uint64_t)query_number(path, "n", 0);
	else if (s->step == step_upgrade)
		s->count = (uint64_t)query_number(path, "n", 0);
	s->due = now() + (s->step == step_slow && s->pause > 0 ? s->pause : 0);
}

/* ---- streams ---- */

static struct stream *find(uint64_t number)
{
	struct stream *s = streams;
	while (s && s->number != number)
		s = s->next;
	return s;
}

static void forget(struct stream *gone)
{
	for (struct stream **at = &streams; *at; at = &(*at)->next)
		if (*at == gone) {
			*at = gone->next;
			open_streams--;
			free(gone);
			return;
		}
}

/* advance has a stream do what it can. A stream that has ended is forgotten before the next message is read. */
static void advance(struct stream *s)
{
	if (!s->done)
		s->step(s);
	if (s->done)
		forget(s);
}

static struct stream *open_stream(uint64_t number, const msgpack_object_array *fields)
{
	if (leaving || open_streams == CONCURRENCY) {
		send_reset(number, REFUSED_STREAM, leaving ? "leaving" : "all slots are taken");
		return NULL;
	}
	struct stream *s = malloc(sizeof *s);
	if (!s) {
		send_reset(number, REFUSED_STREAM, "out of memory");
		return NULL;
	}
	memset(s, 0, offsetof(struct stream, inbox)); /* the inbox needs no zeros */
	s->number = last_taken = number;
	s->room = RESPONSE_WINDOW;
	s->window = REQUEST_WINDOW;
	s->fields = fields;

	struct text path = {"", 0};
	bool upgrade = false;
	for (uint32_t i = 0; i + 1 < fields->size; i += 2) {
		struct text key = text_of(fields->ptr[i]), value = text_of(fields->ptr[i + 1]);
		if (is(key, ":path"))
			path = value;
		else if (is(key, ":method"))
			s->bodiless = is(value, "HEAD");
		else if (is(key, ":protocol"))
			upgrade = is(value, "echo");
		else if (is(key, "expect") && value.n == 12 && strncasecmp(value.p, "100-continue", 12) == 0)
			s->expecting = true, s->window = 0;
	}
	route(s, path, upgrade);
	s->next = streams;
	streams = s;
	open_streams++;
	return s;
}

/* receive_body takes a payload in. What breaks the rules ends the stream. */
static void receive_body(struct stream *s, bool last, uint64_t total, const void *payload, size_t n)
{
	const char *wrong = s->complete ? "body after END_STREAM" : last && total != s->received + n ? "another total" : NULL;
	if (wrong || cost(n) > s->window) {
		reset(s, wrong ? PROTOCOL_ERROR : FLOW_CONTROL_ERROR, wrong ? wrong : "more than the window");
		return;
	}
	s->received += n;
	s->window -= cost(n);
	s->debt += cost(n);
	s->complete = last;
	memcpy(s->inbox + s->waiting, payload, n); /* fits: the window is never wider than the inbox */
	s->waiting += n;
}

/* ---- frames that come ---- */

/* welcome: a connection other than the last voids all streams, and wants a JOIN that echoes it. */
static void welcome(msgpack_object map)
{
	uint64_t number = 0;
	bool there = false;
	for (uint32_t i = 0; map.type == MSGPACK_OBJECT_MAP && i < map.via.map.size; i++)
		if (is(text_of(map.via.map.ptr[i].key), "connection"))
			there = number_of(map.via.map.ptr[i].val, &number);
	if (!there) {
		fprintf(stderr, "worker: WELCOME without a connection: is this a Dialmux router?\n");
		return;
	}
	if (joined && number == connection)
		return;
	while (streams)
		forget(streams);
	joined = true;
	connection = number;
	last_taken = 0;
	send_join();
	if (leaving)
		send_goaway();
}

static void receive_frame(msgpack_object frame, const void *payload, size_t n)
{
	uint64_t type, number, flags, value = 0;
	const msgpack_object *e = frame.via.array.ptr;
	uint32_t count = frame.type == MSGPACK_OBJECT_ARRAY ? frame.via.array.size : 0;
	if (count < 3 || !number_of(e[0], &type) || !number_of(e[1], &number) || !number_of(e[2], &flags)) {
		fprintf(stderr, "worker: a malformed frame was dropped\n");
		return;
	}
	bool last = (type == DATA || type == HEADERS) && (flags & END_STREAM);
	uint32_t want = type == DATA ? 3u + last : type == HEADERS ? 4u + last : type == RST_STREAM ? 5 : type == GOAWAY ? 6 :
			type == WINDOW_UPDATE || type == WELCOME ? 4 : count;
	struct stream *s = find(number);
	bool sound = count == want && (!last || number_of(e[count - 1], &value)) && (type != WINDOW_UPDATE || number_of(e[3], &value)) &&
		     (type != HEADERS || (e[3].type == MSGPACK_OBJECT_ARRAY && e[3].via.array.size % 2 == 0));
	if (!sound) {
		fprintf(stderr, "worker: a malformed frame of type %llu\n", (unsigned long long)type);
		if (s) {
			reset(s, PROTOCOL_ERROR, "a malformed frame");
			forget(s);
		}
		return;
	}
	if (type == WELCOME) {
		welcome(e[3]);
		return;
	}
	if (type == GOAWAY && number_of(e[4], &value) && value != NO_ERROR) {
		struct text reason = text_of(e[5]);
		fprintf(stderr, "worker: the router refuses this worker: %.*s\n", (int)reason.n, reason.p);
		return;
	}
	if (type == HEADERS && !s && e[3].via.array.size > 0 && begins(text_of(e[3].via.array.ptr[0]), ":"))
		s = open_stream(number, &e[3].via.array);
	if (!s)
		return; /* not open, or not any more */
	if (type == DATA || type == HEADERS) /* HEADERS: the request, or its trailers */
		receive_body(s, last, value, payload, n);
	else if (type == WINDOW_UPDATE && value > MAX_ROOM - (uint64_t)s->room)
		reset(s, FLOW_CONTROL_ERROR, "more credit than there are numbers");
	else if (type == WINDOW_UPDATE)
		s->room += (int64_t)value;
	else if (type == RST_STREAM)
		reset(s, CANCEL, "");
	else
		return;
	advance(s);
}

/* receive_message reads one message, if there is one. A head may be followed by a payload; what follows that is not for us. */
static bool receive_message(void)
{
	zmq_msg_t parts[3];
	int n = 0, more = 1, flags = ZMQ_DONTWAIT;
	while (more) {
		if (n == 3)
			zmq_msg_close(&parts[--n]);
		zmq_msg_init(&parts[n]);
		if (zmq_msg_recv(&parts[n], the_socket, flags) < 0) {
			if (errno == EAGAIN || errno == EINTR)
				return false;
			die("receive");
		}
		more = zmq_msg_more(&parts[n++]);
	}
	msgpack_unpacked head;
	msgpack_unpacked_init(&head);
	size_t read = 0, size = zmq_msg_size(&parts[0]);
	if (n <= 2 && msgpack_unpack_next(&head, zmq_msg_data(&parts[0]), size, &read) == MSGPACK_UNPACK_SUCCESS && read == size)
		receive_frame(head.data, n == 2 ? zmq_msg_data(&parts[1]) : "", n == 2 ? zmq_msg_size(&parts[1]) : 0);
	else
		fprintf(stderr, "worker: a malformed message was dropped\n");
	msgpack_unpacked_destroy(&head);
	while (n > 0)
		zmq_msg_close(&parts[--n]);
	return true;
}

/* ---- the loop ---- */

static void on_signal(int number)
{
	int before = errno;
	char c = (char)number;
	ssize_t n = write(signalled[1], &c, 1);
	(void)n; /* one byte always fits before the loop has read it and ends */
	errno = before;
}

/* until_due is how long the loop may sleep, -1 for ever. */
static long until_due(void)
{
	int64_t t = now(), wait = -1;
	for (struct stream *s = streams; s; s = s->next)
		if (s->due > t && (wait < 0 || s->due - t < wait))
			wait = s->due - t;
	return (long)wait;
}

static void set(int option, int value)
{
	if (zmq_setsockopt(the_socket, option, &value, sizeof value) < 0)
		die("socket option");
}

int main(int argc, char **argv)
{
	const char *endpoint = argc > 2 ? argv[2] : getenv("DIALMUX_ROUTER");
	unsigned char random[16];
	name = argc > 1 ? argv[1] : "worker-c";
	if (getentropy(random, sizeof random) < 0)
		die("random bytes");
	for (size_t i = 0; i < sizeof random; i++)
		snprintf(instance + 2 * i, 3, "%02x", random[i]);

	if (pipe(signalled) < 0)
		die("pipe");
	struct sigaction action = {.sa_handler = on_signal};
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);

	void *context = zmq_ctx_new();
	the_socket = zmq_socket(context, ZMQ_DEALER);
	if (!the_socket)
		die("socket");
	set(ZMQ_SNDHWM, 0);
	set(ZMQ_RCVHWM, 0);
	set(ZMQ_HEARTBEAT_IVL, 2000);
	set(ZMQ_HEARTBEAT_TIMEOUT, 6000);
	set(ZMQ_LINGER, 5000);
	if (zmq_connect(the_socket, endpoint ? endpoint : "tcp://127.0.0.1:8000") < 0)
		die("connect");

	zmq_pollitem_t items[] = {{the_socket, 0, ZMQ_POLLIN, 0}, {NULL, signalled[0], ZMQ_POLLIN, 0}};
	while (!leaving || streams) {
		if (zmq_poll(items, 2, until_due()) < 0) {
			if (errno == EINTR)
				continue;
			die("poll");
		}
		if (items[1].revents) {
			char c;
			if (read(signalled[0], &c, 1) == 1 && !leaving) {
				leaving = true;
				if (joined)
					send_goaway();
			}
		}
		for (int i = 0; i < 100 && receive_message(); i++)
			;
		for (struct stream *s = streams, *next; s; s = next) {
			next = s->next;
			advance(s);
		}
	}
	zmq_close(the_socket);
	zmq_ctx_term(context);
	return 0;
}
