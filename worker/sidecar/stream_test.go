package sidecar_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/dialmux/dialmux/worker"
	"github.com/dialmux/dialmux/worker/sidecar"
)

// each runs a test with an app over HTTP/1.1 and over HTTP/2.
func each(t *testing.T, app http.HandlerFunc, test func(t *testing.T, f *front)) {
	for _, scheme := range []string{"http", "h2c"} {
		t.Run(scheme, func(t *testing.T) {
			test(t, newFront(t, scheme+"://"+goApp(t, app), sidecar.Options{}))
		})
	}
}

// do sends a request by net/http.
func (f *front) do(req *http.Request) *http.Response {
	f.t.Helper()
	transport := &http.Transport{DisableCompression: true}
	f.t.Cleanup(transport.CloseIdleConnections)
	res, err := transport.RoundTrip(req)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func (f *front) request(method string, body io.Reader) *http.Request {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), method, f.server.URL+"/", body)
	if err != nil {
		f.t.Fatal(err)
	}
	return req
}

// Each piece of an answer comes while the app is still at work on the next, and so does each of a request.
func TestBothBodiesStream(t *testing.T) {
	each(t, func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		_ = control.EnableFullDuplex()
		w.Header().Set("Content-Type", "text/event-stream")
		_ = control.Flush()
		for lines := bufio.NewReader(r.Body); ; {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			_, _ = io.WriteString(w, "data: "+line)
			_ = control.Flush()
		}
	}, func(t *testing.T, f *front) {
		body, feed := io.Pipe()
		res := f.do(f.request("POST", body)) // the head comes before any of either body
		lines := bufio.NewReader(res.Body)
		for _, word := range []string{"one\n", "two\n", strings.Repeat("x", 100_000) + "\n"} {
			_, _ = io.WriteString(feed, word)
			if got, err := lines.ReadString('\n'); got != "data: "+word {
				t.Fatalf("%.40q %v", got, err)
			}
		}
		_ = feed.Close()
		if rest, err := io.ReadAll(lines); len(rest) > 0 || err != nil {
			t.Errorf("%q %v", rest, err)
		}
	})
}

// A body of known length does not wait to be whole either, but for a small one, which may do so for a second.
func TestALongBodyComesInPieces(t *testing.T) {
	for _, length := range []int{1 << 20, 4} {
		hold := make(chan struct{})
		app := newRawApp(t, func(nc net.Conn, r *bufio.Reader) {
			readHead(r)
			for _, piece := range []string{fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", length), "ab", strings.Repeat("c", length-2)} {
				_, _ = io.WriteString(nc, piece)
				<-hold
			}
		})
		f := newFront(t, "http://"+app.address, sidecar.Options{})
		res := f.do(f.request("GET", nil))
		hold <- struct{}{}
		b := make([]byte, 2)
		if _, err := io.ReadFull(res.Body, b); string(b) != "ab" {
			t.Fatalf("%q %v", b, err)
		}
		hold <- struct{}{}
		if rest, err := io.ReadAll(res.Body); len(rest) != length-2 {
			t.Errorf("%d bytes more, %v", len(rest), err)
		}
		close(hold)
	}
}

// Nor does a chunk.
func TestAChunkComesInPieces(t *testing.T) {
	seen := make(chan struct{})
	app := newRawApp(t, func(nc net.Conn, r *bufio.Reader) {
		readHead(r)
		_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n")
		for _, piece := range "hello" {
			_, _ = io.WriteString(nc, string(piece))
			<-seen
		}
		_, _ = io.WriteString(nc, "\r\n0\r\n\r\n")
	})
	f := newFront(t, "http://"+app.address, sidecar.Options{})
	res := f.do(f.request("GET", nil))
	b := make([]byte, 1)
	for _, want := range "hello" {
		if _, err := io.ReadFull(res.Body, b); string(b) != string(want) {
			t.Errorf("%q, want %q: %v", b, want, err)
		}
		seen <- struct{}{}
	}
	if rest, err := readAll(res); rest != "" || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
}

func TestTrailersBothWays(t *testing.T) {
	each(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s", body, r.Trailer.Get("X-Digest"))
		_ = http.NewResponseController(w).Flush() // else HTTP/2 has a length, and a client of HTTP/1.1 no trailers
		w.Header().Set("X-Sum", "42")
		w.Header().Set(http.TrailerPrefix+"X-Unannounced", "7")
	}, func(t *testing.T, f *front) {
		req := f.request("POST", io.MultiReader(strings.NewReader("the body")))
		req.Trailer = http.Header{"X-Digest": {"abc"}}
		res := f.do(req)
		body, err := readAll(res)
		if body != "the body abc" || res.Trailer.Get("X-Sum") != "42" || res.Trailer.Get("X-Unannounced") != "7" {
			t.Errorf("%q %v %v", body, res.Trailer, err)
		}
	})
}

func TestInformationalHeads(t *testing.T) {
	each(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("X-Final", "1")
		_, _ = io.WriteString(w, "hi")
	}, func(t *testing.T, f *front) {
		var hints []string
		req := f.request("GET", nil)
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{Got1xxResponse: func(status int, h textproto.MIMEHeader) error {
			hints = append(hints, fmt.Sprint(status, h))
			return nil
		}}))
		res := f.do(req)
		if body, _ := readAll(res); body != "hi" || res.Header.Get("X-Final") != "1" || fmt.Sprint(hints) != "[103 map[Link:[</style.css>]]]" {
			t.Errorf("%q %v %v", body, res.Header, hints)
		}
	})
}

// An app that expects the body gets it after its 100; one that does not want it never sees any.
func TestExpectContinue(t *testing.T) {
	app := newRawApp(t, func(nc net.Conn, r *bufio.Reader) {
		head := readHead(r)
		if !strings.Contains(head, "Expect: 100-continue\r\n") {
			_, _ = io.WriteString(nc, "HTTP/1.1 400 No Expect\r\nContent-Length: 0\r\n\r\n")
			return
		}
		if strings.HasPrefix(head, "POST /no ") {
			_, _ = io.WriteString(nc, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
			if b, _ := io.ReadAll(r); len(b) > 0 {
				t.Errorf("the app got %q", b)
			}
			return
		}
		_, _ = io.WriteString(nc, "HTTP/1.1 100 Continue\r\n\r\n")
		b := make([]byte, 2)
		_, _ = io.ReadFull(r, b)
		_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"+string(b))
	})
	f := newFront(t, "http://"+app.address, sidecar.Options{})
	_, r := f.send("POST /no HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
	if head := readHead(r); !strings.HasPrefix(head, "HTTP/1.1 413 ") {
		t.Errorf("%q", head)
	}
	nc, r := f.send("POST /yes HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 2\r\n\r\n")
	if head := readHead(r); head != "HTTP/1.1 100 Continue\r\n\r\n" {
		t.Errorf("%q", head)
	}
	_, _ = io.WriteString(nc, "hi")
	if all, _ := io.ReadAll(r); !strings.HasSuffix(string(all), "\r\n\r\nhi") {
		t.Errorf("%q", all)
	}
}

// A client that leaves ends what the app does for it, whatever it waits for.
func TestAClientThatLeaves(t *testing.T) {
	for _, path := range []string{"/mute", "/begun", "/reads"} {
		came, left := make(chan struct{}, 1), make(chan struct{}, 1)
		t.Run(path, func(t *testing.T) {
			each(t, func(w http.ResponseWriter, r *http.Request) {
				came <- struct{}{}
				switch path {
				case "/begun":
					_, _ = io.WriteString(w, "begun")
					_ = http.NewResponseController(w).Flush()
				case "/reads":
					_, _ = io.ReadAll(r.Body)
					left <- struct{}{}
					return
				}
				<-r.Context().Done()
				left <- struct{}{}
			}, func(t *testing.T, f *front) {
				request := get("/")
				if path == "/reads" {
					request = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nhi"
				}
				nc, r := f.send(request)
				<-came
				if path == "/begun" {
					readHead(r)
				}
				_ = nc.Close()
				<-left
			})
		})
	}
}

// An app that answers before it has read all is heard, and gets no more.
func TestAnEarlyAnswer(t *testing.T) {
	app := newRawApp(t, func(nc net.Conn, r *bufio.Reader) {
		readHead(r)
		_, _ = io.WriteString(nc, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
	})
	f := newFront(t, "http://"+app.address, sidecar.Options{})
	body, feed := io.Pipe()
	defer feed.Close()
	res := f.do(f.request("POST", body))
	if got, err := readAll(res); res.StatusCode != http.StatusForbidden || got != "no" {
		t.Errorf("%s %q %v", res.Status, got, err)
	}
}

// The app dies with a request that it has: given away as lost, and it is the router that knows whether the answer has begun. A small one leaves
// whole, and so has not.
func TestAnAppThatDiesAmidARequest(t *testing.T) {
	for name, tc := range map[string]struct {
		pieces []string
		begun  bool
	}{
		"silent":         {},
		"a small answer": {pieces: []string{"HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n", "h", "i"}},
		"a large answer": {pieces: []string{"HTTP/1.1 200 OK\r\nContent-Length: 4097\r\n\r\n", "hi"}, begun: true},
		"a stream":       {pieces: []string{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "2\r\nhi\r\n"}, begun: true},
	} {
		t.Run(name, func(t *testing.T) {
			seen := make(chan struct{})
			app := newRawApp(t, func(nc net.Conn, r *bufio.Reader) {
				if readHead(r) == "" {
					return // whoever wants to know whether it is there
				}
				for _, piece := range tc.pieces {
					_, _ = io.WriteString(nc, piece)
					time.Sleep(10 * time.Millisecond) // longer than a piece of a stream is held
				}
				if tc.begun {
					<-seen
				}
				_ = nc.(*net.TCPConn).SetLinger(0) // a reset
			})
			f := newFront(t, "http://"+app.address, sidecar.Options{})
			_, r := f.send(get("/"))
			_, err := r.ReadByte()
			if begun := err == nil; begun != tc.begun {
				t.Errorf("the client saw something: %v, want %v", begun, tc.begun)
			}
			close(seen)
			f.wantGiven(worker.ErrLost)
		})
	}
}

// The same over HTTP/2, where heads, bodies and trailers come as frames of their own.
func TestAnHTTP2AppThatDiesAmidARequest(t *testing.T) {
	for name, begun := range map[string]bool{"a small answer": false, "a stream": true} {
		t.Run(name, func(t *testing.T) {
			seen := make(chan struct{})
			app := goApp(t, func(w http.ResponseWriter, _ *http.Request) {
				control := http.NewResponseController(w)
				if !begun {
					w.Header().Set("Content-Length", "4096")
				}
				_ = control.Flush()
				_, _ = io.WriteString(w, "hi")
				_ = control.Flush()
				if time.Sleep(20 * time.Millisecond); begun { // longer than a piece of a stream is held
					<-seen
				}
				panic(http.ErrAbortHandler)
			})
			f := newFront(t, "h2c://"+app, sidecar.Options{})
			_, r := f.send(get("/"))
			_, err := r.ReadByte()
			if (err == nil) != begun {
				t.Errorf("the client saw something: %v, want %v", err == nil, begun)
			}
			close(seen)
			f.wantGiven(worker.ErrLost)
		})
	}
}

// Bytes flow both ways, and when the client has ended its side the app may go on.
func TestUpgrade(t *testing.T) {
	app := newRawApp(t, func(nc net.Conn, r *bufio.Reader) {
		head := readHead(r)
		if !strings.Contains(head, "Connection: Upgrade\r\nUpgrade: websocket\r\n") || !strings.Contains(head, "Sec-Websocket-Key: x\r\n") {
			t.Errorf("the app was asked\n%s", head)
		}
		_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: y\r\n\r\nearly ")
		all, _ := io.ReadAll(r)
		_, _ = io.WriteString(nc, "heard "+string(all))
	})
	for _, scheme := range []string{"http", "h2c"} { // over HTTP/1.1 either way
		f := newFront(t, scheme+"://"+app.address, sidecar.Options{})
		nc, r := f.send("GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n")
		if head := readHead(r); !strings.HasPrefix(head, "HTTP/1.1 101 ") || !strings.Contains(head, "Sec-Websocket-Accept: y\r\n") {
			t.Fatalf("%s", head)
		}
		_, _ = io.WriteString(nc, "me")
		_ = nc.(*net.TCPConn).CloseWrite()
		if all, err := io.ReadAll(r); string(all) != "early heard me" {
			t.Errorf("%q %v", all, err)
		}
	}
}

func TestUpgradesThatAreNone(t *testing.T) {
	for answer, want := range map[string]string{
		"HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: other\r\nContent-Length: 2\r\n\r\nno": "HTTP/1.1 426 ",
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n":                     "HTTP/1.1 502 ",
		"HTTP/1.1 101 Switching Protocols\r\nContent-Length: 2\r\n\r\nno":                                       "HTTP/1.1 502 ",
		"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno" + closes:                          "HTTP/1.1 200 ",
	} {
		app := answers(t, answer)
		f := newFront(t, "http://"+app.address, sidecar.Options{})
		_, r := f.send("GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		if head := readHead(r); !strings.HasPrefix(head, want) || strings.Contains(head, "Upgrade: other") {
			t.Errorf("%q: %s", answer, head)
		}
	}
}

// gRPC: trailers at the end of a stream, and without one.
func TestTrailersOnly(t *testing.T) {
	app := goApp(t, func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || r.Header.Get("Te") != "trailers" {
			t.Errorf("%s, te %q", r.Proto, r.Header.Get("Te"))
		}
		_, _ = io.Copy(io.Discard, r.Body) // or the front may close before it is sent
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Grpc-Status", "12")
		w.WriteHeader(http.StatusOK)
	})
	f := newFront(t, "h2c://"+app, sidecar.Options{})
	req := f.request("POST", io.MultiReader(strings.NewReader("x")))
	req.Header.Set("Te", "trailers")
	res := f.do(req)
	if body, err := readAll(res); body != "" || err != nil || res.Header.Get("Grpc-Status") != "12" {
		t.Errorf("%q %v %v", body, err, res.Header)
	}
}
