package worker

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/dialmux/dialmux/frame"
)

var errBodyClosed = http.ErrBodyReadAfterClose

// wish is what a request's head asks for that http.Request does not show.
type wish struct {
	unread  bool // its path cannot be read
	expects bool // 100-continue: the body comes when its window opens
	timed   bool // it wants to be answered within timeout
	timeout time.Duration
}

// limit takes one of the fields that say so; the shorter one counts.
func (w *wish) limit(d time.Duration, ok bool) {
	if ok && (!w.timed || d < w.timeout) {
		w.timed, w.timeout = true, d
	}
}

// fewFields is how many fields a request has room for in its exchange.
const fewFields = 8

// readRequest reads the fields that open a stream. What is malformed is an error.
func (x *exchange) readRequest(fields frame.Fields) (w wish, err error) {
	x.request = *new(http.Request).WithContext(&x.context)
	r := &x.request
	r.Proto, r.ProtoMajor, r.ContentLength = "HTTP/2.0", 2, -1
	var text text
	text.Grow(fields.Size())
	fields, protocol, err := readPseudo(r, fields, &text)
	if err != nil {
		return w, err
	}
	if r.URL, err = parsePath(&x.url, r.RequestURI); err != nil { // such as a malformed escape: the client's fault
		w.unread, r.URL = true, &x.url
	}
	values := x.values[:0] // of all fields: most have one value
	if fields.Len() > len(x.values) {
		values = make([]string, 0, fields.Len())
	}
	err = readFields(r, &w, fields, values, &text)
	if protocol != "" {
		x.upgrade = true
		showUpgrade(r, protocol)
	}
	return w, err
}

// showUpgrade gives r the form that it had in HTTP/1.1, which handlers of upgrades look for.
func showUpgrade(r *http.Request, protocol string) {
	r.Proto, r.ProtoMajor, r.ProtoMinor, r.ContentLength = "HTTP/1.1", 1, 1, -1
	r.Header["Connection"], r.Header["Upgrade"] = []string{"Upgrade"}, []string{protocol}
	r.Header.Del("Content-Length")
}

// readPseudo reads ":method" and its like, which come first, and returns the fields after them.
func readPseudo(r *http.Request, fields frame.Fields, text *text) (rest frame.Fields, protocol string, err error) {
	var scheme bool
	for fields.Len() > 0 {
		name, value, rest := fields.Next()
		if len(name) == 0 || name[0] != ':' {
			break
		}
		fields = rest
		twice := false
		switch string(name) {
		case ":method":
			twice = r.Method != ""
			r.Method = text.putMethod(value)
		case ":scheme":
			twice = scheme
			scheme = len(value) > 0
		case ":authority":
			twice = r.Host != ""
			r.Host = text.put(value)
		case ":path":
			twice = r.RequestURI != ""
			r.RequestURI = text.put(value)
		case ":protocol":
			twice = protocol != ""
			protocol = text.put(value)
		default:
			return fields, "", fmt.Errorf("unknown %.40q", name)
		}
		if twice {
			return fields, "", fmt.Errorf("%s stands there twice", name)
		}
	}
	switch path := r.RequestURI; {
	case !httpguts.ValidHeaderFieldName(r.Method):
		return fields, "", fmt.Errorf("malformed :method %.40q", r.Method)
	case !httpguts.ValidHostHeader(r.Host):
		return fields, "", fmt.Errorf("malformed :authority %.40q", r.Host)
	case !strings.HasPrefix(path, "/") && (path != "*" || r.Method != http.MethodOptions):
		return fields, "", fmt.Errorf("malformed :path %.40q", path)
	case protocol != "" && (r.Method != http.MethodGet || !httpguts.ValidHeaderFieldValue(protocol)):
		return fields, "", fmt.Errorf("malformed :protocol %.40q, or :method %.40q instead of GET", protocol, r.Method)
	}
	return fields, protocol, nil
}

// parsePath is url.ParseRequestURI; what has nothing to unescape, as most paths, is put into u.
func parsePath(u *url.URL, s string) (*url.URL, error) {
	path, query, found := strings.Cut(s, "?")
	for i := range len(path) {
		c := path[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '/' || c > '9') && c != '-' && c != '.' && c != '_' && c != '~' {
			return url.ParseRequestURI(s)
		}
	}
	for i := range len(query) {
		if c := query[i]; c <= ' ' || c >= 0x7f {
			return url.ParseRequestURI(s)
		}
	}
	u.Path, u.RawQuery, u.ForceQuery = path, query, found && query == ""
	return u, nil
}

// readFields reads the header into r, whose values use the capacity of values, and w.
func readFields(r *http.Request, w *wish, fields frame.Fields, values []string, text *text) error {
	r.Header = make(http.Header, fields.Len())
	var forwarded string
	for fields.Len() > 0 {
		var name, raw []byte
		name, raw, fields = fields.Next()
		key, ok := text.putName(name)
		value := text.put(raw)
		if !ok || !httpguts.ValidHeaderFieldValue(value) {
			return fmt.Errorf("malformed field %.40q", name)
		}
		switch key {
		case "Host":
			if r.Host == "" && httpguts.ValidHostHeader(value) {
				r.Host = value
			}
			continue
		case "Expect":
			if w.expects || !strings.EqualFold(value, "100-continue") {
				continue
			}
			w.expects = true // and a handler that asks somebody else may pass it on
		case "Trailer":
			announceTrailers(r, value)
			continue
		case "Content-Length":
			n, err := strconv.ParseUint(value, 10, 63)
			if err != nil || r.ContentLength >= 0 {
				return errors.New("content-length is no number, or stands there twice")
			}
			r.ContentLength = int64(n)
		case "X-Forwarded-For":
			forwarded = value
		case "Request-Timeout":
			w.limit(frame.ParseRequestTimeout(raw))
		case "Grpc-Timeout":
			w.limit(frame.ParseGRPCTimeout(raw))
		}
		if had := r.Header[key]; had != nil {
			r.Header[key] = append(had, value)
			continue
		}
		values = append(values, value)
		r.Header[key] = values[len(values)-1 : len(values) : len(values)]
	}
	r.RemoteAddr = remoteAddr(forwarded, text)
	return nil
}

// remoteAddr is the address that the router saw: the last one in the last X-Forwarded-For.
func remoteAddr(forwarded string, text *text) string {
	if forwarded == "" {
		return ""
	}
	host := strings.Trim(strings.TrimSpace(forwarded[strings.LastIndexByte(forwarded, ',')+1:]), "[]")
	from := text.Len()
	if strings.IndexByte(host, ':') >= 0 || strings.IndexByte(host, '%') >= 0 {
		text.WriteString("[")
		text.WriteString(host)
		text.WriteString("]:0")
	} else {
		text.WriteString(host)
		text.WriteString(":0")
	}
	return text.String()[from:]
}

// setBody gives r its body, if it has one. That of an upgrade is for who hijacks it.
func setBody(r *http.Request, b *body, upgrade bool) {
	if upgrade {
		r.Body, r.ContentLength = http.NoBody, 0
		return
	}
	if b.ended {
		r.ContentLength = int64(b.received)
		if b.received == 0 {
			r.Body = http.NoBody
			return
		}
	}
	r.Body = b
	if r.Trailer == nil {
		r.Trailer = http.Header{} // filled in at the end, where copies of r see it too
	}
	b.trailer = r.Trailer
}

func announceTrailers(r *http.Request, names string) {
	for name := range strings.SplitSeq(names, ",") {
		key := http.CanonicalHeaderKey(strings.TrimSpace(name))
		if !httpguts.ValidTrailerHeader(key) {
			continue
		}
		if r.Trailer == nil {
			r.Trailer = http.Header{}
		}
		r.Trailer[key] = nil
	}
}

func readTrailers(h http.Header, fields frame.Fields) {
	var text text
	text.Grow(fields.Size())
	for name, raw := range fields.All() {
		key, ok := text.putName(name)
		value := text.put(raw)
		if ok && httpguts.ValidHeaderFieldValue(value) && httpguts.ValidTrailerHeader(key) {
			h[key] = append(h[key], value)
		}
	}
}

// text is one string that many are cut from.
type text struct{ strings.Builder }

func (t *text) put(p []byte) string {
	from := t.Len()
	t.Write(p)
	return t.String()[from:]
}

// putMethod is put, for what is one of few words as a rule.
func (t *text) putMethod(p []byte) string {
	switch string(p) {
	case http.MethodGet:
		return http.MethodGet
	case http.MethodHead:
		return http.MethodHead
	case http.MethodPost:
		return http.MethodPost
	case http.MethodPut:
		return http.MethodPut
	case http.MethodPatch:
		return http.MethodPatch
	case http.MethodDelete:
		return http.MethodDelete
	case http.MethodOptions:
		return http.MethodOptions
	}
	return t.put(p)
}

// putName gives a field's name the form of http.Header's keys. It reports false for what is no lower-case name.
func (t *text) putName(name []byte) (key string, ok bool) {
	if key = knownKey(name); key != "" {
		return key, true
	}
	from := t.Len()
	begins := true
	for _, c := range name {
		if c >= 'A' && c <= 'Z' {
			return "", false
		}
		if begins && c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		begins = c == '-'
		t.WriteByte(c)
	}
	key = t.String()[from:]
	return key, httpguts.ValidHeaderFieldName(key)
}
