package interop

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/dialmux/dialmux/router"
)

// marker follows every row on its connection. It must never be taken for a part
// of the row, nor reach a worker after a refusal.
const marker = "GET /marker HTTP/1.1\r\nHost: marker\r\nConnection: close\r\n\r\n"

// heard is what came back for one row.
type heard struct {
	answers []answer // to the row's requests and, over HTTP/1, the marker
	marker  *answer  // HTTP/2's answer to it
	reset   bool     // HTTP/2's stream was
	goAway  bool     // its connection ended
	err     error    // the conversation broke off
}

// front is a way in. tell says a row and the marker.
type front struct {
	name string
	tell func(t *testing.T, r *row, want *verdict) heard
}

// stage is a router with one worker and three ways in, until the test ends.
func stage(t *testing.T, run func(t *testing.T, l net.Listener)) (fronts []front, ask func(*testing.T) []record) {
	t.Helper()
	workers, ours, embedded := listen(t), listen(t), listen(t)
	r, err := router.New(router.Config{Listeners: []net.Listener{workers}, QueueWait: patience, Drain: -1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	clients := r.Clients(router.Port{})
	plain := &http.Server{Handler: r, ErrorLog: log.New(io.Discard, "", 0)}
	var running, serving sync.WaitGroup
	running.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	serving.Go(func() { _ = clients.Serve(ours) })
	serving.Go(func() { _ = plain.Serve(embedded) })
	t.Cleanup(func() {
		end, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_, _ = ours.Close(), plain.Shutdown(end)
		serving.Wait()
		clients.Shutdown(end, 0)
		stop()
		running.Wait()
	})
	run(t, workers)
	return []front{
		{"http1", func(t *testing.T, r *row, want *verdict) heard { return tell1(t, ours.Addr().String(), r, want) }},
		{"net/http", func(t *testing.T, r *row, want *verdict) heard { return tell1(t, embedded.Addr().String(), r, want) }},
		{"2", func(t *testing.T, r *row, _ *verdict) heard { return tell2(t, ours.Addr().String(), r) }},
	}, asker(t, ours.Addr().String())
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// asker returns what asks the worker for the requests that it has seen since.
func asker(t *testing.T, addr string) func(*testing.T) []record {
	c := newClient(addr)
	t.Cleanup(c.close)
	return func(t *testing.T) (seen []record) {
		t.Helper()
		a := c.do(get("/recorded"))
		if err := json.Unmarshal(a.body, &seen); a.err != nil || a.status != http.StatusOK || err != nil {
			t.Fatalf("/recorded: %v, %v", a, err)
		}
		return seen
	}
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// tell1 sends a row and the marker in one piece, and reads until the connection
// ends.
func tell1(t *testing.T, addr string, r *row, want *verdict) (h heard) {
	conn := dial(t, addr)
	defer conn.Close()
	_, _ = conn.Write(append(bytes.Clone(r.raw), marker...)) // who refuses may close early
	in := bufio.NewReader(conn)
	for i := 0; !want.swallows || i < len(want.requests); i++ {
		method := http.MethodGet
		if i < len(want.requests) {
			method = want.requests[i].Method
		}
		if _, err := in.Peek(1); errors.Is(err, os.ErrDeadlineExceeded) {
			h.err = err
			return h
		} else if err != nil { // it has ended
			return h
		}
		var a answer
		if a.read(in, method); a.err != nil {
			h.err = a.err
			return h
		}
		h.answers = append(h.answers, a)
	}
	return h
}

// read reads the final answer to method, past informational ones.
func (a *answer) read(in *bufio.Reader, method string) {
	resp, err := http.ReadResponse(in, &http.Request{Method: method})
	for err == nil && resp.StatusCode == http.StatusContinue {
		resp, err = http.ReadResponse(in, &http.Request{Method: method})
	}
	if err != nil {
		a.err = err
		return
	}
	defer resp.Body.Close()
	a.status, a.header = resp.StatusCode, resp.Header
	a.body, a.err = io.ReadAll(resp.Body)
}

// tell2 sends a row as stream 1 and the marker as stream 3.
func tell2(t *testing.T, addr string, r *row) (h heard) {
	conn := dial(t, addr)
	defer conn.Close()
	var out bytes.Buffer
	out.WriteString(http2.ClientPreface)
	w := http2.NewFramer(&out, nil)
	w.AllowIllegalWrites = true
	_ = w.WriteSettings()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	writeHeaders(w, enc, &block, 1, r.told.fields, len(r.told.body) == 0 && len(r.told.trailers) == 0)
	for body := r.told.body; len(body) > 0; {
		n := min(len(body), 16<<10)
		_ = w.WriteData(1, n == len(body) && len(r.told.trailers) == 0, body[:n])
		body = body[n:]
	}
	if len(r.told.trailers) > 0 {
		writeHeaders(w, enc, &block, 1, r.told.trailers, true)
	}
	writeHeaders(w, enc, &block, 3, []hpack.HeaderField{
		{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: "marker"}, {Name: ":path", Value: "/marker"},
	}, true)
	_, _ = conn.Write(out.Bytes())
	h.hear2(http2.NewFramer(io.Discard, conn))
	return h
}

func writeHeaders(w *http2.Framer, enc *hpack.Encoder, block *bytes.Buffer, stream uint32, fields []hpack.HeaderField, end bool) {
	block.Reset()
	for _, f := range fields {
		_ = enc.WriteField(f)
	}
	part := block.Next(16 << 10)
	_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: part, EndStream: end, EndHeaders: block.Len() == 0})
	for block.Len() > 0 {
		part = block.Next(16 << 10)
		_ = w.WriteContinuation(stream, block.Len() == 0, part)
	}
}

// hear2 reads until both streams have ended, or the connection has.
func (h *heard) hear2(in *http2.Framer) {
	in.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	answers, over := map[uint32]*answer{1: {}, 3: {}}, map[uint32]bool{}
	for len(over) < 2 {
		f, err := in.ReadFrame()
		if err != nil {
			h.err = err
			return
		}
		id, ended := f.Header().StreamID, false
		a := answers[id]
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			if status, _ := strconv.Atoi(f.PseudoValue("status")); status >= 200 {
				a.status = status
			}
			ended = f.StreamEnded()
		case *http2.DataFrame:
			a.body = append(a.body, f.Data()...)
			ended = f.StreamEnded()
		case *http2.RSTStreamFrame:
			if f.ErrCode == http2.ErrCodeNo { // behind a whole answer: do not send the rest
				continue
			}
			h.reset, ended = h.reset || id == 1 && !over[id], true
		case *http2.GoAwayFrame:
			h.goAway = true
			return
		}
		if ended {
			over[id] = true
		}
	}
	if h.answers = append(h.answers, *answers[1]); h.reset {
		h.answers = nil
	}
	h.marker = answers[3]
}
