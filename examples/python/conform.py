#!/usr/bin/python3
"""Serves the paths of frame/CONFORM.md with worker.py's own code. $DIALMUX_ROUTER is dialled, $DIALMUX_TOKEN shown."""
import asyncio, os, sys, urllib.parse

import worker
from worker import HEADERS, Stream


def number(request, key, default=0):
    return int(dict(urllib.parse.parse_qsl(request.query)).get(key, default))


async def some_bytes(request):
    yield bytes(number(request, "n"))


async def stream(request):
    for i in range(number(request, "n")):
        yield f"chunk {i}\n".encode()
        await asyncio.sleep(number(request, "ms") / 1000)


async def slow(request):
    if "ms=" not in request.query:
        yield b"s"
        await asyncio.Event().wait()  # raises CancelledError when the client leaves
    await asyncio.sleep(number(request, "ms") / 1000)


async def fields(request):
    request.outgoing = [":status", "200"]
    for name, value in zip(request.fields[::2], request.fields[1::2]):
        if name.startswith("x-"):
            request.outgoing += [name, value.encode(errors="surrogateescape")]
    return
    yield


async def early(request):
    yield b"early"


async def hints(request):
    request.send(HEADERS, 0, [":status", "103"])
    return
    yield


async def trailers(request):
    yield b"body"
    request.outgoing = ["x-trailer", "yes"]


async def reset(request):
    raise RuntimeError("as asked")
    yield


async def upgrade(request):
    if request.head.get(":protocol") == "echo":
        request.outgoing = None
        request.send(HEADERS, 0, [":status", "101"])
        left = number(request, "n", sys.maxsize)
        async for payload in request.body():
            yield payload[:left]
            left -= len(payload)
            if left <= 0:
                return
    else:
        request.outgoing = [":status", "404"]


async def other(request):
    status = request.path.removeprefix("/status/")
    request.outgoing = [":status", status if status.isdecimal() else "404"]
    return
    yield


worker.HANDLERS = {
    "/echo": Stream.body, "/bytes": some_bytes, "/stream": stream, "/slow": slow, "/fields": fields, "/early": early,
    "/hints": hints, "/trailers": trailers, "/reset": reset, "/upgrade": upgrade, None: other,
}
worker.state.update(name="conform", concurrency=worker.CONCURRENCY, token=os.environ.get("DIALMUX_TOKEN", ""))
asyncio.run(worker.main(False, [os.environ.get("DIALMUX_ROUTER", "tcp://127.0.0.1:8000")]))
