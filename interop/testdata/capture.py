#!/usr/bin/python3
"""usage: capture.py DIALMUX      (the program; make build puts it into bin/)
Records what real peers send to a router, for the fuzzers to start from. Each peer speaks through a relay that keeps the bytes:
internal/zmtp/testdata/captures   workers: all that each sent from its greeting on; FROM-ROUTER.* is the other direction
frame/testdata/captures.txt       of those the heads, a line each: who sent it, the head in hexadecimal
internal/http1/testdata/captures  HTTP/1 clients
router/testdata/captures          HTTP/2 clients, and PROXY protocol headers
It wants what the tests want, and curl, nginx-light, haproxy, wrk, apache2-utils (ab), nghttp2-client (h2load)."""
import json, os, pathlib, select, socket, subprocess, sys, tempfile, threading, time, urllib.request

ROOT = pathlib.Path(__file__).parents[2]
DIALMUX = pathlib.Path(sys.argv[1]).resolve()
PYTHON = ["/usr/bin/python3", "-u", "-B"]
MOST = 2000  # bytes kept of each peer


def free():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


class Relay:
    """Carries connections to a port and keeps what was said, of the connection on which most was."""

    def __init__(self, port):
        self.target, self.said = port, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            near, _ = self.listener.accept()
            far = socket.create_connection(("127.0.0.1", self.target))
            said = [bytearray(), bytearray()]
            self.said.append(said)
            threading.Thread(target=self.carry, args=(near, far, said), daemon=True).start()

    def carry(self, near, far, said):
        ends = {near: (far, said[0]), far: (near, said[1])}
        while ends:
            for end in select.select(list(ends), [], [])[0]:
                to, kept = ends[end]
                try:
                    data = end.recv(65536)
                    kept += data
                    to.sendall(data) if data else to.shutdown(socket.SHUT_WR)
                except OSError:
                    data = b""
                if not data:
                    del ends[end]

    def best(self):
        up, down = max(self.said, key=lambda said: len(said[0]))
        return bytes(up), bytes(down)


class Router:
    def __init__(self, *flags):
        self.http, self.workers, self.admin = free(), free(), free()
        self.process = subprocess.Popen([DIALMUX, "router", "--listen", f"127.0.0.1:{self.http}", "--workers", f"tcp://127.0.0.1:{self.workers}",
                                         "--admin", f"127.0.0.1:{self.admin}", "--log-level", "error", "--queue-wait", "200ms", *flags])
        self.wait(lambda: self.states() is not None)

    def states(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/workers") as answer:
                return [w["state"] for w in json.load(answer)]
        except OSError:
            return None

    @staticmethod
    def wait(condition):
        for _ in range(500):
            if condition():
                return
            time.sleep(0.02)
        raise SystemExit("what was waited for did not come")


def end(process):
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def write(path, data):
    path = ROOT / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    print(path.relative_to(ROOT), len(data), "bytes")


def frames(stream):
    """The messages in what one side of a ZMTP connection sent, as lists of parts."""
    at, parts = 64, []
    while at + 2 <= len(stream):
        flags, size, at = stream[at], stream[at + 1], at + 2
        if flags & 2:
            size, at = int.from_bytes(stream[at - 1:at + 7], "big"), at + 7
        if at + size > len(stream):
            return
        if not flags & 4:
            parts.append(stream[at:at + size])
            if not flags & 1:
                yield parts
                parts = []
        at += size


def ask(port, *args):
    subprocess.run(["curl", "-s", "-o", "/dev/null", "-m", "3", *args[:-1], f"http://127.0.0.1:{port}{args[-1]}"], check=False)


def workers(scratch):
    heads = []
    native, simple = ROOT / "interop/testdata/native.py", ROOT / "interop/testdata/rep.py"
    subprocess.run(["go", "build", "-o", scratch / "hello", "./examples/hello"], cwd=ROOT, check=True, env=os.environ | {"CGO_ENABLED": "0"})
    for name, token, command in [
        ("dealer-python", "", [*PYTHON, native, "py-dealer"]), ("router-python", "", [*PYTHON, native, "--router-socket", "py-router"]),
        ("rep-python-plain", "secret", [*PYTHON, simple, "py-rep"]), ("rep-python-null", "", ["env", "DIALMUX_NULL=1", *PYTHON, simple, "py-rep"]),
        ("rep-ruby-plain", "", ["/usr/bin/ruby", ROOT / "examples/ruby/rep.rb", "rb-rep"]), ("dealer-go", "", [scratch / "hello", "go"]),
    ]:
        router = Router(*(["--token", token] if token else []))
        relay = Relay(router.workers)
        worker = subprocess.Popen([*command, f"tcp://127.0.0.1:{relay.port}"], env=os.environ | {"DIALMUX_TOKEN": token or "none"}, stderr=subprocess.DEVNULL)
        router.wait(lambda: router.states() == ["ready"])
        ask(router.http, "/nonce?n=1")
        ask(router.http, "-d", "a body", "-H", "X-Caf\xe9: \xe9", "/echo")
        ask(router.http, "-X", "PUT", "-H", "Expect: 100-continue", "-d", "a body", "/echo")
        ask(router.http, "-m", "0.3", "/stream?n=3")
        time.sleep(2.5)  # a PING
        end(worker)
        time.sleep(0.2)
        up, down = relay.best()
        end(router.process)
        write(f"internal/zmtp/testdata/captures/{name}", up[:MOST])
        write(f"internal/zmtp/testdata/captures/FROM-ROUTER.{name}", down[:MOST])
        for who, stream in ((name, up), ("FROM-ROUTER." + name, down)):
            for parts in list(frames(stream))[:24]:
                heads.append(f"{who} {parts[-2].hex() if len(parts) > 1 else parts[0].hex()}\n")
    write("frame/testdata/captures.txt", ("# Who sent it, and the head in hexadecimal. Recorded by interop/testdata/capture.py.\n" + "".join(dict.fromkeys(heads))).encode())
    # Handshakes of every kind of socket, those that are refused among them.
    router = Router()
    for kind in ("REP", "DEALER", "ROUTER", "REQ", "PUB", "SUB"):
        for mechanism, options in (("null", []), ("plain", ["PLAIN_USERNAME=svc/worker", "PLAIN_PASSWORD=secret"])):
            relay = Relay(router.workers)
            worker = subprocess.Popen([*PYTHON, ROOT / "internal/zmtp/testdata/worker.py", kind, f"tcp://127.0.0.1:{relay.port}", *options],
                                      stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            router.wait(lambda: relay.said)
            time.sleep(0.7)
            end(worker)
            write(f"internal/zmtp/testdata/captures/handshake-{kind.lower()}-{mechanism}", relay.best()[0][:MOST])
    end(router.process)


GO_CLIENT = """package main
import ("net/http"; "os"; "strings"; "io")
func main() {
	t := http.DefaultTransport.(*http.Transport)
	if os.Args[2] == "h2" { t.Protocols = new(http.Protocols); t.Protocols.SetUnencryptedHTTP2(true) }
	for _, method := range []string{"GET", "POST", "PUT"} {
		var body io.Reader
		if method != "GET" { body = strings.NewReader("a body") }
		if method == "PUT" { body = io.MultiReader(body) }
		r, _ := http.NewRequest(method, "http://" + os.Args[1] + "/echo?q=%20", body)
		if method == "PUT" { r.Header.Set("Expect", "100-continue"); r.Trailer = http.Header{"X-Trailer": {"v"}} }
		if resp, err := http.DefaultClient.Do(r); err == nil { io.Copy(io.Discard, resp.Body); resp.Body.Close() }
	}
}
"""
PYTHON_CLIENT = """import http.client, sys
c = http.client.HTTPConnection(sys.argv[1])
for method, body in (("GET", None), ("POST", b"a body"), ("PUT", iter([b"a ", b"body"]))):
    c.request(method, "/echo", body, {"Cookie": "a=b; c=d"}); c.getresponse().read()
"""
RUBY_CLIENT = """require 'net/http'
Net::HTTP.start(*ARGV[0].split(':')) { |c| c.get('/a'); c.post('/echo', 'a body'); c.head('/') }
"""


def clients(scratch):
    router = Router()
    worker = subprocess.Popen([scratch / "hello", "go", f"tcp://127.0.0.1:{router.workers}"], stderr=subprocess.DEVNULL)
    router.wait(lambda: router.states() == ["ready"])
    (scratch / "client.go").write_text(GO_CLIENT)
    subprocess.run(["go", "build", "-o", scratch / "client", scratch / "client.go"], check=True, env=os.environ | {"CGO_ENABLED": "0"})
    upload = scratch / "upload"
    upload.write_text("a body of a file\n" * 20)

    def nginx(target):
        port, conf = free(), scratch / "nginx.conf"
        conf.write_text(f"daemon off; master_process off; pid {scratch}/nginx.pid; error_log /dev/null; events {{}}\nhttp {{ access_log off; "
                        f"client_body_temp_path {scratch}/b; proxy_temp_path {scratch}/p; fastcgi_temp_path {scratch}/f; uwsgi_temp_path {scratch}/u; scgi_temp_path {scratch}/s;\n"
                        f"upstream r {{ server 127.0.0.1:{target}; keepalive 4; }}\n"
                        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://r; proxy_http_version 1.1; proxy_set_header Connection ''; "
                        f"proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_request_buffering off; }} location /1.0 {{ proxy_pass http://r; }} }} }}\n")
        return port, subprocess.Popen(["/usr/sbin/nginx", "-c", conf], stderr=subprocess.DEVNULL)

    def haproxy(target, more=""):
        port, conf = free(), scratch / "haproxy.cfg"
        conf.write_text(f"defaults\n mode http\n option forwardfor\n timeout client 5s\n timeout server 5s\n timeout connect 5s\n"
                        f"listen l\n bind 127.0.0.1:{port}\n server s 127.0.0.1:{target} {more}\n")
        return port, subprocess.Popen(["haproxy", "-q", "-f", conf], stderr=subprocess.DEVNULL)

    def curls(port):
        ask(port, "/a?b=c")
        ask(port, "-d", "a body", "/echo")
        ask(port, "-T", upload, "-H", "Transfer-Encoding: chunked", "/echo")
        ask(port, "-I", "/1.0")

    def record(path, run, target=router.http):
        relay = Relay(target)
        run(relay.port)
        time.sleep(0.3)
        write(path, b"".join(bytes(up) for up, _ in relay.said)[:MOST])  # one connection behind the other

    def through(command):
        def run(port):
            at, process = command(port)
            Router.wait(lambda: subprocess.run(["curl", "-s", "-o", "/dev/null", f"http://127.0.0.1:{at}/"], check=False).returncode == 0)
            curls(at)
            end(process)
        return run

    def program(*command):
        return lambda port: subprocess.run([word.replace("AT", f"127.0.0.1:{port}") for word in map(str, command)],
                                           check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    h1, h2 = "internal/http1/testdata/captures/", "router/testdata/captures/"
    record(h1 + "curl", curls)
    record(h1 + "curl-http1.0", lambda port: ask(port, "-0", "-d", "a body", "/echo"))
    record(h1 + "curl-websocket", lambda port: ask(port, "-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13",
                                                   "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "/"))
    record(h1 + "curl-h2c-upgrade", lambda port: ask(port, "--http2", "/"))
    record(h1 + "go", program(scratch / "client", "AT", "h1"))
    record(h1 + "python", program(*PYTHON, "-c", PYTHON_CLIENT, "AT"))
    record(h1 + "ruby", program("/usr/bin/ruby", "-e", RUBY_CLIENT, "AT"))
    record(h1 + "nginx", through(nginx))
    record(h1 + "haproxy", through(haproxy))
    record(h1 + "wrk", program("wrk", "-t1", "-c1", "-d1", "http://AT/"))
    record(h1 + "ab", program("ab", "-k", "-n", "3", "-p", upload, "http://AT/"))
    record(h1 + "h2load-h1", program("h2load", "--h1", "-n", "3", "http://AT/"))
    record(h2 + "h2-curl", lambda port: ask(port, "--http2-prior-knowledge", "-d", "a body", "/echo"))
    record(h2 + "h2-go", program(scratch / "client", "AT", "h2"))
    record(h2 + "h2-h2load", program("h2load", "-n", "4", "-m", "2", "-d", upload, "http://AT/"))
    end(worker)
    end(router.process)
    router = Router("--proxy-protocol", "127.0.0.1")
    for name, more in (("v1", "send-proxy"), ("v2", "send-proxy-v2"), ("v2-check", "send-proxy-v2 check inter 50ms"), ("v2-ssl", "send-proxy-v2-ssl-cn proxy-v2-options unique-id,crc32c")):
        record(h2 + "proxy-" + name, lambda port: through(lambda target: haproxy(target, more))(port), router.http)
    record(h2 + "proxy-curl", lambda port: ask(port, "--haproxy-protocol", "/"), router.http)
    end(router.process)


with tempfile.TemporaryDirectory() as directory:
    os.environ["TMPDIR"] = directory
    workers(pathlib.Path(directory))
    clients(pathlib.Path(directory))
