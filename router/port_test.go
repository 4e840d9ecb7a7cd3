package router_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/testpipe"
	"github.com/dialmux/dialmux/router"
)

// port is the router's clients on a listener of its own, in place of the
// harness's, as cmd/dialmux serves them.
type port struct {
	w    *world
	l    *testpipe.Listener
	c    *router.Clients
	done chan struct{} // Serve has returned
	shut bool
}

// port has raw and send dial what p says from now on, until the test's end.
func (w *world) port(p router.Port) *port { return w.portOn(p, nil) }

// portOn is port with connections that are wrapped.
func (w *world) portOn(p router.Port, wrap func(*testpipe.Conn) net.Conn) *port {
	o := &port{w: w, l: testpipe.NewListener(), c: w.r.Clients(p), done: make(chan struct{})}
	w.clients = o.l
	l := net.Listener(o.l)
	if wrap != nil {
		l = wrapped{o.l, wrap}
	}
	w.wg.Go(func() {
		defer close(o.done)
		_ = o.c.Serve(l)
	})
	w.t.Cleanup(func() {
		if o.shut {
			return
		}
		now, cancel := context.WithCancel(context.Background())
		cancel()
		o.shutdown(now, 0)
	})
	return o
}

func (p *port) shutdown(ctx context.Context, farewell time.Duration) (cut int) {
	_ = p.l.Close()
	<-p.done
	p.shut = true
	return p.c.Shutdown(ctx, farewell)
}

// certified makes a certificate for "h", and what trusts it.
func certified(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"h", "example.com"}, BasicConstraintsValid: true, IsCA: true,
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0), // a bubble's clock begins in 2000
	}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	server = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	return server, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, ServerName: "h"}
}

// portStory is a story behind cmd/dialmux's port.
func portStory(t *testing.T, cfg router.Config, p router.Port, tell func(w *world, o *port)) {
	t.Helper()
	storyBehind(t, cfg, engine, nil, func(w *world) { tell(w, w.port(p)) })
}

// secure dials by TLS, and offers these protocols.
func (w *world) secure(client *tls.Config, protos ...string) *tls.Conn {
	w.t.Helper()
	nc, err := w.clients.Dial(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	client = client.Clone()
	client.NextProtos = protos
	w.t.Cleanup(func() { _ = nc.Close() })
	return shake(w.t, nc, client)
}

func shake(t *testing.T, nc net.Conn, client *tls.Config) *tls.Conn {
	t.Helper()
	c := tls.Client(nc, client)
	if err := c.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// wantsRaw reads an answer from c, and checks it.
func wantsRaw(t *testing.T, c net.Conn, body string) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || string(got) != body {
		t.Fatalf("got %d %q, %v; want %q", resp.StatusCode, got, err, body)
	}
	return resp
}

func TestBothVersionsInTheClear(t *testing.T) {
	portStory(t, router.Config{}, router.Port{}, func(w *world, _ *port) {
		k := w.join("w1", 4)
		for range 2 {
			second := w.get("/second", over("HTTP/2"))
			c := k.request()
			if got := c.get("via"); got != "2.0 dialmux" {
				w.t.Errorf("via %q", got)
			}
			first := w.raw("GET /first HTTP/1.1\r\nHost: h\r\n\r\n")
			one := k.request()
			if got := one.get("via"); got != "1.1 dialmux" || one.get(":scheme") != "http" {
				w.t.Errorf("via %q, scheme %q", got, one.get(":scheme"))
			}
			one.answer(200, "first")
			wantsRaw(w.t, first.nc, "first")
			time.Sleep(time.Minute) // no limit of the engine's is HTTP/2's
			c.answer(200, "second")
			if resp := second.wants(200, "second"); resp.ProtoMajor != 2 {
				w.t.Errorf("%s is spoken", resp.Proto)
			}
		}
	})
}

// However the preface is cut, it is HTTP/2's; what only begins like it is not.
func TestThePrefaceOfHTTP2InPieces(t *testing.T) {
	portStory(t, router.Config{}, router.Port{}, func(w *world, _ *port) {
		k := w.join("w1", 1)
		c := w.raw("")
		for _, b := range []byte(http2.ClientPreface) {
			c.write(string(b))
			w.settle()
		}
		fr := http2.NewFramer(c.nc, c.nc)
		if err := fr.WriteSettings(); err != nil {
			w.t.Fatal(err)
		}
		if f, err := fr.ReadFrame(); err != nil || f.Header().Type != http2.FrameSettings {
			w.t.Errorf("got %v, %v, want SETTINGS", f, err)
		}
		for _, almost := range []string{"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "PRI * HTTP/2.0\r\nHost: h\r\n\r\n"} {
			if got := w.raw(almost).all(); !strings.HasPrefix(got, "HTTP/1.1 505 ") {
				w.t.Errorf("%q: the client got %q", almost, got)
			}
		}
		k.silent()
	})
}

// Over TLS HTTP/2 is chosen by ALPN only (RFC 9113 section 3.2): else workers would be told that the request came in the clear.
func TestThePrefaceOfHTTP2InsideTLS(t *testing.T) {
	server, client := certified(t)
	portStory(t, router.Config{}, router.Port{TLS: server}, func(w *world, _ *port) {
		k := w.join("w1", 1)
		nc := w.secure(client)
		if _, err := io.WriteString(nc, http2.ClientPreface); err != nil {
			w.t.Fatal(err)
		}
		got, err := io.ReadAll(nc)
		if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 505 ") {
			w.t.Errorf("got %q, %v", got, err)
		}
		k.silent()
	})
}

func TestHTTP10OverTLS(t *testing.T) {
	server, client := certified(t)
	portStory(t, router.Config{}, router.Port{TLS: server}, func(w *world, _ *port) {
		k := w.join("w1", 1)
		nc := w.secure(client, "http/1.0")
		if _, err := io.WriteString(nc, "GET / HTTP/1.0\r\n\r\n"); err != nil {
			w.t.Fatal(err)
		}
		k.request().answer(200, "served")
		wantsRaw(w.t, nc, "served")
	})
}

func TestTLSWithBothVersions(t *testing.T) {
	server, client := certified(t)
	portStory(t, router.Config{}, router.Port{TLS: server}, func(w *world, _ *port) {
		k := w.join("w1", 1)
		says := func(c *call, via string) {
			if c.get(":scheme") != "https" || c.get("x-forwarded-proto") != "https" || c.get("via") != via {
				w.t.Errorf("scheme %q, x-forwarded-proto %q, via %q", c.get(":scheme"), c.get("x-forwarded-proto"), c.get("via"))
			}
		}
		for _, protos := range [][]string{nil, {"http/1.1"}} {
			nc := w.secure(client, protos...)
			for range 2 {
				if _, err := io.WriteString(nc, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
					w.t.Fatal(err)
				}
				c := k.request()
				says(c, "1.1 dialmux")
				c.answer(200, "first")
				wantsRaw(w.t, nc, "first")
			}
			_ = nc.Close()
		}
		tr := &http.Transport{
			DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
				return w.secure(client, "h2", "http/1.1"), nil
			},
			Protocols: new(http.Protocols),
		}
		tr.Protocols.SetHTTP2(true)
		defer tr.CloseIdleConnections()
		for range 2 {
			w.wg.Go(func() {
				c := k.request()
				says(c, "2.0 dialmux")
				c.answer(200, "second")
			})
			req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "https://h/", nil)
			if err != nil {
				w.t.Fatal(err)
			}
			resp, err := tr.RoundTrip(req)
			if err != nil {
				w.t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || resp.ProtoMajor != 2 || string(body) != "second" {
				w.t.Errorf("%s %d %q, %v", resp.Proto, resp.StatusCode, body, err)
			}
		}
	})
}

// What is not TLS costs its own connection.
func TestJunkOnATLSPort(t *testing.T) {
	server, client := certified(t)
	portStory(t, router.Config{}, router.Port{TLS: server}, func(w *world, _ *port) {
		k := w.join("w1", 1)
		for _, junk := range []string{"GET / HTTP/1.1\r\nHost: h\r\n\r\n", http2.ClientPreface, strings.Repeat("\x00", 1000)} {
			c := w.raw(junk)
			w.settle()
			if got, closed := c.seen(); !closed || strings.HasPrefix(got, "HTTP/1.1 200") {
				w.t.Errorf("%.20q got %q, closed: %v", junk, got, closed)
			}
		}
		silent := w.raw("\x16\x03\x01")
		begin := time.Now()
		_, _ = io.ReadAll(silent.nc)
		if took := time.Since(begin); took != router.DefaultHeadTimeout {
			w.t.Errorf("a handshake that stopped was ended after %v, want %v", took, router.DefaultHeadTimeout)
		}
		k.silent()
		nc := w.secure(client, "http/1.1")
		if _, err := io.WriteString(nc, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
			w.t.Fatal(err)
		}
		k.request().answer(200, "served")
		wantsRaw(w.t, nc, "served")
	})
}

// wrapped is a listener whose connections the test makes others of.
type wrapped struct {
	net.Listener
	wrap func(*testpipe.Conn) net.Conn
}

func (l wrapped) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.wrap(nc.(*testpipe.Conn)), nil
}

// remote is a connection from another address.
type remote struct {
	*testpipe.Conn
	addr net.Addr
}

func (r remote) RemoteAddr() net.Addr { return r.addr }

func TestH6TrustedProxiesOfThePort(t *testing.T) {
	cfg := router.Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fe80::/10")}}
	for _, tc := range []struct{ addr, who, proto, host string }{
		{"10.1.2.3:4567", "6.6.6.6, 7.7.7.7, 10.1.2.3", "https", "bank.example"},
		{"[::ffff:10.1.2.3]:4567", "6.6.6.6, 7.7.7.7, 10.1.2.3", "https", "bank.example"}, // as the kernel shows it, Go shows IPv4
		{"[fe80::1%eth0]:4567", "6.6.6.6, 7.7.7.7, fe80::1%eth0", "https", "bank.example"},
		{"11.1.2.3:4567", "11.1.2.3", "http", "shop.example"},
		{"[::1]:4567", "::1", "http", "shop.example"},
	} {
		for _, proto := range []string{"HTTP/1.1", "HTTP/2"} {
			t.Run(tc.addr+" "+proto, func(t *testing.T) {
				storyBehind(t, cfg, engine, nil, func(w *world) {
					addr := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(tc.addr))
					w.portOn(router.Port{}, func(nc *testpipe.Conn) net.Conn { return remote{nc, addr} })
					k := w.join("w1", 1)
					p := w.get("/", over(proto), func(req *http.Request) {
						req.Host = "shop.example"
						req.Header = http.Header{
							"X-Forwarded-For": {"6.6.6.6", "7.7.7.7"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"bank.example"},
							"X_forwarded_for": {"8.8.8.8"},
						}
					})
					c := k.request()
					if c.get("x-forwarded-for") != tc.who || c.get("x-forwarded-proto") != tc.proto || c.get("x-forwarded-host") != tc.host || c.values("x_forwarded_for") != nil {
						w.t.Errorf("for %q, proto %q, host %q, with underscores %q", c.get("x-forwarded-for"), c.get("x-forwarded-proto"), c.get("x-forwarded-host"), c.values("x_forwarded_for"))
					}
					c.answer(200, "")
					p.wants(200, "")
				})
			})
		}
	}
}

// faulty panics when it reads what the test says.
type faulty struct{ *testpipe.Conn }

func (f faulty) Read(p []byte) (int, error) {
	n, err := f.Conn.Read(p)
	if strings.Contains(string(p[:n]), "!") {
		panic("a fault in the listener's connection")
	}
	return n, err
}

// F8
func TestF8APanicCostsOneConnection(t *testing.T) {
	storyBehind(t, router.Config{}, engine, nil, func(w *world) {
		w.portOn(router.Port{}, func(nc *testpipe.Conn) net.Conn { return faulty{nc} })
		k := w.join("w1", 4)
		other := w.raw("GET /other HTTP/1.1\r\nHost: h\r\n\r\n")
		c := k.request()
		hit := w.raw("GET /!!!!! HTTP/1.1\r\n")
		if got, closed := hit.seen(); got != "" || !closed {
			w.t.Errorf("the client got %q, closed: %v", got, closed)
		}
		c.answer(200, "unharmed")
		wantsRaw(w.t, other.nc, "unharmed")
		other.write("GET /again HTTP/1.1\r\nHost: h\r\n\r\n")
		k.request().answer(200, "unharmed")
		wantsRaw(w.t, other.nc, "unharmed")
		body := w.raw("PUT /body HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\nhalf")
		c = k.request()
		w.settle()
		body.write("!!!!")
		if got := body.all(); !strings.HasPrefix(got, "HTTP/1.1 500 ") || !strings.Contains(got, "Connection: close\r\n") {
			w.t.Errorf("the client got %q", got)
		}
		f := k.next()
		for f.Type == frame.Data {
			f = k.next()
		}
		if f.Type != frame.RSTStream || f.Stream != c.Stream {
			w.t.Errorf("the worker got %v, want RST_STREAM", f.Type)
		}
		c.reset(http2.ErrCodeCancel)
		if log := w.log.String(); strings.Count(log, "panic while a client was served") != 1 || strings.Count(log, "panic while a request's body was read") != 1 {
			w.t.Error("each was not logged once")
		}
		w.log.mu.Lock()
		w.log.buf.Reset() // the world does not want to hear of panics
		w.log.mu.Unlock()
	})
}
