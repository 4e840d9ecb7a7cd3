package router

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/dialmux/dialmux/internal/http1"
)

// redirector sends whoever asks to the same target by https. It has no memory,
// and closes each connection after one answer: the client goes elsewhere.
type redirector struct{ port int }

// Serve answers 308, which keeps method and body (RFC 9110 section 15.4.9).
func (d redirector) Serve(c *http1.Conn) {
	where, ok := d.location(c.Head())
	if !ok {
		d.Refuse(c, &http1.Error{Status: 400, Reason: "one Host field with a name or an address, and a target of that host, are right"})
		return
	}
	c.Status(308)
	c.Field([]byte("location"), where)
	c.Close()
	c.EndHead(0)
	if c.Finish() != nil {
		c.Abort()
	}
}

// Refuse answers what is no request.
func (d redirector) Refuse(c *http1.Conn, why *http1.Error) {
	f := failure{why.Status, why.Reason, false}
	body := "dialmux: " + why.Reason + "\n"
	c.Status(why.Status)
	c.Field([]byte("content-type"), []byte("text/plain; charset=utf-8"))
	c.Field([]byte("proxy-status"), []byte(f.proxyStatus()))
	c.Close()
	c.EndHead(int64(len(body)))
	if c.Write([]byte(body)) != nil || c.Finish() != nil {
		c.Abort()
	}
}

// Left has nothing to end.
func (d redirector) Left() {}

// location makes an absolute URL of Host and a path, so that no path can name
// another host. An absolute target must agree with Host.
func (d redirector) location(h *http1.Head) (where []byte, ok bool) {
	var host []byte
	for _, f := range h.Fields {
		if string(f.Name) == "host" {
			host = f.Value
		}
	}
	if !bytes.EqualFold(host, h.Authority) || len(h.Path) == 0 || h.Path[0] != '/' {
		return nil, false
	}
	name, ok := hostname(host)
	if !ok {
		return nil, false
	}
	where = append(append(where, "https://"...), name...)
	if d.port != 443 {
		where = strconv.AppendInt(append(where, ':'), int64(d.port), 10)
	}
	for _, c := range h.Path { // RFC 3986 has no others
		if c >= 0x7f || bytes.IndexByte([]byte("\"<>\\^`{|}"), c) >= 0 {
			where = fmt.Appendf(where, "%%%02X", c)
		} else {
			where = append(where, c)
		}
	}
	return where, true
}

// hostname is Host without its port: a name in letters, digits, '-', '_' and
// '.', or an IP address.
func hostname(host []byte) (name []byte, ok bool) {
	if len(host) > 0 && host[0] == '[' {
		end := bytes.IndexByte(host, ']')
		if end < 0 {
			return nil, false
		}
		a, err := netip.ParseAddr(string(host[1:end]))
		return host[:end+1], err == nil && a.Is6()
	}
	name, _, _ = bytes.Cut(host, []byte(":"))
	for _, c := range name {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return nil, false
		}
	}
	return name, len(name) > 0 && len(name) <= 255
}
