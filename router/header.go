package router

import (
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/http1"
)

// This file turns net/http's requests and headers into fields, and back.

// read turns a request into q. A failure says why it goes to no worker.
func (r *Router) read(q *request, req *http.Request, p *Port) *failure {
	if f := malformed(req); f != nil {
		return f
	}
	a := asked{
		method: req.Method, scheme: "http", authority: []byte(req.Host), path: []byte(pathOf(req)),
		version: version{req.ProtoMajor, req.ProtoMinor}, client: hostOf(req.RemoteAddr), trusted: r.trusts(req.RemoteAddr),
		length: req.ContentLength,
	}
	if req.TLS != nil {
		a.scheme, a.subject = "https", subjectOf(req.TLS)
	}
	q.method = a.method // for the log, whatever is wrong
	switch {
	case req.Body == nil, req.Body == http.NoBody:
		a.length = 0
	case a.length == 0 && req.ProtoMajor == 2 && req.Header["Content-Length"] != nil: // the end may be still to come, and bring bytes
		a.length = -1
	}
	for _, value := range req.Header["Expect"] {
		if f := expects([]byte(value)); f != nil {
			return f
		}
		a.expect = a.length != 0
	}
	a.expect = a.expect || a.length != 0 && holdsBack(req)
	if len(a.authority) > 0 && !http1.IsAuthority(a.authority) { // net/http takes quotes in an absolute target's
		return &failure{400, "the request's host is malformed", false}
	}
	if a.path[0] != '/' && string(a.path) != "*" || !http1.IsTarget(a.path) { // net/http takes mailto:x, and a fragment
		return &failure{400, "the request's target is malformed", false}
	}
	if p.MaxTarget > 0 && len(a.path) > p.MaxTarget {
		return &failure{414, fmt.Sprintf("the target is longer than %d bytes", p.MaxTarget), false}
	}
	if p.MaxHeader > 0 && headSize(req) > p.MaxHeader {
		return &failure{431, fmt.Sprintf("the request's header is larger than %d bytes", p.MaxHeader), false}
	}
	if f := r.upgrade(&a, req); f != nil {
		return f
	}
	in, f := q.take(&a)
	if f != nil {
		return f
	}
	if p.MaxBody > 0 && a.length > p.MaxBody {
		return errBodySize
	}
	for _, value := range req.Header["Connection"] {
		in.connection([]byte(value))
	}
	var lower [64]byte
	for name, values := range req.Header {
		if name[0] == ':' { // net/http keeps :protocol there
			continue
		}
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

// upgrade makes one thing of HTTP/1.1's Upgrade and HTTP/2's extended CONNECT
// (RFC 8441).
func (r *Router) upgrade(a *asked, req *http.Request) *failure {
	switch {
	case req.ProtoMajor == 2 && req.Method == http.MethodConnect && req.Header[":protocol"] != nil:
		wanted := req.Header[":protocol"][0]
		if a.protocol = r.protocol([]byte(wanted)); !strings.EqualFold(a.protocol, wanted) { // Upgrade has a list
			return &failure{501, fmt.Sprintf("protocol %.40q is not carried here", wanted), false}
		}
		a.method, a.length, a.expect = http.MethodGet, 0, false
	case req.ProtoMajor == 1 && req.ProtoMinor == 1 && req.Method == http.MethodGet && a.length == 0 && slices.ContainsFunc(req.Header["Connection"], func(v string) bool { return hasToken([]byte(v), "upgrade") }):
		for _, value := range req.Header["Upgrade"] {
			if a.protocol == "" {
				a.protocol = r.protocol([]byte(value))
			}
		}
	}
	return nil
}

// headSize is how many bytes the head would have in HTTP/1.1. net/http itself
// ends an HTTP/2 connection for one long value, and does not answer.
func headSize(req *http.Request) int {
	n := len(req.Method) + len(req.RequestURI) + len(req.Host) + len("  HTTP/1.1\r\nHost: \r\n\r\n")
	for name, values := range req.Header {
		for _, value := range values {
			n += len(name) + len(": \r\n") + len(value)
		}
	}
	return n
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
		"Content-Type", "Content-Encoding", "Date", "Server", "Cache-Control", "Etag", "Last-Modified", "Location", "Via", "Dialmux-Worker", "Dialmux-Router",
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
