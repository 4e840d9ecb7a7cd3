package router

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/dialmux/dialmux/frame"
)

// answerHead is a response's head as a front is to send it.
type answerHead struct {
	status int
	fields frame.Fields // checked; neither Content-Length nor what concerns one connection
	length int64        // of the body; -1: unknown
	close  bool         // HTTP/1: the connection closes after it
}

// maxFields is how many fields a worker's head or trailers may have: 64 KiB
// hold 10,000 short ones, and no client is made for so many.
const maxFields = 1000

// checkHead judges a worker's fields before any of them is used. length is
// the content-length, -1 without one; hops: Connection is among them.
func checkHead(fields frame.Fields) (length int64, hops bool, wrong string) {
	if n := fields.Len(); n > maxFields {
		return 0, false, fmt.Sprintf("%d fields: at most %d are passed on", n, maxFields)
	}
	length = -1
	for fields.Len() > 0 {
		var name, value []byte
		name, value, fields = fields.Next()
		switch {
		case !isToken(name):
			return 0, false, fmt.Sprintf("field name %.80q: a token is right (RFC 9110 section 5.6.2)", name)
		case !isValue(value):
			return 0, false, fmt.Sprintf("field %s has a control character in its value", name)
		case len(name) == len("connection") && bytes.EqualFold(name, []byte("connection")):
			hops = true
		case len(name) == len("content-length") && bytes.EqualFold(name, []byte("content-length")):
			n, err := strconv.ParseUint(string(value), 10, 63)
			if err != nil || length >= 0 && length != int64(n) {
				return 0, false, fmt.Sprintf("content-length %.80q: one number is right", value)
			}
			length = int64(n)
		}
	}
	return length, hops, ""
}

// clean copies to dst the fields that are for the client, and returns the names
// that Connection takes out.
func clean(dst *frame.Fields, fields frame.Fields, hops, ringpop bool) (named nominated) {
	if hops {
		for name, value := range fields.All() {
			if bytes.EqualFold(name, []byte("connection")) {
				named.add(value)
			}
		}
	}
	for fields.Len() > 0 {
		var name, value []byte
		name, value, fields = fields.Next()
		var lower [64]byte
		n := appendLower(lower[:0], name)
		switch string(n) {
		case "content-length", "dialmux-worker", "dialmux-router":
			continue
		case "x-ringpop-handled-by", "x-ringpop-received-by":
			if ringpop {
				continue
			}
		}
		if isHopByHop(n) || named.has(n) {
			continue
		}
		dst.AddBytes(n, value)
	}
	return named
}

// makeHead makes x.head of a worker's. It returns what is wrong with it.
func (x *exchange) makeHead(p *part) (wrong string) {
	length, hops, wrong := checkHead(p.fields)
	if wrong != "" {
		return wrong
	}
	h := &x.head
	h.fields.Reset()
	x.named = clean(&h.fields, p.fields, hops, x.r.cfg.RingpopHeaders)
	h.status, h.length = p.status, length
	if p.status < 200 && p.status != 101 {
		return ""
	}
	switch {
	case p.status == 101:
		h.length = -1
	case p.status == 304: // whatever it says is of another answer (RFC 9110 section 15.4.5)
		h.length = -1
	case length < 0 && p.size >= 0 && x.s.request.method != "HEAD":
		h.length = p.size
	}
	h.fields.Add("via", x.version.via())
	x.signed(p.worker)
	if set := x.s.key.set; set != "" {
		h.fields.Add("set-cookie", set)
	}
	return ""
}

// signed says in x.head who handled the request, and that this router received it.
func (x *exchange) signed(worker string) {
	f, cfg := &x.head.fields, &x.r.cfg
	if !cfg.HideWorker {
		if worker != "" {
			f.Add("dialmux-worker", worker)
		}
		f.Add("dialmux-router", x.r.id)
	}
	if cfg.RingpopHeaders {
		if worker != "" {
			f.Add("x-ringpop-handled-by", worker)
		}
		f.Add("x-ringpop-received-by", x.r.id)
	}
}

// makeTrailers keeps those of t that may reach the client, in x.head.fields.
func (x *exchange) makeTrailers(t frame.Fields) {
	f := &x.head.fields
	f.Reset()
	if _, _, wrong := checkHead(t); wrong != "" {
		x.r.log.Warn("worker's trailers are left out", "worker", x.s.worker, "target", x.s.request.target(), "what", wrong)
		return
	}
	for name, value := range t.All() {
		var lower [64]byte
		if n := appendLower(lower[:0], name); !isForbiddenTrailer(n) && !x.named.has(n) {
			f.AddBytes(n, value)
		}
	}
}
