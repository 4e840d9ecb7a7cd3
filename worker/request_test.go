package worker

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/dialmux/dialmux/frame"
)

// look serves one request and hands it to the test.
func look(t *testing.T, send func(l *routerLink), see func(r *http.Request)) {
	t.Helper()
	bubble(t, func(t *testing.T) {
		seen := false
		_, l := serve(t, func(w http.ResponseWriter, r *http.Request) {
			see(r)
			seen = true
			w.WriteHeader(http.StatusNoContent)
		})
		send(l)
		l.want(`HEADERS 1 [:status: 204] END 0`)
		if !seen {
			t.Error("the handler was not called")
		}
	})
}

func TestRequestShape(t *testing.T) {
	look(t, func(l *routerLink) {
		l.get(1, "/a%2Fb//c?q=1&r", "accept", "text/html", "cookie", "a=1", "x-many", "1", "cookie", "b=2", "x-many", "2",
			"x-latin", "caf\xe9", "x-forwarded-for", "10.0.0.1, 203.0.113.9", "expect", "nothing we know")
	}, func(r *http.Request) {
		want := http.Header{
			"Accept": {"text/html"}, "Cookie": {"a=1", "b=2"}, "X-Many": {"1", "2"}, "X-Latin": {"caf\xe9"},
			"X-Forwarded-For": {"10.0.0.1, 203.0.113.9"},
		}
		if !reflect.DeepEqual(r.Header, want) {
			t.Errorf("Header is %q, want %q", r.Header, want)
		}
		got := fmt.Sprintf("%s %s %s|%s|%s %s %d.%d %s %d %v %v", r.Method, r.RequestURI, r.URL.Path, r.URL.RawQuery, r.Host,
			r.Proto, r.ProtoMajor, r.ProtoMinor, r.RemoteAddr, r.ContentLength, r.Body == http.NoBody, r.TLS)
		if want := "GET /a%2Fb//c?q=1&r /a/b//c|q=1&r|example.com HTTP/2.0 2.0 203.0.113.9:0 0 true <nil>"; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

func TestRequestTargets(t *testing.T) {
	for name, tc := range map[string]struct {
		fields frame.Fields
		want   string // method, URL, host
	}{
		"OPTIONS *":      {fieldsOf(":method", "OPTIONS", ":scheme", "http", ":authority", "a.example", ":path", "*"), "OPTIONS * a.example"},
		"slashes":        {fieldsOf(":method", "GET", ":authority", "a.example", ":path", "//b.example/c"), "GET //b.example/c a.example"},
		"host field":     {fieldsOf(":method", "GET", ":path", "/", "host", "b.example"), "GET / b.example"},
		"authority wins": {fieldsOf(":method", "GET", ":authority", "a.example", ":path", "/", "host", "b.example"), "GET / a.example"},
		"no host":        {fieldsOf(":method", "GET", ":path", "/"), "GET / "},
		"own method":     {fieldsOf(":method", "PURGE", ":path", "/"), "PURGE / "},
	} {
		t.Run(name, func(t *testing.T) {
			look(t, func(l *routerLink) {
				l.send(frame.AppendHeaders(nil, 1, tc.fields, true, 0), nil)
			}, func(r *http.Request) {
				if got := fmt.Sprintf("%s %s %s", r.Method, r.URL, r.Host); got != tc.want {
					t.Errorf("got %s, want %s", got, tc.want)
				}
				if r.Header.Get("Host") != "" {
					t.Error("Host is in Header")
				}
			})
		})
	}
}

func TestRemoteAddr(t *testing.T) {
	for forwarded, want := range map[string]string{
		"": "", "192.0.2.1": "192.0.2.1:0", "a, b,192.0.2.1": "192.0.2.1:0", "::1": "[::1]:0", "a, [::1]": "[::1]:0",
	} {
		var fields []string
		if forwarded != "" {
			fields = []string{"x-forwarded-for", "1.2.3.4", "x-forwarded-for", forwarded}
		}
		var x exchange
		if _, err := x.readRequest(requestFields("GET", "/", fields...)); err != nil {
			t.Error(err)
		}
		if got := x.request.RemoteAddr; got != want {
			t.Errorf("X-Forwarded-For %q: RemoteAddr %q, want %q", forwarded, got, want)
		}
	}
}

// FuzzPath: a path is read as url.ParseRequestURI reads it, whether that is asked or not.
func FuzzPath(f *testing.F) {
	for _, path := range []string{
		"/", "*", "/a/b.c-d_e~9", "/a?", "/a??", "/a?b=c&d=%20", "/a?b#c", "//host/path", "///", "/a:b", "/%41", "/%2f", "/%zz", "/a b", "/a?b c",
		"/a\x7f", "/a?\x7f", "/caf\xc3\xa9", "/a?\xc3\xa9", "/a#b", "/a;b", "/../a", "/[::1]", "/a@b", "/$&+,", "",
	} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		want, wantErr := url.ParseRequestURI(path)
		if !strings.HasPrefix(path, "/") && path != "*" {
			t.Skip("requests with such a path are malformed, whatever net/url makes of it")
		}
		got, err := parsePath(new(url.URL), path)
		if (err == nil) != (wantErr == nil) || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %#v, %v, want %#v, %v", path, got, err, want, wantErr)
		}
	})
}

// A client may write such a path, and a router pass it on: it is the client that hears of it.
func TestPathsThatCannotBeReadAre400(t *testing.T) {
	for _, path := range []string{"/%zz", "/a%", "/\x01"} {
		bubble(t, func(t *testing.T) {
			_, l := serve(t, hello)
			l.get(1, path)
			f := l.next()
			if f.Type != frame.Headers || string(f.Fields.Get(":status")) != "400" || !f.End() {
				t.Errorf("%q: got %v %s", path, f.Type, f.Fields.Get(":status"))
			}
		})
	}
}

func TestMalformedRequestsAreReset(t *testing.T) {
	for name, tc := range map[string]struct {
		fields frame.Fields
		reason string
	}{
		"no method":        {fieldsOf(":path", "/"), `malformed :method ""`},
		"method":           {fieldsOf(":method", "G T", ":path", "/"), `malformed :method "G T"`},
		"no path":          {fieldsOf(":method", "GET"), `malformed :path ""`},
		"absolute path":    {fieldsOf(":method", "GET", ":path", "http://a/"), `malformed :path "http://a/"`},
		"GET *":            {fieldsOf(":method", "GET", ":path", "*"), `malformed :path "*"`},
		"authority":        {fieldsOf(":method", "GET", ":authority", "a\r\nb", ":path", "/"), `malformed :authority "a\r\nb"`},
		"method twice":     {fieldsOf(":method", "GET", ":method", "GET", ":path", "/"), `:method stands there twice`},
		"unknown pseudo":   {fieldsOf(":method", "GET", ":path", "/", ":status", "200"), `unknown ":status"`},
		"pseudo too late":  {fieldsOf(":method", "GET", ":path", "/", "a", "b", ":scheme", "http"), `malformed field ":scheme"`},
		"upper case":       {fieldsOf(":method", "GET", ":path", "/", "Accept", "b"), `malformed field "Accept"`},
		"empty name":       {fieldsOf(":method", "GET", ":path", "/", "", "b"), `malformed field ""`},
		"CR in value":      {fieldsOf(":method", "GET", ":path", "/", "a", "b\r\nc: d"), `malformed field "a"`},
		"content-length":   {fieldsOf(":method", "GET", ":path", "/", "content-length", "+1"), `content-length is no number, or stands there twice`},
		"content-lengths":  {fieldsOf(":method", "GET", ":path", "/", "content-length", "0", "content-length", "0"), `content-length is no number, or stands there twice`},
		"length and total": {fieldsOf(":method", "GET", ":path", "/", "content-length", "7"), `request's body of 0 bytes, END_STREAM says 0 and content-length 7 (-1: nothing)`},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				_, l := serve(t, hello)
				l.send(frame.AppendHeaders(nil, 1, tc.fields, true, 0), nil)
				l.want(`RST_STREAM 1 PROTOCOL_ERROR ` + tc.reason)
				for id := range uint64(DefaultConcurrency) { // no slot is lost
					l.get(id+2, "/")
				}
				for range DefaultConcurrency {
					if f := l.next(); f.Type != frame.Headers {
						t.Fatalf("got %s", show(f))
					}
				}
			})
		})
	}
}

func TestRequestTrailers(t *testing.T) {
	look(t, func(l *routerLink) {
		l.post(1, "/", "trailer", "X-Sum, x-more,content-length", "content-length", "5")
		l.data(1, "hello")
		l.send(frame.AppendHeaders(nil, 1, fieldsOf("x-sum", "1", "x-sum", "2", "x-undeclared", "3", "Bad", "4", "content-length", "5"), true, 5), nil)
	}, func(r *http.Request) {
		if want := (http.Header{"X-Sum": nil, "X-More": nil}); !reflect.DeepEqual(r.Trailer, want) {
			t.Errorf("before the end: Trailer is %q, want %q", r.Trailer, want)
		}
		if r.Header.Get("Trailer") != "" {
			t.Error("Trailer is in Header")
		}
		copied := r.WithContext(r.Context())
		if b, err := io.ReadAll(r.Body); string(b) != "hello" || err != nil {
			t.Errorf("read %q, %v", b, err)
		}
		if want := (http.Header{"X-Sum": {"1", "2"}, "X-More": nil, "X-Undeclared": {"3"}}); !reflect.DeepEqual(copied.Trailer, want) {
			t.Errorf("after the end: Trailer is %q, want %q", copied.Trailer, want)
		}
	})
}

func TestFramesForNoStreamAreDropped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l := serve(t, hello)
		l.get(5, "/")
		l.next()
		for _, id := range []uint64{1, 5, 9} {
			l.data(id, "x")
			l.credit(id, 1)
			l.cancel(id)
			l.send(frame.AppendHeaders(nil, id, fieldsOf("x-trailer", "late"), true, 1), nil)
		}
		l.get(5, "/again")
		l.get(3, "/older")
		l.send(unknownFrame, nil)
		l.wantQuiet()
		l.get(9, "/")
		l.want(`HEADERS 9 [` + helloHead + `, content-length: 7] END 7 "hello /"`)
	})
}

var unknownFrame = (&frame.Frame{Type: 0x77, Stream: 5}).Append(nil)

func TestOversizedPayload(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, l := serve(t, func(_ http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err == nil {
				t.Error("reading succeeds")
			}
		})
		big := []byte(strings.Repeat("x", frame.MaxPayload+1))
		l.send(frame.AppendHeaders(nil, 1, requestFields("POST", "/"), false, 0), big)
		l.want(`RST_STREAM 1 FRAME_SIZE_ERROR payload of 65537 bytes, at most 65536 are allowed`)
		l.post(2, "/")
		l.want(`WINDOW_UPDATE 2 +196608`)
		l.send(dataHead(2), big)
		l.want(`RST_STREAM 2 FRAME_SIZE_ERROR payload of 65537 bytes, at most 65536 are allowed`)
		l.send(dataHead(3), big)
		l.wantQuiet()
	})
}
