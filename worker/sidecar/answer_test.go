package sidecar_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/dialmux/dialmux/worker"
	"github.com/dialmux/dialmux/worker/sidecar"
)

// What an app may answer, to the byte, and what becomes of it. An answer is 502, given away as lost, or passed on; never half of both.
func TestAnswersOfAllKinds(t *testing.T) {
	const (
		ok  = "HTTP/1.1 200 OK\r\n"
		two = "Content-Length: 2\r\n\r\nhi"
	)
	var fields strings.Builder
	for range 6000 {
		fields.WriteString("x-many: 0123456789\r\n")
	}
	for name, tc := range map[string]struct {
		answer string
		status string // "" for one that is given away
		has    []string
		lacks  []string
	}{
		"plain":                   {ok + two, "200", []string{"hi"}, []string{"Content-Type", "Transfer-Encoding"}},
		"chunked":                 {ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "200", []string{"hi"}, nil},
		"until the end":           {"HTTP/1.0 200 OK\r\n\r\nhi" + closes, "200", []string{"hi"}, nil},
		"204":                     {"HTTP/1.1 204 No Content\r\n\r\n", "204", nil, []string{"Content-Length"}},
		"304 with a length":       {"HTTP/1.1 304 Not Modified\r\nEtag: \"x\"\r\nContent-Length: 5\r\n\r\n", "304", []string{"Etag: \"x\""}, nil},
		"status 599":              {"HTTP/1.1 599 Odd\r\n" + two, "599", []string{"hi"}, nil},
		"fields twice, in order":  {ok + "Set-Cookie: a=1\r\nX: y\r\nSet-Cookie: b=2\r\nset-cookie: c=3\r\n" + two, "200", []string{"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nSet-Cookie: c=3\r\n"}, nil},
		"hop-by-hop":              {ok + "Connection: X-Mine, keep-alive\r\nConnection: x-too\r\nX-Mine: 1\r\nX-Too: 1\r\nX-Stays: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\n" + two, "200", []string{"X-Stays: 1"}, []string{"X-Mine", "X-Too", "Keep-Alive", "Proxy-Connection", "Connection: X"}},
		"offers h2c":              {ok + "Connection: Upgrade\r\nUpgrade: h2c, h2\r\n" + two, "200", []string{"hi"}, []string{"Upgrade"}},
		"103":                     {"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 1\r\n\r\n" + ok + two, "103", []string{"Link: </a>", "200 OK", "hi"}, []string{"X-Hop", "Keep-Alive"}},
		"100 that nobody asked":   {"HTTP/1.1 100 Continue\r\n\r\n" + ok + two, "200", []string{"hi"}, []string{"Continue"}},
		"16 informational heads":  {strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 16) + ok + two, "102", []string{"hi"}, nil},
		"17 informational heads":  {strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 17) + ok + two, "102", []string{"502 Bad Gateway"}, []string{"hi"}},
		"length and chunks":       {ok + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "200", []string{"hi"}, []string{"Content-Length: 3"}},
		"one length twice":        {ok + "Content-Length: 2\r\n" + two, "200", []string{"hi"}, nil},
		"two lengths":             {ok + "Content-Length: 3\r\n" + two, "502", []string{"error=http_protocol_error"}, []string{"hi"}},
		"negative length":         {ok + "Content-Length: -1\r\n\r\n", "502", nil, nil},
		"signed length":           {ok + "Content-Length: +2\r\n\r\nhi", "502", nil, nil},
		"unknown coding":          {ok + "Transfer-Encoding: xchunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "502", nil, nil},
		"NUL in a value":          {ok + "X: a\x00b\r\n" + two, "502", nil, nil},
		"CR in a value":           {ok + "X: a\rb\r\n" + two, "502", nil, nil},
		"control in a value":      {ok + "X: a\x01b\r\n" + two, "502", nil, nil},
		"space in a name":         {ok + "X A: b\r\n" + two, "502", nil, nil},
		"space after a name":      {ok + "Content-Length : 2\r\n\r\nhi", "502", nil, nil},
		"status 099":              {"HTTP/1.1 099 Odd\r\n" + two, "502", nil, nil},
		"status 600":              {"HTTP/1.1 600 Odd\r\n" + two, "502", nil, nil},
		"status 1000":             {"HTTP/1.1 1000 Odd\r\n" + two, "502", nil, nil},
		"101 that nobody asked":   {"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "502", []string{"error=http_upgrade_failed"}, nil},
		"no HTTP":                 {"SSH-2.0-OpenSSH_9.2\r\n", "502", []string{"Proxy-Status: dialmux-sidecar; error=http_protocol_error; details="}, nil},
		"a head of 96 KiB":        {ok + "X: " + strings.Repeat("x", 96<<10) + "\r\n" + two, "502", []string{"error=http_response_header_section_size"}, nil},
		"6,000 fields":            {ok + fields.String() + two, "502", []string{"error=http_response_header_section_size"}, nil},
		"nothing":                 {closes, "", nil, nil},
		"half a head":             {ok + "X: y\r\n" + closes, "", nil, nil},
		"trailers":                {ok + "Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n", "200", []string{"Trailer: X-Sum", "X-Sum: 1", "X-More: 2"}, nil},
		"trailers that must not":  {ok + "Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\nConnection: x\r\n\r\n", "200", []string{"X-Sum: 1"}, []string{"Connection: x"}},
		"an empty body, chunked":  {ok + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "200", nil, nil},
		"no type, and looks like": {ok + "Content-Length: 6\r\n\r\n<html>", "200", []string{"<html>"}, []string{"Content-Type"}},
	} {
		t.Run(name, func(t *testing.T) {
			app := answers(t, tc.answer)
			f := newFront(t, "http://"+app.address, sidecar.Options{})
			got := f.ask(get("/"))
			if tc.status == "" {
				f.wantGiven(worker.ErrLost)
				if got != "" {
					t.Errorf("the client got %q", got)
				}
				return
			}
			if !strings.HasPrefix(got, "HTTP/1.1 "+tc.status+" ") {
				t.Errorf("want status %s; the client got\n%.2000s", tc.status, got)
			}
			for _, part := range tc.has {
				if !strings.Contains(got, part) {
					t.Errorf("%q is missing:\n%.2000s", part, got)
				}
			}
			for _, part := range tc.lacks {
				if strings.Contains(got, part) {
					t.Errorf("%q is there:\n%.2000s", part, got)
				}
			}
		})
	}
}

// An answer that stops early is seen to: no client takes it for whole.
func TestAnswersThatBreakOff(t *testing.T) {
	for name, answer := range map[string]string{
		"short":               "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhi" + closes,
		"chunk cut":           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhi" + closes,
		"no last chunk":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n" + closes,
		"malformed chunk":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nzz\r\n",
		"trailers of 128 KiB": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: " + strings.Repeat("x", 128<<10) + "\r\n\r\n",
		"trailers cut":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: 1\r\n" + closes,
	} {
		t.Run(name, func(t *testing.T) {
			app := answers(t, answer)
			f := newFront(t, "http://"+app.address, sidecar.Options{})
			res, err := http.Get(f.server.URL)
			if err == nil {
				defer res.Body.Close()
				_, err = readAll(res)
			}
			if err == nil {
				t.Error("the client takes the answer for whole")
			}
			if got := <-f.gave; !errors.Is(got, http.ErrAbortHandler) && !errors.Is(got, worker.ErrLost) {
				t.Errorf("given away with %v", got)
			}
			http.DefaultClient.CloseIdleConnections()
		})
	}
}

// To the router it is as if the worker were lost: that it was the app says the worker's own log, once for each request.
func TestWhatAnAppLosesIsLogged(t *testing.T) {
	const begun = "HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n"
	for name, tc := range map[string]struct{ answer, want string }{
		"nothing":     {closes, "level=WARN msg=\"the app broke off without an answer\" app=http://"},
		"half a head": {"HTTP/1.1 200 OK\r\nX: y\r\n" + closes, "level=WARN msg=\"the app broke off without an answer\" app=http://"},
		"no HTTP":     {"SSH-2.0-secret" + closes, "level=WARN msg=\"the app broke off without an answer\" app=http://"},
		"half a body": {begun + strings.Repeat("x", 8000) + closes, "level=WARN msg=\"the app's answer broke off\" app=http://"},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			app := answers(t, tc.answer)
			f := newFront(t, "http://"+app.address, sidecar.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			f.ask(get("/"))
			f.wantGiven(worker.ErrLost)
			if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, tc.want) || !strings.Contains(got, "method=GET err=") || strings.Contains(got, "secret") {
				t.Errorf("logged is\n%swant %s", got, tc.want)
			}
		})
	}
}

// An app that answers HTTP/2 with HTTP/1.1 gets every request wrong: the log says which target would be right.
func TestAnAppThatSpeaksHTTP1IsNamed(t *testing.T) {
	for name, answer := range map[string]string{
		"a head":           "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n" + closes,
		"a body as in 0.9": "<!DOCTYPE HTML><p>Invalid HTTP version (2.0)</p>" + closes,
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			app := answers(t, answer)
			o := sidecar.Options{Logger: slog.New(slog.NewTextHandler(&log, nil)), Health: "/healthz"}
			f := newFront(t, "h2c://"+app.address, o)
			f.ask(get("/"))
			f.wantGiven(worker.ErrLost)
			hint := "; if the app speaks HTTP/1.1, http://" + app.address + " is right"
			if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, hint) {
				t.Errorf("logged is\n%swant %s", got, hint)
			}
			a, err := sidecar.New("h2c://"+app.address, o)
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			if err := a.Check(t.Context()); err == nil || !strings.Contains(err.Error(), hint) {
				t.Errorf("the check says %v, want %s", err, hint)
			}
		})
	}
}

// What follows an answer unasked never becomes the next one's.
func TestBytesAfterAnAnswerAreNobodys(t *testing.T) {
	app := answers(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
	f := newFront(t, "http://"+app.address, sidecar.Options{})
	for range 4 {
		if got := f.ask(get("/")); strings.Contains(got, "poison") || !strings.HasSuffix(got, "hi") {
			t.Errorf("%q", got)
		}
	}
	if n := app.conns.Load(); n != 4 {
		t.Errorf("%d connections for 4 requests: one was used again", n)
	}
}
