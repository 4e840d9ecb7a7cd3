"""A libzmq peer: worker.py KIND ENDPOINT [option=value ...]. Lines on stdin drive it, lines on stdout tell."""
import sys

import zmq

kind, endpoint = sys.argv[1], sys.argv[2]
socket = zmq.Context().socket(getattr(zmq, kind))
socket.setsockopt(zmq.LINGER, 0)
for option in sys.argv[3:]:
    name, value = option.split("=", 1)
    number = getattr(zmq, name)
    socket.setsockopt(number, value.encode() if name.startswith("PLAIN") else int(value))
socket.connect(endpoint)
print("connected", flush=True)
for line in sys.stdin:
    command, _, argument = line.rstrip("\n").partition(" ")
    if command == "send":
        socket.send_multipart([argument.encode()])
        print("sent", flush=True)
    elif command == "recv":
        message = socket.recv_multipart()
        print("received", b",".join(message).decode(errors="replace"), flush=True)
    elif command == "connect":
        socket.connect(argument)
        print("connected", flush=True)
    elif command == "echo":
        while True:
            socket.send_multipart(socket.recv_multipart())
    elif command == "count":
        for _ in range(int(argument)):
            socket.recv_multipart()
        print("counted", flush=True)
    elif command == "flood":  # of a ROUTER: to whom the next message is from
        peer, _ = socket.recv_multipart()
        for _ in range(int(argument)):
            socket.send_multipart([peer, bytes(4096)])
        print("flooded", flush=True)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # waits for room
        socket.send_multipart([peer, b"last"])
