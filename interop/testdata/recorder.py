"""usage: recorder.py REP|DEALER NAME ENDPOINT
A worker that answers each request with what it saw of it, as meaning_worker_test.go's does. Bytes stand as the characters of
the same numbers. /recorded has what was seen since it was last asked."""
import hashlib, json, pathlib, sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "examples" / "python"))
import msgpack, rep, worker

seen, count = [], 0


def plain(text):
    return (text.encode(errors="surrogateescape") if isinstance(text, str) else text).decode("latin-1")


def lines(pairs):
    return [f"{plain(name)}: {plain(value)}" for name, value in sorted(pairs, key=lambda pair: plain(pair[0]))]


def record(head, pairs, body, trailers):
    global count
    count += 1
    if len(body) > 1024:
        body = f"{len(body)} bytes, SHA-256 {hashlib.sha256(body).hexdigest()}".encode()
    seen.append({"number": count, **{key: plain(value) for key, value in head.items()}, "fields": lines(pairs), "body": plain(body),
                 "trailers": lines(trailers)})
    return json.dumps(seen[-1]).encode()


def recorded():
    told = json.dumps(seen).encode()
    seen.clear()
    return told


def pairs_of(flat):
    return list(zip(flat[::2], flat[1::2]))


class Link(worker.Link):
    def receive(self, head, *payload):
        kind, number, _, *rest = worker.decode(head)
        if kind == worker.HEADERS and number in self.streams:
            self.streams[number].trailers = pairs_of(rest[0])
        super().receive(head, *payload)


def whole(request, told):  # its length keeps a connection of HTTP/1.0 open
    request.outgoing += ["content-length", str(len(told))]
    return told


async def native(request):
    if request.path == "/recorded":
        yield whole(request, recorded())
        return
    body = b""
    if ":protocol" not in request.head:
        body = b"".join([piece async for piece in request.body()])
    head = {name: request.head.get(":" + name, "") for name in ("method", "path", "authority", "protocol")}
    fields = [pair for pair in pairs_of(request.fields) if not pair[0].startswith(":")]
    yield whole(request, record(head, fields, body, getattr(request, "trailers", [])))


def answer(head, body):
    request = msgpack.unpackb(head, raw=False, unicode_errors="surrogateescape")
    if request["path"] == "/recorded":
        return b"", recorded()
    head = {name: request[name] for name in ("method", "path", "authority")}
    return b"", record(head, request["headers"], body, [])


kind, name, endpoint = sys.argv[1:]
if kind == "REP":
    rep.serve(answer, name, endpoint)
worker.Link = Link
worker.HANDLERS = {None: native}
worker.state.update(name=name, concurrency=worker.CONCURRENCY)
worker.asyncio.run(worker.main(False, [endpoint]))
