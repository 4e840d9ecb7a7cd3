package worker

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// encodeHead takes a snapshot of the header for r.status: what the handler sets later is not sent.
func (r *response) encodeHead() {
	r.declared = -1
	r.trailers = r.trailers[:0]
	for _, names := range r.header["Trailer"] {
		for name := range strings.SplitSeq(names, ",") {
			if key := http.CanonicalHeaderKey(strings.TrimSpace(name)); httpguts.ValidTrailerHeader(key) {
				r.trailers = append(r.trailers, key)
			}
		}
	}
	_, r.typed = r.header["Content-Type"]
	r.typed = r.typed || r.header.Get("Content-Encoding") != ""
	r.encodeFields(r.status)
}

// encodeFields puts a status and the header into scratch, sorted by name.
func (r *response) encodeFields(status int) {
	s := r.scratch
	s.fields.Reset()
	s.addInt(":status", int64(status))
	s.keys = s.keys[:0]
	for key := range r.header {
		s.keys = append(s.keys, key)
	}
	slices.Sort(s.keys)
	options := r.header["Connection"]
	for _, key := range s.keys {
		if strings.HasPrefix(key, http.TrailerPrefix) || slices.Contains(r.trailers, key) || names(options, key) {
			continue
		}
		for _, value := range r.header[key] {
			r.encodeField(status, key, value)
		}
	}
}

// names tells whether one of Connection's values names a field: it concerns one hop (RFC 9110 section 7.6.1).
func names(options []string, key string) bool {
	for _, option := range options {
		for name := range strings.SplitSeq(option, ",") {
			if strings.EqualFold(strings.TrimSpace(name), key) {
				return true
			}
		}
	}
	return false
}

// encodeField leaves out what is not for the handler to say. What would be malformed is logged.
func (r *response) encodeField(status int, key, value string) {
	s := r.scratch
	name := knownName(key)
	if name == "" {
		s.text = appendLower(s.text[:0], key)
		switch string(s.text) {
		case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
			return
		case "content-length":
			if !bodyAllowed(status) || r.declared >= 0 {
				return
			}
			n, err := strconv.ParseUint(value, 10, 63)
			if err != nil {
				r.complain(key, value)
				return
			}
			r.declared = int64(n)
		}
	}
	switch {
	case status == http.StatusNotModified && strings.EqualFold(key, "Content-Type"):
	case name == "" && !httpguts.ValidHeaderFieldName(key), !httpguts.ValidHeaderFieldValue(value):
		r.complain(key, value)
	case name == "":
		s.addLowered(value)
	default:
		s.fields.Add(name, value)
	}
}

func (r *response) complain(key, value string) {
	r.x.stream.session.link.log.Warn("malformed header field left out", "request", r.x.name(), "field", key, "length", len(value))
}

// completeHead adds what is known once the head leaves: p is the body's beginning, with whole all of it, and no trailers follow.
func (r *response) completeHead(p []byte, whole bool) {
	s := r.scratch
	if s == nil || !bodyAllowed(r.status) {
		return
	}
	if !r.typed && len(p) > 0 {
		s.fields.Add("content-type", http.DetectContentType(p))
	}
	if whole && r.declared < 0 && (len(p) > 0 || r.x.method != http.MethodHead) {
		s.addInt("content-length", int64(len(p)))
	}
}

// inform sends a 1xx head. A 100 opens the request's window too.
func (r *response) inform(status int) {
	if r.blocked() != nil {
		return
	}
	if status == http.StatusContinue {
		r.x.body.open()
	}
	r.encodeFields(status)
	r.err = r.transmitHead(false)
}

// trailing reports whether trailers follow the body.
func (r *response) trailing() bool {
	if len(r.header) == 0 || r.noBody() {
		return false
	}
	for key, values := range r.header {
		if len(values) > 0 && (strings.HasPrefix(key, http.TrailerPrefix) || slices.Contains(r.trailers, key)) {
			return true
		}
	}
	return false
}

func (r *response) transmitTrailers() error {
	s := r.scratch
	s.fields.Reset()
	s.keys = s.keys[:0]
	for key := range r.header {
		s.keys = append(s.keys, key)
	}
	slices.Sort(s.keys)
	for _, key := range s.keys {
		name, prefixed := strings.CutPrefix(key, http.TrailerPrefix)
		if !prefixed && !slices.Contains(r.trailers, key) {
			continue
		}
		for _, value := range r.header[key] {
			if !httpguts.ValidTrailerHeader(http.CanonicalHeaderKey(name)) || !httpguts.ValidHeaderFieldName(name) ||
				!httpguts.ValidHeaderFieldValue(value) {
				r.complain(key, value)
				continue
			}
			s.text = appendLower(s.text[:0], name)
			s.addLowered(value)
		}
	}
	return r.transmitHead(true)
}

// noBody reports that the answer has none, whatever the handler writes.
func (r *response) noBody() bool {
	return r.x.method == http.MethodHead || !bodyAllowed(r.status)
}

func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// addLowered adds a field whose name is in text.
func (s *scratch) addLowered(value string) {
	n := len(s.text)
	s.text = append(s.text, value...)
	s.fields.AddBytes(s.text[:n], s.text[n:])
}

func (s *scratch) addInt(name string, n int64) {
	s.text = append(s.text[:0], name...)
	s.text = strconv.AppendInt(s.text, n, 10)
	s.fields.AddBytes(s.text[:len(name)], s.text[len(name):])
}

func appendLower(dst []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}
