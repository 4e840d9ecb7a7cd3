#!/usr/bin/python3
"""A native Dialmux worker: bodies stream both ways, many requests at once, in one thread. SIGTERM ends it when they are done.
usage: worker.py [--router-socket] NAME [ENDPOINT...]      ($DIALMUX_ROUTER if none is named, or tcp://127.0.0.1:8000)
Each endpoint gets a DEALER socket, or all share one ROUTER socket; $DIALMUX_TOKEN is shown to them. /echo sends the request back,
/stream?n=K a line every 100 ms, /slow "done" after 30 s (or "cancelled STREAM" on stderr), all else "Hello from NAME"."""
import asyncio, os, signal, sys, uuid, msgpack, zmq, zmq.asyncio
DATA, HEADERS, RST_STREAM, GOAWAY, WINDOW_UPDATE, WELCOME, JOIN, END_STREAM = 0, 1, 3, 7, 8, 64, 65, 1
PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, REFUSED_STREAM, CANCEL = 1, 2, 3, 7, 8
CONCURRENCY, REQUEST_WINDOW, RESPONSE_WINDOW, MAX_PAYLOAD = 64, 65536, 262144, 65536
links, leaving, context, state = {}, asyncio.Event(), zmq.asyncio.Context(), {"protocol": 1, "instance": uuid.uuid4().hex}
def encode(frame): return msgpack.packb(frame)  # str goes out as str, bytes as bin
def decode(head): return msgpack.unpackb(head, raw=False, unicode_errors="surrogateescape")  # any bytes will do
def text(value): return value.decode(errors="surrogateescape") if isinstance(value, bytes) else value
def cost(payload): return max(1024, len(payload)) if payload else 0

class Stream:
    code, room, window, received, sent = CANCEL, REQUEST_WINDOW, RESPONSE_WINDOW, 0, 0
    def __init__(self, link, number, fields):
        self.link, self.number, self.fields, self.head = link, number, fields, dict(zip(fields[::2], fields[1::2]))
        self.path, _, self.query = self.head[":path"].partition("?")
        self.outgoing = [":status", "200", "content-type", "text/plain"]  # leaves with the next piece of the body, or the end
        self.inbox, self.credit = asyncio.Queue(), asyncio.Queue()
        self.task = asyncio.create_task(self.answer(HANDLERS.get(self.path, HANDLERS[None])))
        self.task.add_done_callback(self.finish)  # called even if the task is cancelled before it began
    def send(self, kind, flags, *rest, payload=b""):
        if kind == DATA and self.outgoing: kind, rest, self.outgoing = HEADERS, [self.outgoing, *rest], None
        self.link.send([kind, self.number, flags, *rest], payload)
    async def body(self, end=False):
        if self.head.get("expect", "").lower() == "100-continue": self.send(HEADERS, 0, [":status", "100"])
        while not end:
            payload, end = await self.inbox.get()
            yield payload  # whoever asks for the next one is done with it
            if payload and not end: self.room += cost(payload); self.send(WINDOW_UPDATE, 0, cost(payload))
    async def answer(self, handler):
        async for chunk in handler(self):
            while chunk and self.head[":method"] != "HEAD":
                while self.window < 1024: self.window += await self.credit.get()  # the client reads slowly
                part = chunk[:min(self.window, MAX_PAYLOAD)]
                self.window, self.sent, chunk = self.window - cost(part), self.sent + len(part), chunk[len(part):]
                self.send(DATA, 0, payload=part)
    def finish(self, task):  # one END_STREAM or RST_STREAM for each HEADERS, once there is room for the next stream
        if task.cancelled(): print("cancelled", self.number, file=sys.stderr, flush=True)
        if not self.link.streams.pop(self.number, None): return  # void
        if task.cancelled(): self.send(RST_STREAM, 0, self.code, "")
        elif task.exception(): self.send(RST_STREAM, 0, INTERNAL_ERROR, repr(task.exception()))
        else: self.send(DATA, END_STREAM, self.sent)

async def hello(request): yield f"Hello from {state['name']}\n".encode()
async def slow(request): yield await asyncio.sleep(30, b"done\n")  # raises CancelledError when the client leaves
async def stream(request):
    for i in range(int(request.query.removeprefix("n=") or 10)): yield await asyncio.sleep(0.1, f"{i}\n".encode())
HANDLERS = {"/echo": Stream.body, "/stream": stream, "/slow": slow, None: hello}

class Link:  # to one router
    def __init__(self, socket, route):
        self.socket, self.route, self.streams, self.connection, self.last = socket, route, {}, None, 0
    def send(self, frame, payload=b""):
        sent = self.socket.send_multipart([*self.route, encode(frame), payload])  # at once: there is no high-water mark
        sent.add_done_callback(asyncio.Future.exception)  # a ROUTER socket's: that router is gone, and its streams
    def receive(self, head, payload=b""):
        kind, number, flags, *rest = decode(head)
        if kind == WELCOME and rest[0]["connection"] != self.connection:  # what ran before is void, and sends nothing more
            for stream in self.streams.values(): stream.task.cancel()
            self.streams, self.connection, self.last = {}, rest[0]["connection"], 0
            self.send([JOIN, 0, 0, {**state, "instance": f"{state['instance']}-{id(self)}", "connection": self.connection}])
            if leaving.is_set(): self.send([GOAWAY, 0, 0, self.last, 0, "leaving"])
        if kind == GOAWAY and rest[1]: return print("refused:", text(rest[2]), file=sys.stderr, flush=True)
        if kind == HEADERS and ":method" in map(text, rest[0][:1]):
            if leaving.is_set() or sum(len(link.streams) for link in links.values()) >= CONCURRENCY:
                return self.send([RST_STREAM, number, 0, REFUSED_STREAM, ""])
            self.last, self.streams[number] = number, Stream(self, number, [text(field) for field in rest[0]])
        stream, end = self.streams.get(number), flags & END_STREAM
        if stream and kind in (DATA, HEADERS):  # HEADERS: the request, or its trailers
            stream.received, stream.room = stream.received + len(payload), stream.room - cost(payload)
            stream.inbox.put_nowait((payload, end))
            if end and stream.received != rest[-1]: stream.code, kind = PROTOCOL_ERROR, RST_STREAM
            if stream.room < 0: stream.code, kind = FLOW_CONTROL_ERROR, RST_STREAM
        if stream and kind == WINDOW_UPDATE: stream.credit.put_nowait(rest[0])
        if stream and kind == RST_STREAM: stream.task.cancel()
async def read(routed, endpoints):
    socket = context.socket(zmq.ROUTER if routed else zmq.DEALER)
    socket.hwm, socket.heartbeat_ivl, socket.heartbeat_timeout, socket.linger = 0, 2000, 6000, 5000
    if routed: socket.router_mandatory = 1
    for endpoint in endpoints: socket.connect(endpoint)
    while parts := await socket.recv_multipart():
        links.setdefault((socket, *parts[:routed]), Link(socket, parts[:routed])).receive(*parts[routed:])
async def main(routed, endpoints):
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leaving.set)
    async with asyncio.TaskGroup() as group:
        readers = [group.create_task(read(routed, some)) for some in ([endpoints] if routed else zip(endpoints))]
        await leaving.wait()
        for link in links.values(): link.send([GOAWAY, 0, 0, link.last, 0, "leaving"])
        while tasks := [each.task for link in links.values() for each in link.streams.values()]: await asyncio.wait(tasks)
        for reader in readers: reader.cancel()  # a closed socket must not be read
    context.destroy()
if __name__ == "__main__":
    name, *endpoints = [word for word in sys.argv[1:] if word != "--router-socket"] or sys.exit(__doc__)
    endpoints = endpoints or [os.environ.get("DIALMUX_ROUTER", "tcp://127.0.0.1:8000")]
    state.update(name=name, concurrency=-(-CONCURRENCY // len(endpoints)), token=os.environ.get("DIALMUX_TOKEN", ""))
    asyncio.run(main("--router-socket" in sys.argv, endpoints))
