package router

import (
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"github.com/dialmux/dialmux/frame"
)

// This file turns net/http's requests and headers into fields, and back.

// read turns a request into q. A failure says why it goes to no worker.
func (r *Router) read(q *request, req *http.Request) *failure {
	a := asked{
		method: req.Method, scheme: "http", authority: []byte(req.Host), path: []byte(pathOf(req)),
		version: version{req.ProtoMajor, req.ProtoMinor}, client: hostOf(req.RemoteAddr), trusted: r.trusts(req.RemoteAddr),
		length: req.ContentLength,
	}
	if req.TLS != nil {
		a.scheme = "https"
	}
	if req.Body == nil || req.Body == http.NoBody {
		a.length = 0
	}
	for _, value := range req.Header["Expect"] {
		if f := expects([]byte(value)); f != nil {
			return f
		}
		a.expect = a.length != 0
	}
	in, f := q.take(&a)
	if f != nil {
		return f
	}
	for _, value := range req.Header["Connection"] {
		in.connection([]byte(value))
	}
	var lower [64]byte
	for name, values := range req.Header {
		n := appendLower(lower[:0], name)
		for _, value := range values {
			in.field(n, []byte(value))
		}
	}
	for name := range req.Trailer {
		in.announced([]byte(name))
	}
	return in.end()
}

// pathOf is the target as the client wrote it, unless a handler around this one
// has changed it.
func pathOf(req *http.Request) string {
	path, query, _ := strings.Cut(req.RequestURI, "?")
	if strings.HasPrefix(path, "/") && query == req.URL.RawQuery {
		if path == req.URL.Path {
			return req.RequestURI
		}
		if plain, err := url.PathUnescape(path); err == nil && plain == req.URL.Path {
			return req.RequestURI
		}
	}
	return req.URL.RequestURI()
}

// setFields adds fields to h. Their values share one array.
func setFields(h http.Header, fields frame.Fields) {
	values := make([]string, 0, fields.Len())
	for name, value := range fields.All() {
		key := canonical(name)
		if old := h[key]; old != nil {
			h[key] = append(old, string(value))
			continue
		}
		n := len(values)
		values = append(values, string(value))
		h[key] = values[n : n+1 : n+1]
	}
}

// canonicals spares the most frequent names an allocation.
var canonicals = func() map[string]string {
	m := map[string]string{}
	for _, name := range []string{
		"Content-Type", "Content-Encoding", "Date", "Server", "Cache-Control", "Etag", "Last-Modified", "Location", "Via", "Dialmux-Worker",
		"Set-Cookie", "Vary", "Expires", "Accept-Ranges", "Access-Control-Allow-Origin", "X-Content-Type-Options", "Grpc-Status", "Grpc-Message",
	} {
		m[strings.ToLower(name)] = name
	}
	return m
}()

func canonical(name []byte) string {
	if c, ok := canonicals[string(name)]; ok {
		return c
	}
	return textproto.CanonicalMIMEHeaderKey(string(name))
}
