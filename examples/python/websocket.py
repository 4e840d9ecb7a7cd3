#!/usr/bin/python3
"""A WebSocket echo: a native Dialmux worker on worker.py's own code. An upgrade is a stream with `:protocol`: it is accepted by
`:status` 101, and from then on DATA carries the bytes of RFC 6455 both ways, cut anywhere. SIGTERM closes what is open with code 1001.
usage: websocket.py NAME [ENDPOINT...]      ($DIALMUX_ROUTER if none is named, or tcp://127.0.0.1:8000)"""
import asyncio, base64, hashlib, os, sys

import worker
from worker import HEADERS

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
GOING_AWAY, PROTOCOL_ERROR, NO_UTF8, TOO_BIG = 1001, 1002, 1007, 1009  # section 7.4.1
MAX_MESSAGE = 16 << 20  # bytes
GRACE = 5  # seconds that a client has to answer the close of SIGTERM
worker.CONCURRENCY = 1024  # connections at once


class Violation(Exception):
    """What the client sent ends the connection, with this code."""


class Client:
    """What comes from one client."""

    def __init__(self, request):
        self.body, self.buffer, self.ended = request.body(), bytearray(), False

    async def more(self):
        """Waits for bytes. None come at the end, and when SIGTERM wakes the connection."""
        piece = await anext(self.body, None)
        self.ended = piece is None
        self.buffer += piece or b""

    async def take(self, n):
        while len(self.buffer) < n:
            await self.more()
            if self.ended:
                raise EOFError
        taken = bytes(memoryview(self.buffer)[:n])
        del self.buffer[:n]
        return taken

    async def frame(self):
        """One frame (section 5.2), as its FIN bit, opcode and payload."""
        first, second = await self.take(2)
        final, opcode, length = bool(first & 0x80), first & 0x0F, second & 0x7F
        if first & 0x70 or not second & 0x80 or opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            raise Violation(PROTOCOL_ERROR)  # an extension that was not agreed on, or no mask
        if opcode >= CLOSE and (length > 125 or not final):
            raise Violation(PROTOCOL_ERROR)
        if length > 125:
            length = int.from_bytes(await self.take(2 if length == 126 else 8))
        if length > MAX_MESSAGE:
            raise Violation(TOO_BIG)
        mask = await self.take(4)
        return final, opcode, unmasked(await self.take(length), mask)


def unmasked(payload, mask):
    n = len(payload)
    key = int.from_bytes((mask * (n // 4 + 1))[:n])  # one number, for speed
    return (int.from_bytes(payload) ^ key).to_bytes(n)


def framed(opcode, payload):
    """A frame from the server: whole, and without a mask. A view, so that what cuts it copies nothing."""
    n = len(payload)
    length = bytes([n]) if n < 126 else b"\x7e" + n.to_bytes(2) if n < 65536 else b"\x7f" + n.to_bytes(8)
    return memoryview(bytes([0x80 | opcode]) + length + payload)


def close(code):
    return framed(CLOSE, code.to_bytes(2))


def check_utf8(payload):
    try:
        payload.decode()
    except UnicodeDecodeError:
        raise Violation(NO_UTF8) from None


def close_answer(payload):
    """A close is answered by the same code; it may have none (section 5.5.1)."""
    code = int.from_bytes(payload[:2])
    if payload and not (len(payload) > 1 and (code in (1000, 1001, 1002, 1003) or 1007 <= code <= 1014 or 3000 <= code <= 4999)):
        raise Violation(PROTOCOL_ERROR)
    check_utf8(payload[2:])
    return framed(CLOSE, payload[:2])


async def converse(client):
    """Yields what the client gets: each of its messages, once it is whole, and PONG and close."""
    kind, message, closing = None, bytearray(), False  # kind: of the message that has begun
    while True:
        if worker.leaving.is_set() and not closing:
            closing = True
            yield close(GOING_AWAY)
        if not client.buffer and not client.ended:
            await client.more()
            continue
        final, opcode, payload = await client.frame()
        if opcode == CLOSE:
            if not closing:
                yield close_answer(payload)
            return
        if closing or opcode == PONG:
            continue
        if opcode == PING:
            yield framed(PONG, payload)
            continue
        if (opcode == CONTINUATION) != (kind is not None):
            raise Violation(PROTOCOL_ERROR)
        kind = kind or opcode
        message += payload
        if len(message) > MAX_MESSAGE:
            raise Violation(TOO_BIG)
        if final:
            if kind == TEXT:
                check_utf8(message)
            yield framed(kind, message)
            kind, message = None, bytearray()


async def serve(request):
    key = request.head.get("sec-websocket-key")
    if request.head.get(":protocol") != "websocket" or not key or request.head.get("sec-websocket-version") != "13":
        request.outgoing = [":status", "400", "content-type", "text/plain", "sec-websocket-version", "13"]
        yield b"This path speaks WebSocket, version 13.\n"
        return
    accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
    request.outgoing = None
    request.send(HEADERS, 0, [":status", "101", "sec-websocket-accept", accept])
    try:
        async for frame in converse(Client(request)):
            yield frame
    except Violation as violation:
        yield close(*violation.args)
    except EOFError:
        pass  # the client's direction has ended without a close; what it was owed has been sent


async def depart():
    """Has every connection close at SIGTERM, and cuts those that do not."""
    await worker.leaving.wait()
    streams = [stream for link in worker.links.values() for stream in link.streams.values()]
    for stream in streams:
        stream.inbox.put_nowait((b"", False))  # wakes it
    await asyncio.sleep(GRACE)
    for stream in streams:
        stream.task.cancel()


async def main(endpoints):
    async with asyncio.TaskGroup() as tasks:
        departure = tasks.create_task(depart())
        await worker.main(False, endpoints)
        departure.cancel()


if __name__ == "__main__":
    name, *endpoints = sys.argv[1:] or sys.exit(__doc__)
    endpoints = endpoints or [os.environ.get("DIALMUX_ROUTER", "tcp://127.0.0.1:8000")]
    worker.HANDLERS = {None: serve}
    worker.state.update(name=name, concurrency=-(-worker.CONCURRENCY // len(endpoints)), token=os.environ.get("DIALMUX_TOKEN", ""))
    asyncio.run(main(endpoints))
