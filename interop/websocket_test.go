package interop

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"golang.org/x/sync/errgroup"
)

// maxMessage is what each of the echo workers takes.
const maxMessage = 16 << 20

func coderEcho(w http.ResponseWriter, r *http.Request) {
	c, err := coder.Accept(w, r, nil)
	if err != nil {
		return // Accept has answered
	}
	defer func() { _ = c.CloseNow() }()
	c.SetReadLimit(maxMessage)
	for {
		kind, message, err := c.Read(r.Context())
		if err != nil || c.Write(r.Context(), kind, message) != nil {
			return
		}
	}
}

func gorillaEcho(w http.ResponseWriter, r *http.Request) {
	c, err := (&gorilla.Upgrader{}).Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade has answered
	}
	defer func() { _ = c.Close() }()
	c.SetReadLimit(maxMessage)
	for {
		kind, message, err := c.ReadMessage()
		if err != nil || c.WriteMessage(kind, message) != nil {
			return
		}
	}
}

func startWebSocketPython(t testing.TB, endpoints ...string) *process {
	t.Helper()
	needPython(t)
	return start(t, "python", nil, python, append([]string{"-u", "-B", "../examples/python/websocket.py", "python"}, endpoints...)...)
}

// wsFronts are the ways in. Each opens a connection to plain or secure.
var wsFronts = []struct {
	name   string
	secure bool
	open   func(conn net.Conn, path string) (*websocket, error)
	alpn   string
}{
	{"HTTP-1.1", false, openWebSocket, ""},
	{"HTTP-1.1 over TLS", true, openWebSocket, "http/1.1"},
	{"H9 HTTP-2", false, func(c net.Conn, path string) (*websocket, error) { return openTunnel(c, "http", path) }, ""},
	{"H9 HTTP-2 over TLS", true, func(c net.Conn, path string) (*websocket, error) { return openTunnel(c, "https", path) }, "h2"},
}

// Every server of WebSocket does through Dialmux what it does without, whatever
// the client speaks.
func TestWebSocket(t *testing.T) {
	cert, key, trust := selfSigned(t)
	plain := startRouter(t)
	secure := startRouter(t, "--tls-cert", cert, "--tls-key", key)
	pythons := []*routerProcess{startRouter(t), startRouter(t, "--tls-cert", cert, "--tls-key", key)}
	startWorker(t, "go", nil, plain.endpoint(), secure.endpoint())
	startWebSocketPython(t, pythons[0].endpoint(), pythons[1].endpoint())
	plain.awaitWorkers("go")
	secure.awaitWorkers("go")
	for _, r := range pythons {
		r.awaitWorkers("python")
	}
	for _, server := range []struct {
		name    string
		routers []*routerProcess
	}{{"coder", []*routerProcess{plain, secure}}, {"gorilla", []*routerProcess{plain, secure}}, {"python", pythons}} {
		for _, front := range wsFronts {
			t.Run(server.name+"/"+front.name, func(t *testing.T) {
				router := server.routers[0]
				if front.secure {
					router = server.routers[1]
				}
				open := func(t *testing.T) *websocket {
					t.Helper()
					conn, err := net.Dial("tcp", router.addr)
					if err != nil {
						t.Fatal(err)
					}
					if front.secure {
						conn = tls.Client(conn, &tls.Config{RootCAs: trust, ServerName: "ws.test", NextProtos: []string{front.alpn}})
					}
					t.Cleanup(func() { _ = conn.Close() })
					w, err := front.open(conn, "/"+server.name)
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(w.close)
					return w
				}
				sizes := []int{0, 1, 125, 126, 65535, 65536, 1 << 20, maxMessage}
				if raceDetector && front.name != "HTTP-1.1" { // slow
					sizes = sizes[:len(sizes)-1]
				}
				speaksWebSocket(t, open, sizes)
			})
		}
	}
	for _, r := range append(pythons, plain, secure) {
		r.awaitIdle()
	}
}

// speaksWebSocket puts one server through what RFC 6455 says.
func speaksWebSocket(t *testing.T, open func(t *testing.T) *websocket, sizes []int) {
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	w := open(t)
	large := bodyOf("large", maxMessage)
	for _, n := range sizes {
		check(fmt.Sprint(n, " bytes"), w.echoes(wsBinary, large[:n]))
	}
	check("text", w.echoes(wsText, []byte("caf\u00e9 \U0001f600")))

	// Fragments, with a ping among them.
	check("the first fragment", w.send(false, wsText, []byte("caf\xc3")))
	check("a ping amid a message", w.send(true, wsPing, []byte("ping")))
	check("its pong", w.wants(wsPong, []byte("ping")))
	check("an empty fragment", w.send(false, wsContinuation, nil))
	check("a pong that nobody asked for", w.send(true, wsPong, []byte("pong")))
	check("the last fragment", w.send(true, wsContinuation, []byte("\xa9 au lait")))
	check("the whole", w.wants(wsText, []byte("caf\u00e9 au lait")))

	// A frame cut anywhere.
	for _, b := range appendFrame(nil, true, wsBinary, []byte("byte by byte")) {
		_, err := w.Write([]byte{b})
		check("a byte", err)
	}
	check("byte by byte", w.wants(wsBinary, []byte("byte by byte")))

	check("close", w.send(true, wsClose, closePayload(3456, "enough")))
	check("close with a code", w.wantsClose(3456))
	for what, c := range map[string]struct {
		frame []byte
		code  uint16
	}{
		"close without a code":   {appendFrame(nil, true, wsClose, nil), 0},
		"close 1000":             {appendFrame(nil, true, wsClose, closePayload(1000, "")), 1000},
		"close of code 999":      {appendFrame(nil, true, wsClose, closePayload(999, "")), 1002},
		"close of code 1005":     {appendFrame(nil, true, wsClose, closePayload(1005, "")), 1002},
		"a bit of no extension":  {append([]byte{0xc1}, appendFrame(nil, true, wsText, nil)[1:]...), 1002},
		"opcode 3":               {appendFrame(nil, true, 3, nil), 1002},
		"a ping in fragments":    {appendFrame(nil, false, wsPing, nil), 1002},
		"nothing to continue":    {appendFrame(nil, true, wsContinuation, nil), 1002},
		"a message in a message": {appendFrame(appendFrame(nil, false, wsText, nil), true, wsText, nil), 1002},
		"a ping of 126 bytes":    {appendFrame(nil, true, wsPing, make([]byte, 126)), 1002},
	} {
		w := open(t)
		_, err := w.Write(c.frame)
		check(what, err)
		check(what, w.wantsClose(c.code))
		w.close()
	}

	// A client that ends its direction without a close gets what it is owed.
	w = open(t)
	check("the last message", w.send(true, wsText, []byte("the last")))
	check("half-close", w.closeWrite())
	check("the echo after the half-close", w.wants(wsText, []byte("the last")))
	check("the end after it", w.wantsEnd())
}

// What the example checks beyond that.
func TestWebSocketPython(t *testing.T) {
	t.Parallel()
	r := startRouter(t)
	p := startWebSocketPython(t, r.endpoint())
	r.awaitWorkers("python")
	for what, c := range map[string]struct {
		frames []byte
		code   uint16
	}{
		"text that is not UTF-8":         {appendFrame(nil, true, wsText, []byte("caf\xe9")), 1007},
		"a reason that is not UTF-8":     {appendFrame(nil, true, wsClose, closePayload(1000, "\xff")), 1007},
		"a rune cut in a whole message":  {appendFrame(appendFrame(nil, false, wsText, []byte("caf\xc3")), true, wsContinuation, nil), 1007},
		"fragments too large together":   {appendFrame(appendFrame(nil, false, wsBinary, make([]byte, 1)), true, wsContinuation, make([]byte, maxMessage)), 1009},
		"a length that is no length":     {append([]byte{0x82, 0xff}, bytes.Repeat([]byte{0xff}, 12)...), 1009},
		"close of one byte's code":       {appendFrame(nil, true, wsClose, []byte{3}), 1002},
		"no mask":                        {[]byte{0x81, 1, 'x'}, 1002},
		"a message too large":            {append([]byte{0x82, 0xff}, 0, 0, 0, 0, 1, 0, 0, 1, 1, 2, 3, 4), 1009},
		"a close that nobody may answer": {appendFrame(nil, true, wsClose, closePayload(1006, "")), 1002},
	} {
		w, err := dialWebSocket(r.addr, "/")
		if err != nil {
			t.Fatal(err)
		}
		var sending errgroup.Group
		sending.Go(func() error { _, _ = w.Write(c.frames); return nil }) // it may be cut off
		if err := w.wantsClose(c.code); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		w.close()
		_ = sending.Wait()
	}
	if a := once(r.addr, get("/")); a.status != http.StatusBadRequest || a.header.Get("Sec-Websocket-Version") != "13" {
		t.Errorf("a request that asks for no upgrade: %+v", a)
	}
	r.awaitIdle()

	// SIGTERM: one client closes as it is told, the other never reads it.
	polite, err := dialWebSocket(r.addr, "/")
	if err != nil {
		t.Fatal(err)
	}
	defer polite.close()
	rude, err := dialWebSocket(r.addr, "/")
	if err != nil {
		t.Fatal(err)
	}
	defer rude.close()
	if err := polite.echoes(wsText, []byte("before")); err != nil {
		t.Error(err)
	}
	p.signal(syscall.SIGTERM)
	if f, err := polite.receive(); err != nil || f.opcode != wsClose || !bytes.Equal(f.payload, closePayload(1001, "")) {
		t.Errorf("after SIGTERM: %+v, %v, want close 1001", f, err)
	}
	if err := errors.Join(polite.send(true, wsClose, closePayload(1001, "")), polite.wantsEnd()); err != nil {
		t.Error(err)
	}
	eventually(t, "the worker ends", func() bool { return !p.running() })
	if state := p.cmd.ProcessState; !state.Success() {
		t.Errorf("after SIGTERM the worker ended with %v", state)
	}
	r.awaitIdle()
}

func dialWebSocket(addr, path string) (*websocket, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	w, err := openWebSocket(conn, path)
	if err != nil {
		_ = conn.Close()
	}
	return w, err
}

// One worker process in Python holds 1,000 connections.
func TestWebSocketThousand(t *testing.T) {
	const n = 1000
	r := startRouter(t)
	startWebSocketPython(t, r.endpoint())
	r.awaitWorkers("python")
	var clients errgroup.Group
	var all sync.WaitGroup
	all.Add(n)
	together := make(chan struct{})
	for range n {
		clients.Go(func() error {
			w, err := dialWebSocket(r.addr, "/")
			if err == nil {
				defer w.close()
				err = w.echoes(wsText, []byte(newNonce()))
			}
			all.Done()
			<-together
			if err != nil {
				return err
			}
			if err := w.echoes(wsBinary, bodyOf(newNonce(), 3000)); err != nil {
				return err
			}
			return errors.Join(w.send(true, wsClose, closePayload(1000, "")), w.wantsClose(1000))
		})
	}
	all.Wait()
	if open := r.streams().Open; open != n {
		t.Errorf("%d streams are open, want %d", open, n)
	}
	close(together)
	if err := clients.Wait(); err != nil {
		t.Error(err)
	}
	r.awaitIdle()
}

// selfSigned makes a certificate for ws.test: two files, and who trusts it.
func selfSigned(t testing.TB) (cert, key string, trust *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"ws.test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	trust = x509.NewCertPool()
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	trust.AppendCertsFromPEM(public)
	err = errors.Join(os.WriteFile(cert, public, 0o600), os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return cert, key, trust
}
