"""usage: rep.py NAME ENDPOINT
The REP worker of examples/python, whose answers are those of native.py, whole."""
import sys, time, zlib

import msgpack
from native import BEGAN, ENDED, asked, body, note
import rep


def answer(head, upload):
    plan = asked(msgpack.unpackb(head)["path"].partition("?")[2])
    note(BEGAN, plan["n"])
    time.sleep(plan["ms"] / 1000)
    fields = {"x-chaos-number": str(plan["n"]), "x-chaos-sum": f"{zlib.crc32(upload):08x}"}
    note(ENDED, plan["n"])
    return [msgpack.packb({"headers": fields}), body(plan["n"], plan["size"])]


if __name__ == "__main__":
    rep.serve(answer, *sys.argv[1:])
