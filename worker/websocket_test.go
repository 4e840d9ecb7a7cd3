package worker

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	xnet "golang.org/x/net/websocket"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/testpipe"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// front lets clients that speak HTTP/1.1 come in at a routerLink.
type front struct {
	l    *routerLink
	wg   sync.WaitGroup
	mu   sync.Mutex
	last uint64
	open map[uint64]*client
}

// client is the client's end of a connection whose one request is a stream. Deadlines do nothing.
type client struct {
	net.Conn // nil
	f        *front
	id       uint64

	// Guarded by f.mu.
	changed sync.Cond
	request []byte // until it is whole
	begun   bool
	got     bytes.Buffer
	window  int64
	sent    uint64
	err     error // of Read after got
}

func newFront(l *routerLink) *front {
	f := &front{l: l, open: map[uint64]*client{}}
	f.wg.Go(func() {
		for {
			select {
			case frm := <-l.got:
				f.receive(frm)
			case <-l.done:
				for len(l.got) > 0 {
					f.receive(<-l.got)
				}
				f.close()
				return
			}
		}
	})
	l.t.Cleanup(func() {
		_ = l.Close()
		f.wg.Wait()
	})
	return f
}

// close ends what the worker has not.
func (f *front) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.open {
		c.end(errors.New("the worker is gone"))
	}
}

func (f *front) dial() *client {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last++
	c := &client{f: f, id: f.last, window: frame.RequestWindow}
	c.changed.L = &f.mu
	f.open[c.id] = c
	return c
}

// gorilla dials as gorilla's client; buffer is its largest fragment, 0 for 4 KiB.
func (f *front) gorilla(buffer int, header http.Header) (*gorilla.Conn, *http.Response, error) {
	d := gorilla.Dialer{WriteBufferSize: buffer, NetDial: func(string, string) (net.Conn, error) { return f.dial(), nil }}
	return d.Dial("ws://example.com/ws", header)
}

func (f *front) receive(frm frame.Frame) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.open[frm.Stream]
	if c == nil {
		return
	}
	defer c.changed.Broadcast()
	switch frm.Type {
	case frame.Headers:
		accepted := false
		for name, value := range frm.Fields.All() {
			switch {
			case string(name) == ":status" && string(value) == "101":
				accepted = true
				fmt.Fprintf(&c.got, "HTTP/1.1 101 OK\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n")
			case string(name) == ":status":
				fmt.Fprintf(&c.got, "HTTP/1.1 %s No\r\nConnection: close\r\n", value)
			default:
				fmt.Fprintf(&c.got, "%s: %s\r\n", name, value)
			}
		}
		fmt.Fprintf(&c.got, "\r\n%s", frm.Payload)
		if !accepted && !frm.End() {
			return
		}
	case frame.Data:
		c.got.Write(frm.Payload)
		if cost := frame.Cost(len(frm.Payload)); cost > 0 && !frm.End() {
			c.send(frame.AppendWindowUpdate(nil, c.id, uint64(cost)))
		}
	case frame.WindowUpdate:
		c.window += int64(frm.Credit)
	case frame.RSTStream:
		c.end(fmt.Errorf("%v: %s", frm.Code, frm.Reason))
	}
	if frm.End() {
		c.end(io.EOF)
	}
}

// send ignores that the worker may be gone.
func (c *client) send(parts ...[]byte) { _, _ = c.f.l.Send(c.id, zmtp.Ordinary, parts...) }

func (c *client) end(err error) {
	if c.err == nil {
		c.err = err
	}
	delete(c.f.open, c.id)
	c.changed.Broadcast()
}

func (c *client) Read(p []byte) (int, error) {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	for c.got.Len() == 0 && c.err == nil {
		c.changed.Wait()
	}
	if c.got.Len() > 0 {
		return c.got.Read(p)
	}
	return 0, c.err
}

func (c *client) Write(p []byte) (n int, err error) {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	if !c.begun {
		c.request = append(c.request, p...)
		if !bytes.HasSuffix(c.request, []byte("\r\n\r\n")) {
			return len(p), nil
		}
		return len(p), c.begin()
	}
	for n < len(p) {
		size := min(frame.Fit(c.window, len(p)-n), frame.MaxPayload)
		switch {
		case c.err != nil:
			return n, c.err
		case size == 0:
			c.changed.Wait()
		default:
			c.send(frame.AppendData(nil, c.id, false, 0), p[n:n+size])
			c.window -= frame.Cost(size)
			c.sent += uint64(size)
			n += size
		}
	}
	return n, nil
}

func (c *client) begin() error {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(c.request)))
	if err != nil {
		return err
	}
	fields := requestFields(r.Method, r.URL.RequestURI(), ":protocol", r.Header.Get("Upgrade"))
	for key, values := range r.Header {
		for _, value := range values {
			if key != "Connection" && key != "Upgrade" {
				fields.Add(strings.ToLower(key), value)
			}
		}
	}
	c.begun = true
	c.send(frame.AppendHeaders(nil, c.id, fields, false, 0))
	return nil
}

// CloseWrite ends the request's direction.
func (c *client) CloseWrite() error {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	c.send(frame.AppendData(nil, c.id, true, c.sent))
	return nil
}

func (c *client) Close() error {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	if c.err == nil {
		c.send(frame.AppendRSTStream(nil, c.id, 8, "client left"))
	}
	c.end(net.ErrClosed)
	return nil
}

func (c *client) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *client) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *client) SetDeadline(time.Time) error      { return nil }
func (c *client) SetReadDeadline(time.Time) error  { return nil }
func (c *client) SetWriteDeadline(time.Time) error { return nil }

// webSockets are servers of three libraries, as their users write them: all send back what they get, and a message of "bye"
// has them close with status 4001.
func webSockets(t testing.TB) map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"gorilla": func(w http.ResponseWriter, r *http.Request) {
			c, err := (&gorilla.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}).Upgrade(w, r, http.Header{"X-Own": {"1"}})
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for {
				kind, message, err := c.ReadMessage()
				if err != nil {
					return
				}
				if string(message) == "bye" {
					_ = c.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(4001, "ciao"), time.Now().Add(time.Minute))
					continue // until the client's answer
				}
				if err := c.WriteMessage(kind, message); err != nil {
					t.Errorf("gorilla's WriteMessage: %v", err)
				}
			}
		},
		"coder": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Own", "1")
			c, err := coder.Accept(w, r, nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.CloseNow()
			c.SetReadLimit(-1)
			ctx := context.Background()
			for {
				kind, message, err := c.Read(ctx)
				if err != nil {
					return
				}
				if string(message) == "bye" {
					_ = c.Close(4001, "ciao")
					return
				}
				if err := c.Write(ctx, kind, message); err != nil {
					t.Errorf("coder's Write: %v", err)
				}
			}
		},
	}
}

var messageSizes = []int{0, 1, 125, 126, 65535, 65536, 1 << 20, 16 << 20}

// message repeats a pattern that lies across the edges of frames.
func message(size int) []byte {
	pattern := make([]byte, 251)
	for i := range pattern {
		pattern[i] = byte(i)
	}
	return bytes.Repeat(pattern, size/len(pattern)+1)[:size]
}

func TestGorillaClient(t *testing.T) {
	for name, h := range webSockets(t) {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				_, l := serve(t, h)
				c, answer, err := newFront(l).gorilla(0, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if answer.Header.Get("X-Own") != "1" {
					t.Errorf("header is %q", answer.Header)
				}
				for _, size := range messageSizes {
					want := message(size)
					if err := c.WriteMessage(gorilla.BinaryMessage, want); err != nil {
						t.Fatal(err)
					}
					if kind, got, err := c.ReadMessage(); kind != gorilla.BinaryMessage || err != nil || !bytes.Equal(got, want) {
						t.Fatalf("message of %d bytes: got %d, %v", size, len(got), err)
					}
				}
				pongs := 0
				c.SetPongHandler(func(text string) error {
					if pongs++; text != "are you there" {
						t.Errorf("pong says %q", text)
					}
					return nil
				})
				if err := c.WriteControl(gorilla.PingMessage, []byte("are you there"), time.Time{}); err != nil {
					t.Fatal(err)
				}
				if err := c.WriteMessage(gorilla.TextMessage, []byte("bye")); err != nil {
					t.Fatal(err)
				}
				_, _, err = c.ReadMessage()
				if closed, ok := errors.AsType[*gorilla.CloseError](err); !ok || closed.Code != 4001 || closed.Text != "ciao" || pongs != 1 {
					t.Errorf("%v, after %d pongs", err, pongs)
				}
			})
		})
	}
}

func TestCoderClient(t *testing.T) {
	for name, h := range webSockets(t) {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				_, l := serve(t, h)
				f := newFront(l)
				transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return f.dial(), nil }}
				ctx := t.Context()
				c, answer, err := coder.Dial(ctx, "ws://example.com/ws", &coder.DialOptions{HTTPClient: &http.Client{Transport: transport}})
				if err != nil {
					t.Fatal(err)
				}
				defer c.CloseNow()
				c.SetReadLimit(-1)
				if answer.Header.Get("X-Own") != "1" {
					t.Errorf("header is %q", answer.Header)
				}
				want := message(100 << 10)
				w, err := c.Writer(ctx, coder.MessageBinary)
				if err != nil {
					t.Fatal(err)
				}
				for _, cut := range []int{0, 1, 70_000, len(want)} { // each Write is a fragment
					_, _ = w.Write(want[len(want)-cut:])
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				all := append(append(bytes.Clone(want[len(want)-1:]), want[len(want)-70_000:]...), want...)
				if kind, got, err := c.Read(ctx); kind != coder.MessageBinary || err != nil || !bytes.Equal(got, all) {
					t.Fatalf("fragments: got %d bytes, %v", len(got), err)
				}
				var wg sync.WaitGroup
				wg.Go(func() {
					_, _, err := c.Read(ctx)
					if closed, ok := errors.AsType[coder.CloseError](err); !ok || closed.Code != 4001 || closed.Reason != "ciao" {
						t.Errorf("end: %v", err)
					}
				})
				if err := c.Ping(ctx); err != nil {
					t.Error(err)
				}
				if err := c.Write(ctx, coder.MessageText, []byte("bye")); err != nil {
					t.Error(err)
				}
				wg.Wait()
			})
		})
	}
}

// The client closes, and knows why the server agrees.
func TestClientClosesWebSocket(t *testing.T) {
	for name, h := range webSockets(t) {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				_, l := serve(t, h)
				c, _, err := newFront(l).gorilla(0, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if err := c.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(4002, "enough"), time.Time{}); err != nil {
					t.Fatal(err)
				}
				if _, _, err := c.ReadMessage(); !gorilla.IsCloseError(err, 4002) {
					t.Errorf("ReadMessage: %v", err)
				}
				if _, err := c.NetConn().Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
					t.Errorf("after it: %v", err)
				}
			})
		})
	}
}

func TestWebSocketRefused(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"gorilla": func(w http.ResponseWriter, r *http.Request) {
			if _, err := (&gorilla.Upgrader{CheckOrigin: func(*http.Request) bool { return false }}).Upgrade(w, r, nil); err == nil {
				t.Error("accepted")
			}
		},
		"coder": func(w http.ResponseWriter, r *http.Request) {
			if _, err := coder.Accept(w, r, nil); err == nil {
				t.Error("accepted")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				_, l := serve(t, h)
				header := http.Header{"Origin": {"http://elsewhere.example"}}
				_, answer, err := newFront(l).gorilla(0, header)
				if !errors.Is(err, gorilla.ErrBadHandshake) || answer.StatusCode != http.StatusForbidden {
					t.Errorf("%v, %v", answer, err)
				}
			})
		})
	}
}

func TestXNetWebSocket(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := xnet.Server{Handler: func(c *xnet.Conn) {
			var got []byte
			for xnet.Message.Receive(c, &got) == nil {
				if err := xnet.Message.Send(c, got); err != nil {
					t.Errorf("Send: %v", err)
				}
			}
		}}
		_, l := serve(t, h.ServeHTTP)
		c, _, err := newFront(l).gorilla(128<<10, nil) // it knows no fragments
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, size := range []int{0, 126, 65536} {
			want := message(size)
			if err := c.WriteMessage(gorilla.BinaryMessage, want); err != nil {
				t.Fatal(err)
			}
			if _, got, err := c.ReadMessage(); err != nil || !bytes.Equal(got, want) {
				t.Errorf("message of %d bytes: got %d, %v", size, len(got), err)
			}
		}
	})
}

func TestThousandWebSockets(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRouter(t)
		run := r.start(Worker{Concurrency: 1000, Handler: webSockets(t)["gorilla"]})
		l := r.join()
		f := newFront(l)
		var conns []*gorilla.Conn
		for range 1000 {
			c, _, err := f.gorilla(256, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			conns = append(conns, c)
		}
		for i, c := range conns {
			want := fmt.Sprintf("message %d", i)
			if err := c.WriteMessage(gorilla.TextMessage, []byte(want)); err != nil {
				t.Fatal(err)
			}
			if _, got, err := c.ReadMessage(); string(got) != want || err != nil {
				t.Fatalf("got %q, %v; want %q", got, err, want)
			}
		}
		if err := run.stop(); err != nil { // all are idle: Grace ends them
			t.Error(err)
		}
		for _, c := range conns {
			if _, _, err := c.ReadMessage(); err == nil || !strings.Contains(err.Error(), "the time to finish is over") {
				t.Fatalf("after the end: %v", err)
			}
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A worker may hand upgrades on.
func TestReverseProxyUpgrades(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, c *client, backend net.Conn){
		"the backend ends it": func(t *testing.T, c *client, backend net.Conn) {
			write(t, backend, "last words")
			_ = backend.Close()
			if got, err := io.ReadAll(c); string(got) != "last words" || err != nil {
				t.Errorf("the client read %q, %v", got, err)
			}
		},
		"the client ends its side": func(t *testing.T, c *client, backend net.Conn) {
			write(t, c, "last words")
			_ = c.CloseWrite()
			if got, err := io.ReadAll(backend); string(got) != "last words" || err != nil {
				t.Errorf("the backend read %q, %v", got, err)
			}
			_ = backend.Close()
			if got, err := io.ReadAll(c); len(got) != 0 || err != nil {
				t.Errorf("the client read %q, %v", got, err)
			}
		},
		"the client leaves": func(t *testing.T, c *client, backend net.Conn) {
			_ = c.Close()
			if got, err := io.ReadAll(backend); len(got) != 0 || err != nil {
				t.Errorf("the backend read %q, %v", got, err)
			}
			_ = backend.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				near, backend := testpipe.New()
				proxy := &httputil.ReverseProxy{
					Rewrite: func(*httputil.ProxyRequest) {},
					Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
						if r.Header.Get("Upgrade") != "websocket" || r.Header.Get("Connection") != "Upgrade" {
							t.Errorf("the proxy sends %q", r.Header)
						}
						h := http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "X-Own": {"1"}}
						return &http.Response{StatusCode: http.StatusSwitchingProtocols, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: h, Body: near, Request: r}, nil
					}),
				}
				_, l := serve(t, proxy.ServeHTTP)
				c := newFront(l).dial()
				defer c.Close()
				write(t, c, "GET /ws HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
				const head = "HTTP/1.1 101 OK\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nx-own: 1\r\n\r\n"
				got := make([]byte, len(head))
				if _, err := io.ReadFull(c, got); string(got) != head || err != nil {
					t.Fatalf("got %q, %v", got, err)
				}
				write(t, c, "ping")
				got = got[:4]
				if _, err := io.ReadFull(backend, got); string(got) != "ping" || err != nil {
					t.Errorf("the backend read %q, %v", got, err)
				}
				end(t, c, backend)
				synctest.Wait()
			})
		})
	}
}
