"""usage: native.py NAME SLOTS ENDPOINT...
The worker of examples/python, whose /chaos answers as the target asks and records that it did: see ../record.go, ../handler.go."""
import asyncio, os, pathlib, struct, sys, time, zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "examples" / "python"))
import worker

BEGAN, ENDED, RECORD = 1, 2, 3
BEFORE_HEAD, MID_BODY, BEFORE_END, TRAILING = 1, 2, 3, 4


def note(event, number):
    os.write(RECORD, struct.pack("<QQ", event << 56 | number, time.time_ns()))


def asked(query):
    return {name: int(value) for name, _, value in (pair.partition("=") for pair in query.split("&"))}


def body(number, size):
    blocks = b"".join((b"%08x%08x" % (number, i)) * 64 for i in range(-(-size // 1024)))
    return blocks[:size]


class Stream(worker.Stream):
    trailers = None

    def finish(self, task):
        if self.trailers and not task.cancelled() and not task.exception() and self.link.streams.pop(self.number, None):
            self.send(worker.HEADERS, worker.END_STREAM, self.trailers, self.sent)
        else:
            super().finish(task)


async def chaos(request):
    plan = asked(request.query)
    number, phase, size, linger = plan["n"], plan["phase"], plan["size"], plan["ms"] / 1000
    note(BEGAN, number)
    total = 0
    async for chunk in request.body():
        total = zlib.crc32(chunk, total)
    if phase == BEFORE_HEAD:
        await asyncio.sleep(linger)
    request.outgoing += ["x-chaos-number", str(number), "x-chaos-sum", f"{total:08x}"]
    if plan["sized"]:
        request.outgoing += ["content-length", str(size)]
    if phase == TRAILING:
        request.outgoing += ["trailer", "x-chaos-end", "x-chaos-trailers", "1"]
        request.trailers = ["x-chaos-end", str(number)]
    answer = body(number, size)
    yield answer[: size // 2]
    if phase == MID_BODY:
        await asyncio.sleep(linger)
    yield answer[size // 2 :]
    if phase in (BEFORE_END, TRAILING):
        await asyncio.sleep(linger)
    note(ENDED, number)


worker.Stream = Stream
worker.HANDLERS["/chaos"] = chaos

if __name__ == "__main__":
    name, slots, *endpoints = sys.argv[1:]
    worker.CONCURRENCY = int(slots)
    worker.state.update(name=name, concurrency=-(-worker.CONCURRENCY // len(endpoints)), token="")
    asyncio.run(worker.main(False, endpoints))
