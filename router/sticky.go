package router

import (
	"bytes"
	"net/netip"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/ring"
)

// policy is how a route keeps requests on one worker each; nil: it does not.
type policy struct {
	frame.Sticky
	text string // which says the same
}

// newPolicy reads what has been judged already.
func newPolicy(text string) *policy {
	s, err := frame.ParseSticky(text)
	if err != nil || s.By == "" || s.By == "off" {
		return nil
	}
	return &policy{s, s.String()}
}

func (p *policy) String() string {
	if p == nil {
		return "off"
	}
	return p.text
}

// stickyKey is a request's key by a route's policy.
type stickyKey struct {
	by   *policy // nil: it has not been looked for
	hash uint64
	none bool   // it has none, and takes turns
	set  string // Set-Cookie for the one that was issued
}

// keyOf finds the key of a request.
func (k *keeper) keyOf(q *request, by *policy) stickyKey {
	key := stickyKey{by: by}
	found := false
	switch by.By {
	case "ip":
	case "header":
		key.hash, found = headerKey(&q.fields, by.Name)
	case "cookie":
		value, ok := cookieOf(&q.fields, by.Name)
		if found = ok && (!by.Issue || k.cookies.signed(by.Name, value)); found {
			key.hash = ring.Hash(value)
		} else if by.Issue {
			var value []byte
			value, key.set = k.cookies.issue(by.Name, string(firstToken(q.fields.Get("x-forwarded-proto"))) == "https")
			key.hash = ring.Hash(value)
			return key
		}
	case "query":
		key.hash, found = queryKey(q.fields.Get(":path"), by.Name)
	case "path":
		key.hash, found = ring.Hash(segments(q.fields.Get(":path"), by.Segments)), true
	}
	switch {
	case found:
	case by.By != "ip" && by.Turns:
		key.none = true
	default:
		key.hash = k.addressKey(&q.fields)
	}
	return key
}

// headerKey is the first value of a header.
func headerKey(fields *frame.Fields, name string) (hash uint64, found bool) {
	if name == "host" {
		name = ":authority"
	}
	value := fields.Get(name)
	return ring.Hash(value), len(value) > 0
}

// cookieOf is the first value of a cookie (RFC 6265 section 4.2.1), which may be in any
// of several fields (RFC 9113 section 8.2.3).
func cookieOf(fields *frame.Fields, cookie string) (value []byte, found bool) {
	for name, list := range fields.All() {
		if string(name) != "cookie" {
			continue
		}
		for len(list) > 0 {
			var pair []byte
			pair, list, _ = bytes.Cut(list, []byte(";"))
			name, value, ok := bytes.Cut(bytes.TrimSpace(pair), []byte("="))
			if ok && string(name) == cookie && len(value) > 0 {
				return value, true
			}
		}
	}
	return nil, false
}

// queryKey is the first value of a parameter, as it is once %41 is A and + is a
// space: clients may write one value in several ways.
func queryKey(target []byte, parameter string) (hash uint64, found bool) {
	_, query, _ := bytes.Cut(target, []byte("?"))
	for len(query) > 0 {
		var pair []byte
		pair, query, _ = bytes.Cut(query, []byte("&"))
		name, value, _ := bytes.Cut(pair, []byte("="))
		if len(value) > 0 && string(name) == parameter {
			var scratch [128]byte
			return ring.Hash(appendUnescaped(scratch[:0], value)), true
		}
	}
	return 0, false
}

func appendUnescaped(b, value []byte) []byte {
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '+':
			b = append(b, ' ')
		case c == '%' && i+2 < len(value) && isHex(value[i+1]) && isHex(value[i+2]):
			b = append(b, fromHex(value[i+1])<<4|fromHex(value[i+2]))
			i += 2
		default:
			b = append(b, c)
		}
	}
	return b
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func fromHex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}

// segments is a target's path without the query, up to so many segments; 0: all.
func segments(target []byte, n int) []byte {
	path, _, _ := bytes.Cut(target, []byte("?"))
	for i := 1; n > 0 && i < len(path); i++ {
		if path[i] == '/' {
			if n--; n == 0 {
				return path[:i]
			}
		}
	}
	return path
}

// addressKey is the client's address without its port: behind trusted proxies, the
// nearest to us in X-Forwarded-For that is none of them. What a client says itself of
// others counts for nothing: it would choose its worker.
func (k *keeper) addressKey(fields *frame.Fields) uint64 {
	list := fields.Get("x-forwarded-for")
	if bytes.IndexByte(list, ',') >= 0 {
		return hashAddress(k.client(list))
	}
	if len(k.proxies) > 0 { // one that is trusted may say it in Forwarded instead
		if addr, ok := parseAddress(list); ok && k.trusts(addr) {
			if list := forwardedFor(fields.Get("forwarded")); list != nil {
				return hashAddress(k.client(list))
			}
		}
	}
	if addr, _, zoned := bytes.Cut(list, []byte("%")); zoned || bytes.HasPrefix(list, []byte("::ffff:")) {
		if addr, ok := parseAddress(addr); ok {
			return hashAddress(addr)
		}
	}
	return ring.Hash(list) // an address that our own listener wrote is in its one form
}

// client is the last of a list of addresses that is not a trusted proxy, or the
// first of those behind which nothing makes sense.
func (k *keeper) client(list []byte) (addr netip.Addr) {
	for len(list) > 0 {
		i := bytes.LastIndexByte(list, ',')
		a, ok := parseAddress(bytes.TrimSpace(list[i+1:]))
		if !ok {
			break
		}
		if addr = a; !k.trusts(addr) {
			break
		}
		list = list[:max(i, 0)]
	}
	return addr
}

func (k *keeper) trusts(addr netip.Addr) bool {
	for _, p := range k.proxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// forwardedFor is the addresses in a Forwarded field (RFC 7239 section 4), in the form of
// X-Forwarded-For.
func forwardedFor(field []byte) (list []byte) {
	for element := range bytes.SplitSeq(field, []byte(",")) {
		for pair := range bytes.SplitSeq(element, []byte(";")) {
			name, value, _ := bytes.Cut(bytes.TrimSpace(pair), []byte("="))
			if bytes.EqualFold(name, []byte("for")) {
				list = joined(list, bytes.Trim(value, `"`))
			}
		}
	}
	return list
}

// parseAddress reads what proxies write: with or without a port or brackets.
func parseAddress(text []byte) (addr netip.Addr, ok bool) {
	s := string(text)
	if ap, err := netip.ParseAddrPort(s); err == nil {
		addr = ap.Addr()
	} else {
		if len(s) > 2 && s[0] == '[' && s[len(s)-1] == ']' {
			s = s[1 : len(s)-1]
		}
		if addr, err = netip.ParseAddr(s); err != nil {
			return addr, false
		}
	}
	return addr.Unmap().WithZone(""), true
}

func hashAddress(addr netip.Addr) uint64 {
	var scratch [64]byte
	return ring.Hash(addr.AppendTo(scratch[:0]))
}

func firstToken(list []byte) []byte {
	token, _, _ := bytes.Cut(list, []byte(","))
	return bytes.TrimSpace(token)
}

// keeper knows what keys of requests are made of.
type keeper struct {
	proxies []netip.Prefix // trusted
	cookies cookies
}

func newKeeper(cfg *Config) keeper {
	k := keeper{proxies: cfg.TrustedProxies}
	for _, secret := range cfg.StickySecrets {
		k.cookies.signers = append(k.cookies.signers, newSigner([]byte(secret)))
	}
	if len(k.cookies.signers) == 0 {
		k.cookies.signers = []*signer{newSigner(random(32))}
		k.cookies.passing = true
	}
	return k
}
