package router

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/dialmux/dialmux/frame"
)

// asked is the head of a request as its front read it.
type asked struct {
	method    string
	protocol  string // to upgrade to; "": none
	scheme    string
	authority []byte
	path      []byte // with the query
	version   version
	client    string // its address without the port
	subject   string // of its certificate (RFC 4514); "": it has none
	trusted   bool   // it is a trusted proxy
	length    int64  // of the body; -1: unknown, 0: none
	expect    bool   // 100-continue
}

// intake turns a request's head into a stream's. A front calls
//
//	in, failure := s.take(&asked)      // a failure says why it goes to no worker
//	in.connection(value)               // for each Connection field, first
//	in.field(name, value)              // for each field, in order; names in lower case
//	failure := in.end()
type intake struct {
	q        *request
	a        *asked
	trailers bool   // TE: trailers
	keyed    bool   // Sec-WebSocket-Key was there
	id       []byte // X-Request-Id

	// What a trusted proxy said, and Via's former values.
	before, proto, host, subject, forwarded, via []byte
}

// method spares the frequent ones an allocation.
func methodOf(b []byte) string {
	switch string(b) {
	case "GET":
		return "GET"
	case "HEAD":
		return "HEAD"
	case "POST":
		return "POST"
	case "PUT":
		return "PUT"
	case "PATCH":
		return "PATCH"
	case "DELETE":
		return "DELETE"
	case "OPTIONS":
		return "OPTIONS"
	}
	return string(b)
}

func (q *request) take(a *asked) (intake, *failure) {
	q.method = a.method
	switch a.method {
	case "PRI": // HTTP/2's preface (RFC 9113 section 3.4)
		return intake{}, &failure{505, "HTTP/2 is not spoken here", false}
	case "CONNECT", "TRACE":
		return intake{}, &failure{405, a.method + " is not served here", false}
	case "GET", "HEAD", "PUT", "DELETE", "OPTIONS":
		q.repeatable = true // RFC 9110 section 9.2.2
	}
	if len(a.path) == 1 && a.path[0] == '*' && a.method != "OPTIONS" {
		return intake{}, &failure{400, "the target * is for OPTIONS", false}
	}
	q.length, q.expect, q.protocol = a.length, a.expect, a.protocol
	f := &q.fields
	f.Add(":method", a.method)
	f.Add(":scheme", a.scheme)
	f.AddBytes([]byte(":authority"), a.authority)
	f.AddBytes([]byte(":path"), a.path)
	if a.protocol != "" {
		f.Add(":protocol", a.protocol)
	}
	if a.length > 0 {
		var digits [20]byte
		f.AddBytes([]byte("content-length"), strconv.AppendInt(digits[:0], a.length, 10))
	}
	if a.expect {
		f.Add("expect", "100-continue") // both ends must agree on it: it is ours to say
	}
	return intake{q: q, a: a}, nil
}

func (in *intake) connection(value []byte) { in.q.named.add(value) }

func (in *intake) field(name, value []byte) {
	switch string(name) {
	case "host", "content-length", "expect":
		return
	case "te": // RFC 9110 section 10.1.4
		in.trailers = in.trailers || hasToken(value, "trailers")
		return
	case "via":
		in.via = joined(in.via, value)
		return
	case "trailer":
		in.announced(value)
		return
	}
	if isHopByHop(name) {
		return
	}
	if isOurs(name) {
		switch trusted := in.a.trusted; {
		case bytes.IndexByte(name, '_') >= 0:
			return
		case string(name) == "x-request-id":
			if in.id == nil && isRequestID(value) {
				in.id = value
			}
			return
		case !trusted:
			return
		}
		switch string(name) {
		case "forwarded":
			in.forwarded = joined(in.forwarded, value)
			return
		case "x-client-cert-subject":
			in.subject = first(in.subject, value)
			return
		case "x-forwarded-for":
			in.before = joined(in.before, value)
			return
		case "x-forwarded-proto":
			in.proto = first(in.proto, value)
			return
		case "x-forwarded-host":
			in.host = first(in.host, value)
			return
		}
	} else if in.q.named.has(name) {
		return
	}
	switch string(name) { // what Connection names is not for the worker, and means nothing
	case "request-timeout":
		if d, ok := frame.ParseRequestTimeout(value); ok {
			in.q.timed = true
			in.q.limit(d)
			return
		}
	case "grpc-timeout":
		if d, ok := frame.ParseGRPCTimeout(value); ok {
			in.q.grpcTimed = true
			in.q.limit(d)
			return
		}
	case "idempotency-key": // draft-ietf-httpapi-idempotency-key-header: who takes it tells a repetition by it
		in.q.repeatable = in.q.repeatable || len(bytes.Trim(value, `"`)) > 0
	case "content-type":
		rest, found := bytes.CutPrefix(value, []byte("application/grpc"))
		in.q.grpc = found && in.a.method == "POST" && (len(rest) == 0 || rest[0] == '+' || rest[0] == ';')
	case "sec-websocket-key":
		in.keyed = true
	}
	in.q.fields.AddBytes(name, value)
}

// keeps tells whether a trailer goes on (RFC 9110 sections 6.5.1 and 7.6.1).
func (q *request) keeps(name []byte) bool {
	return isToken(name) && !isForbiddenTrailer(name) && !q.named.has(name)
}

// announced passes the names of trailers on.
func (in *intake) announced(value []byte) {
	if in.a.length >= 0 { // only a chunked body has some
		return
	}
	for len(value) > 0 {
		var name []byte
		name, value, _ = bytes.Cut(value, []byte(","))
		var lower [64]byte
		if n := appendLower(lower[:0], bytes.TrimSpace(name)); in.q.keeps(n) {
			in.q.trailers = true
			in.q.fields.AddBytes([]byte("trailer"), n)
		}
	}
}

// end adds what a worker is told about the client.
func (in *intake) end() *failure {
	f, a := &in.q.fields, in.a
	if in.trailers {
		f.Add("te", "trailers")
	}
	if in.before == nil {
		f.Add("x-forwarded-for", a.client)
	} else {
		f.AddBytes([]byte("x-forwarded-for"), joined(in.before, []byte(a.client)))
	}
	if in.proto == nil {
		f.Add("x-forwarded-proto", a.scheme)
	} else {
		f.AddBytes([]byte("x-forwarded-proto"), in.proto)
	}
	if in.host == nil {
		in.host = a.authority
	}
	f.AddBytes([]byte("x-forwarded-host"), in.host)
	var scratch [256]byte
	b := scratch[:0]
	if in.forwarded != nil {
		b = append(append(b, in.forwarded...), ", "...)
	}
	f.AddBytes([]byte("forwarded"), appendForwarded(b, a))
	switch {
	case a.subject != "":
		f.Add("x-client-cert-subject", a.subject)
	case in.subject != nil:
		f.AddBytes([]byte("x-client-cert-subject"), in.subject)
	}
	if in.id != nil {
		f.AddBytes([]byte("x-request-id"), in.id)
	} else {
		f.AddBytes([]byte("x-request-id"), appendRequestID(scratch[:0]))
	}
	if a.protocol == "websocket" && a.version.major == 2 && !in.keyed { // RFC 8441 section 5.1 does without; those that speak HTTP/1.1 do not
		f.Add("sec-websocket-key", base64.StdEncoding.EncodeToString(random(16)))
	}
	if in.via == nil {
		f.Add("via", a.version.via())
	} else {
		f.AddBytes([]byte("via"), joined(in.via, []byte(a.version.via())))
	}
	if f.Size()+64+timeoutFields > frame.MaxHead {
		return &failure{431, "the request's header is larger than 64 KiB", false}
	}
	return nil
}

func first(had, value []byte) []byte {
	if had != nil {
		return had
	}
	return value
}

// joined is one list of two.
func joined(list, more []byte) []byte {
	if list == nil {
		return more[:len(more):len(more)]
	}
	return append(append(list[:len(list):len(list)], ", "...), more...)
}

func hasToken(list []byte, token string) bool {
	for len(list) > 0 {
		var element []byte
		element, list, _ = bytes.Cut(list, []byte(","))
		element, _, _ = bytes.Cut(element, []byte(";"))
		if bytes.EqualFold(bytes.TrimSpace(element), []byte(token)) {
			return true
		}
	}
	return false
}

// protocol is the first in an Upgrade field that clients may upgrade to; "":
// none is.
func (r *Router) protocol(upgrade []byte) string {
	for len(upgrade) > 0 {
		var name []byte
		name, upgrade, _ = bytes.Cut(upgrade, []byte(","))
		name = bytes.TrimSpace(name)
		for _, known := range r.cfg.Upgrades {
			if bytes.EqualFold(name, []byte(known)) {
				return known
			}
		}
	}
	return ""
}

// appendForwarded appends what Forwarded says of this hop (RFC 7239).
func appendForwarded(b []byte, a *asked) []byte {
	b = append(b, "for="...)
	if strings.IndexByte(a.client, ':') >= 0 {
		address, _, _ := strings.Cut(a.client, "%") // a zone means nothing elsewhere
		b = append(append(append(b, `"[`...), address...), `]"`...)
	} else {
		b = append(b, a.client...)
	}
	if len(a.authority) > 0 {
		b = append(b, ";host="...)
		if isToken(a.authority) {
			b = append(b, a.authority...)
		} else { // neither " nor \ is in it
			b = append(append(append(b, '"'), a.authority...), '"')
		}
	}
	return append(append(b, ";proto="...), a.scheme...)
}

// isRequestID tells whether a client's X-Request-Id is kept.
func isRequestID(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return len(b) > 0 && len(b) <= 128
}

// appendRequestID makes one: 128 random bits.
func appendRequestID(b []byte) []byte {
	var id [16]byte
	binary.LittleEndian.PutUint64(id[:], rand.Uint64())
	binary.LittleEndian.PutUint64(id[8:], rand.Uint64())
	return hex.AppendEncode(b, id[:])
}

// hostOf is an address without its port.
func hostOf(remote string) string {
	if host, _, err := net.SplitHostPort(remote); err == nil {
		return host
	}
	return remote
}

// trusts tells whether the client is a trusted proxy.
func (r *Router) trusts(remote string) bool { return within(r.cfg.TrustedProxies, remote) }

// within tells whether an address with its port is of one of the networks.
func within(networks []netip.Prefix, remote string) bool {
	if len(networks) == 0 {
		return false
	}
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	addr := ap.Addr().Unmap().WithZone("")
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(addr) })
}
