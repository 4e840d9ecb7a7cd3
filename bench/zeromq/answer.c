/*
 * The backend behind the proxies that speak ZeroMQ: the same few bytes for every request, at once.
 *
 *   answer mongrel2 REQUESTS REPLIES   PULL and PUB sockets, dialled
 *   answer zhttp ENDPOINT              a REP socket, dialled
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#define BODY "hello, hello, hello\n"

static void die(const char *what) {
  fprintf(stderr, "answer: %s: %s\n", what, zmq_strerror(zmq_errno()));
  exit(1);
}

static void *dial(void *context, int type, const char *endpoint) {
  void *socket = zmq_socket(context, type);
  if (!socket || zmq_connect(socket, endpoint)) die(endpoint);
  return socket;
}

/* A request begins with "SERVER CONNECTION ", a reply with "SERVER LENGTH:CONNECTION, ". */
static void mongrel2(void *context, const char *requests, const char *replies) {
  void *in = dial(context, ZMQ_PULL, requests), *out = dial(context, ZMQ_PUB, replies);
  for (;;) {
    char request[65536], server[64], connection[64], reply[512];
    int length = zmq_recv(in, request, sizeof request - 1, 0);
    if (length < 0) die("receiving");
    if (length >= (int)sizeof request) continue;
    request[length] = 0;
    if (sscanf(request, "%63s %63s", server, connection) != 2 || strstr(request, "\"METHOD\":\"JSON\"")) continue;
    length = snprintf(reply, sizeof reply,
                      "%s %zu:%s, HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n%s", server,
                      strlen(connection), connection, strlen(BODY), BODY);
    if (zmq_send(out, reply, length, 0) < 0) die("sending");
  }
}

/* A tnetstring is "LENGTH:bytes" and a letter for its type. Returns where the bytes are, and what follows in *next. */
static char *tnetstring(char *at, char *end, long *length, char **next) {
  char *bytes;
  *length = strtol(at, &bytes, 10);
  if (bytes >= end || *bytes != ':' || *length < 0 || *length >= end - bytes - 1) return NULL;
  *next = bytes + 1 + *length + 1;
  return bytes + 1;
}

/* Finds "id" in a request: the letter T, then a tnetstring of keys and values. */
static char *find_id(char *request, char *end, long *length) {
  char *next, *at;
  if (request == end || *request != 'T' || !(at = tnetstring(request + 1, end, length, &next))) return NULL;
  for (end = at + *length; at < end; at = next) {
    char *key = tnetstring(at, end, length, &next);
    int found = key && *length == 2 && !memcmp(key, "id", 2);
    char *value = key ? tnetstring(next, end, length, &next) : NULL;
    if (!value || found) return value;
  }
  return NULL;
}

static void zhttp(void *context, const char *endpoint) {
  void *socket = dial(context, ZMQ_REP, endpoint);
  for (;;) {
    char request[65536], fields[512], reply[600];
    int length = zmq_recv(socket, request, sizeof request - 1, 0);
    if (length < 0) die("receiving");
    if (length >= (int)sizeof request) length = 0;
    request[length] = 0;
    long id_length = 0;
    char *id = find_id(request, request + length, &id_length);
    if (!id || id_length > 128) id = "", id_length = 0;
    length = snprintf(fields, sizeof fields,
                      "2:id,%ld:%.*s,4:code,3:200#6:reason,2:OK,"
                      "7:headers,34:30:12:Content-Type,10:text/plain,]]4:body,%zu:%s,",
                      id_length, (int)id_length, id, strlen(BODY), BODY);
    length = snprintf(reply, sizeof reply, "T%d:%s}", length, fields);
    if (zmq_send(socket, reply, length, 0) < 0) die("sending");
  }
}

int main(int count, char **arguments) {
  void *context = zmq_ctx_new();
  if (count == 4 && !strcmp(arguments[1], "mongrel2")) mongrel2(context, arguments[2], arguments[3]);
  if (count == 3 && !strcmp(arguments[1], "zhttp")) zhttp(context, arguments[2]);
  fprintf(stderr, "usage: answer mongrel2 REQUESTS REPLIES | answer zhttp ENDPOINT\n");
  return 2;
}
