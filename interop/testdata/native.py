"""usage: native.py [--router-socket] NAME ENDPOINT...
The worker of examples/python with answers that clients can check. $CONCURRENCY is how many requests it takes at once. With
$SLOPPY it goes on with its streams when a WELCOME has voided them, which no worker should."""
import asyncio, hashlib, os, pathlib, sys, time

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "examples" / "python"))
import worker


def proof(nonce):
    return hashlib.sha256(nonce.encode()).hexdigest() + "\n"


async def nonce(request):
    yield proof(request.query.removeprefix("n=")).encode()


def note(request):  # what must not be carried out twice
    if request.head[":method"] == "POST":
        print("POST", request.query, flush=True)


async def echo(request):
    note(request)
    async for chunk in request.body():
        yield chunk


async def late(request):
    note(request)
    await asyncio.sleep(0.3)
    yield proof(request.query.removeprefix("n=")).encode()


async def long(request):
    for i in range(40):
        yield proof(request.query.removeprefix("n=") + f":{i}").encode()
        await asyncio.sleep(0.005)


async def wait(request):
    """Waits for the client to leave, and says when it noticed."""
    print("waiting", request.query, flush=True)
    yield b"waiting\n"
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        print("left", request.query, time.time(), flush=True)
        raise


async def fail(request):
    if "begun" in request.query:
        yield b"begun\n"
        await asyncio.sleep(0.02)
    raise RuntimeError(request.query)


class Sloppy(worker.Link):
    def receive(self, head, *payload):
        kept = self.streams if worker.decode(head)[0] == worker.WELCOME else None
        if kept is not None:
            self.streams = {}
        super().receive(head, *payload)
        if kept is not None:
            self.streams = kept


if "SLOPPY" in os.environ:
    worker.Link = Sloppy
worker.HANDLERS.update({"/nonce": nonce, "/echo": echo, "/late": late, "/long": long, "/wait": wait, "/panic": fail})
worker.CONCURRENCY = int(os.environ.get("CONCURRENCY", worker.CONCURRENCY))

if __name__ == "__main__":
    name, *endpoints = [word for word in sys.argv[1:] if word != "--router-socket"]
    share = -(-worker.CONCURRENCY // len(endpoints))
    worker.state.update(name=name, concurrency=share, token=os.environ.get("DIALMUX_TOKEN", ""))
    asyncio.run(worker.main("--router-socket" in sys.argv, endpoints))
