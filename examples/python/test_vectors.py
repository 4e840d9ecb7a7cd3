"""Checks the worker's encode and decode against the vectors of the specification."""
import json, pathlib, sys

from worker import decode, encode

VECTORS = pathlib.Path(__file__).resolve().parents[2] / "frame" / "testdata" / "vectors.json"


def plain(value):
    """JSON has no bytes: {"bin": "hex"} stands for them."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return bytes.fromhex(value["bin"]) if set(value) == {"bin"} else {key: plain(item) for key, item in value.items()}
    return value


def check(vector):
    head, frame = bytes.fromhex(vector["head"]), plain(vector["frame"])
    decoded = decode(head)
    assert decoded == frame, f"decoded {decoded}, want {frame}"
    assert encode(decoded) == head, f"encoded {encode(decoded).hex()}, want {head.hex()}"


vectors = json.loads(VECTORS.read_text())
failed = 0
for vector in vectors:
    try:
        check(vector)
    except Exception as error:
        failed += 1
        print(f"{vector['name']}: {error!r}")
assert decode(bytes.fromhex("9503070008a4636166e9"))[4] == "caf\udce9", "str that is not UTF-8 must not raise"
print(f"{len(vectors) - failed} of {len(vectors)} vectors pass")
sys.exit(failed > 0 or not vectors)
