"""usage: rep.py NAME [ENDPOINT]     ($DIALMUX_TOKEN is shown to the router if it is set)"""
import os, sys, zmq
def serve(answer, name, endpoint="tcp://127.0.0.1:8000"):
    socket = zmq.Context().socket(zmq.REP)
    socket.plain_username = name.encode()
    if token := os.environ.get("DIALMUX_TOKEN"): socket.plain_password = token.encode()
    socket.heartbeat_ivl, socket.heartbeat_timeout = 2000, 6000
    socket.connect(endpoint)
    while request := socket.recv_multipart(): socket.send_multipart(answer(*request))  # a msgpack map (method, path, ...) and the body
if __name__ == "__main__": serve(lambda head, body: [b"", f"Hello from {sys.argv[1]}\n".encode()], *sys.argv[1:])
