"""usage: rep.py NAME ENDPOINT
A REP worker with answers that clients can check. With $DIALMUX_NULL it shows neither name nor token."""
import hashlib, os, sys, msgpack, zmq

name, endpoint = sys.argv[1:]
socket = zmq.Context().socket(zmq.REP)
if "DIALMUX_NULL" not in os.environ:
    socket.plain_username, socket.plain_password = name.encode(), os.environ.get("DIALMUX_TOKEN", "none").encode()
socket.heartbeat_ivl, socket.heartbeat_timeout = 2000, 6000
socket.connect(endpoint)
while True:
    head, body = socket.recv_multipart()
    path, _, query = msgpack.unpackb(head)["path"].partition("?")
    if path == "/nonce":
        body = hashlib.sha256(query.removeprefix("n=").encode()).hexdigest().encode() + b"\n"
    socket.send_multipart([b"", body])  # any other path echoes
