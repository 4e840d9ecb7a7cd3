"""A REP worker that serves the paths of CONFORM.md, right but for the one defect that its argument names."""
import os
import sys
import time
from urllib.parse import parse_qs, urlsplit

import msgpack
import zmq

defect = sys.argv[1] if len(sys.argv) > 1 else ""
socket = zmq.Context().socket(zmq.REP)
if defect != "no-token":
    socket.plain_username, socket.plain_password = b"broken", os.environb[b"DIALMUX_TOKEN"]
socket.connect(os.environ["DIALMUX_ROUTER"])
count, last = 0, b""
while True:
    head, body = socket.recv_multipart()
    request = msgpack.unpackb(head, raw=True)
    url = urlsplit(request[b"path"].decode())
    query, status, headers, answer = parse_qs(url.query), 200, [], b""
    count += 1
    if url.path == "/echo":
        answer = last if defect == "anothers-body" and count % 60 == 0 else body
        last = body
    elif url.path == "/bytes":
        answer = bytes(int(query["n"][0]))
    elif url.path == "/slow":
        time.sleep(int(query["ms"][0]) / 1000)
    elif url.path.startswith("/status/"):
        status = 200 if defect == "always-200" else int(url.path[8:])
    elif url.path == "/fields":
        headers = [pair for pair in request[b"headers"] if pair[0].startswith(b"x-")]
        if defect == "one-of-each-field":
            headers = dict(headers)
        if defect == "fields-made-utf8":
            headers = [(name, value.decode(errors="replace")) for name, value in headers]
    if defect == "cuts-at-a-megabyte":
        answer = answer[: 1 << 20]
    socket.send_multipart([msgpack.packb({"status": status, "headers": headers}), answer])
