package sidecar

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// request is what the app is asked.
type request struct {
	*http.Request
	target     string // of the request line: a path with the query, or *
	prefix     string // taken off target
	protocol   string // to upgrade to; "": none
	chunked    bool
	strips     bool // prefixes are taken off, if not of this one
	repeatable bool // as the router sees it
	again      bool // it can be sent again here: it is repeatable and has no body, which would be gone
}

// read turns a request into one to the app. A status says why there is none.
func (a *App) read(r *http.Request) (q request, status int) {
	q = request{Request: r, target: r.RequestURI, strips: len(a.prefixes) > 0, chunked: hasBody(r) && (r.ContentLength < 0 || len(r.Trailer) > 0)}
	if q.target == "" { // a handler around this one made the request
		q.target = r.URL.RequestURI()
	}
	switch {
	case r.Method == http.MethodConnect:
		return q, http.StatusMethodNotAllowed
	case !strings.HasPrefix(q.target, "/") && (q.target != "*" || r.Method != http.MethodOptions), !isTarget(q.target):
		return q, http.StatusBadRequest // in absolute form, for one: who is asked is not the client's to say
	}
	if httpguts.HeaderValuesContainsToken(r.Header["Connection"], "upgrade") {
		q.protocol = r.Header.Get("Upgrade")
	}
	q.repeatable = isRepeatable(r)
	q.again = q.repeatable && !hasBody(r)
	a.strip(&q)
	return q, 0
}

// isRepeatable tells what the router sends again.
func isRepeatable(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	return slices.ContainsFunc(r.Header["Idempotency-Key"], func(key string) bool { return strings.Trim(key, `"`) != "" })
}

func hasBody(r *http.Request) bool {
	return r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0
}

// isTarget tells what stays one word of a request line.
func isTarget(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// strip takes the longest prefix off that ends where a segment does.
func (a *App) strip(q *request) {
	path, _, _ := strings.Cut(q.target, "?")
	for _, p := range a.prefixes {
		if len(p) > len(q.prefix) && strings.HasPrefix(path, p) && (len(path) == len(p) || path[len(p)] == '/') {
			q.prefix = p
		}
	}
	if q.target = q.target[len(q.prefix):]; q.target == "" || q.target[0] == '?' {
		q.target = "/" + q.target
	}
}

// isOneHop tells fields that are no business of the next hop (RFC 9110 section 7.6.1), and those that are written from what they mean.
func isOneHop(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade", "Te", "Trailer", "Content-Length", "Host", "Http2-Settings":
		return true
	}
	return false
}

// passes tells whether a field goes on to the app.
func (q *request) passes(name string) bool {
	switch {
	case isOneHop(name), name[0] == ':':
		return false
	case name == "X-Forwarded-Prefix":
		return !q.strips
	case name == "Expect":
		return hasBody(q.Request)
	}
	return true
}

// appendHead writes the head in HTTP/1.1.
func (q *request) appendHead(b []byte, host string) []byte {
	b = append(append(append(b, q.Method...), ' '), q.target...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	if q.Host != "" {
		host = q.Host
	}
	b = append(append(b, host...), "\r\n"...)
	for name, values := range q.Header {
		if !q.passes(name) {
			continue
		}
		for _, value := range values {
			b = appendField(b, name, value)
		}
	}
	if q.prefix != "" {
		b = appendField(b, "X-Forwarded-Prefix", q.prefix)
	}
	switch trailers := q.Header["Te"] != nil; {
	case q.protocol != "":
		b = appendField(append(b, "Connection: Upgrade\r\n"...), "Upgrade", q.protocol)
	case trailers:
		b = append(b, "TE: trailers\r\nConnection: TE\r\n"...)
	}
	switch {
	case q.chunked:
		for name := range q.Trailer {
			b = appendField(b, "Trailer", name)
		}
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case hasBody(q.Request):
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), q.ContentLength, 10), "\r\n"...)
	case q.Method == http.MethodPost, q.Method == http.MethodPut, q.Method == http.MethodPatch:
		b = append(b, "Content-Length: 0\r\n"...)
	}
	return append(b, "\r\n"...)
}

func appendField(b []byte, name, value string) []byte {
	return append(append(append(append(b, name...), ": "...), value...), "\r\n"...)
}
