package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A plan survives its way to the worker, and follows from the seed.
func TestPlan(t *testing.T) {
	seen := map[kind]bool{}
	for n := range uint32(2000) {
		p := makePlan(5, n, mood{})
		seen[p.kind] = true
		if again := makePlan(5, n, mood{}); again != p {
			t.Fatalf("request %d is %+v, then %+v", n, p, again)
		}
		u, err := url.Parse(p.target())
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseTarget(u.Query())
		want := plan{number: p.number, phase: p.phase, linger: p.linger, size: p.size, sized: p.sized}
		if err != nil || got != want {
			t.Fatalf("%s is read as %+v (%v), want %+v", p.target(), got, err, want)
		}
	}
	if len(seen) != int(kinds) {
		t.Errorf("of %d kinds %d came up", kinds, len(seen))
	}
}

// A body in pieces is the body in one, and no two are alike.
func TestFill(t *testing.T) {
	whole := bodyOf(77, 5000)
	for _, size := range []int{1, 7, 16, 1000, 1024, 3001} {
		var pieces []byte
		for len(pieces) < len(whole) {
			part := make([]byte, min(size, len(whole)-len(pieces)))
			fill(part, 77, len(pieces))
			pieces = append(pieces, part...)
		}
		if !bytes.Equal(pieces, whole) {
			t.Errorf("in pieces of %d bytes it differs", size)
		}
	}
	if bytes.Equal(bodyOf(77, 16), bodyOf(78, 16)) {
		t.Error("two requests have the same body")
	}
}

// The client finds what is wrong with an answer, in the answer alone.
func TestClientFinds(t *testing.T) {
	p := plan{number: 7, kind: put, size: 3000, upload: 100}
	right := bodyOf(7, 3000)
	head := func(number int, upload []byte, more string) string {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\n%s: %d\r\n%s: %s\r\n%s\r\n", numberField, number, sumField, sumOf(upload), more)
	}
	sent := bodyOf(7, 100)
	mixed := append(bytes.Clone(right[:2000]), bodyOf(8, 1000)...)
	chunked := "Transfer-Encoding: chunked\r\n"
	chunk := func(b []byte) string { return fmt.Sprintf("%x\r\n%s\r\n", len(b), b) }
	for name, tc := range map[string]struct {
		answer string
		find   func(outcome) bool
	}{
		"right":             {head(7, sent, "Content-Length: 3000\r\n") + string(right), func(o outcome) bool { return o.whole && o.crossed == "" && o.short == "" }},
		"another's head":    {head(8, sent, "Content-Length: 3000\r\n") + string(right), func(o outcome) bool { return o.crossed != "" }},
		"another's upload":  {head(7, sent[:99], "Content-Length: 3000\r\n") + string(right), func(o outcome) bool { return o.crossed != "" }},
		"another's body":    {head(7, sent, "Content-Length: 3000\r\n") + string(mixed), func(o outcome) bool { return o.crossed != "" }},
		"too much":          {head(7, sent, "Content-Length: 3001\r\n") + string(bodyOf(7, 3001)), func(o outcome) bool { return o.crossed != "" }},
		"short and whole":   {head(7, sent, "Content-Length: 2000\r\n") + string(right[:2000]), func(o outcome) bool { return o.short != "" }},
		"short chunks":      {head(7, sent, chunked) + chunk(right[:2000]) + "0\r\n\r\n", func(o outcome) bool { return o.short != "" }},
		"broken off":        {head(7, sent, "Content-Length: 3000\r\n") + string(right[:2000]), func(o outcome) bool { return !o.whole && o.short == "" && o.crossed == "" }},
		"chunks broken off": {head(7, sent, chunked) + chunk(right), func(o outcome) bool { return !o.whole && o.short == "" }},
		"without trailer":   {head(7, sent, chunked+trailersField+": 1\r\n") + chunk(right) + "0\r\n\r\n", func(o outcome) bool { return o.short != "" }},
		"with trailer":      {head(7, sent, chunked+trailersField+": 1\r\nTrailer: "+endTrailer+"\r\n") + chunk(right) + "0\r\n" + endTrailer + ": 7\r\n\r\n", func(o outcome) bool { return o.whole && o.short == "" }},
		"no head":           {"", func(o outcome) bool { return o.status == 0 && o.err != nil && !o.hung }},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if req, err := http.ReadRequest(newReader(c)); err == nil {
				_, _ = io.Copy(io.Discard, req.Body)
				_, _ = io.WriteString(c, tc.answer)
			}
			_ = c.Close()
		}()
		f := newFront("test", l.Addr().String(), true)
		if o := f.ask(&p, time.Now()); !tc.find(o) {
			t.Errorf("%s: found %+v", name, o)
		}
		f.close()
		_ = l.Close()
	}
}

// What the Go worker answers is what the client wants, in every phase and over both versions of HTTP.
func TestHandler(t *testing.T) {
	var record bytes.Buffer
	server := httptest.NewUnstartedServer(handler{record: syncedRecord(&record)})
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	defer server.Close()
	f := newFront("test", strings.TrimPrefix(server.URL, "http://"), true)
	defer f.close()
	const count = 300
	for n := range uint32(count) {
		p := makePlan(3, n, mood{})
		p.linger = min(p.linger, time.Millisecond)
		if p.kind == slowReader || p.kind == slowWriter {
			continue
		}
		if o := f.ask(&p, time.Now()); o.status != http.StatusOK || !o.whole || o.crossed != "" || o.short != "" {
			t.Fatalf("%s: %+v", p.target(), o)
		}
	}
	seen := map[string]int{}
	readRecord(&record, func(what event, number uint32, _ time.Time) { seen[strconv.Itoa(int(what))]++ })
	if seen["1"] == 0 || seen["1"] != seen["2"] {
		t.Errorf("%s requests were begun and %s ended", strconv.Itoa(seen["1"]), strconv.Itoa(seen["2"]))
	}
}

func newReader(c net.Conn) *bufio.Reader { return bufio.NewReader(c) }

// syncedRecord is a record in memory, for handlers that end one after the other.
func syncedRecord(to io.Writer) record { return record{&synced{to: to}} }

type synced struct {
	mu sync.Mutex
	to io.Writer
}

func (s *synced) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.to.Write(p)
}

// A handler whose context ends returns as most do, or breaks off.
func TestHandlerIsSentHome(t *testing.T) {
	var record bytes.Buffer
	h := handler{record: syncedRecord(&record)}
	returned := 0
	for n := range uint32(8) {
		p := plan{number: n, phase: midBody, linger: time.Minute, size: 1000}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		func() {
			defer func() { _ = recover() }()
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, p.target(), http.NoBody))
			returned++
		}()
		cancel()
	}
	if returned != 4 {
		t.Errorf("%d of 8 returned, want half", returned)
	}
}
