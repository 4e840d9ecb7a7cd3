#!/usr/bin/python3
"""Serves the paths of frame/CONFORM.md that are for REP workers, with rep.py's socket. $DIALMUX_ROUTER is dialled."""
import os, time, urllib.parse, msgpack

from rep import serve


def answer(head, body):
    request = msgpack.unpackb(head)
    path, _, query = request["path"].partition("?")
    query = dict(urllib.parse.parse_qsl(query))
    status, headers = 200, []
    match path.split("/")[1:]:
        case ["echo"]:
            pass
        case ["bytes"]:
            body = bytes(int(query["n"]))
        case ["slow"]:
            time.sleep(int(query["ms"]) / 1000)
            body = b""
        case ["status", number]:
            status, body = int(number), b""
        case ["fields"]:  # str stays str, and bin, which is text that is not UTF-8, stays bin
            headers, body = [pair for pair in request["headers"] if pair[0][:2] in ("x-", b"x-")], b""
        case _:
            status, body = 404, b""
    return msgpack.packb({"status": status, "headers": headers}), body


serve(answer, "conform-rep", os.environ.get("DIALMUX_ROUTER", "tcp://127.0.0.1:8000"))
