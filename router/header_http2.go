package router

import (
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/dialmux/dialmux/internal/http1"
)

// malformed judges what net/http's HTTP/2 lets through (RFC 9113 section 8.2.1
// and 8.3.1), by the same rules as HTTP/1.1's.
func malformed(req *http.Request) *failure {
	if req.ProtoMajor != 2 || req.Method == "PRI" { // the preface itself is answered elsewhere
		return nil
	}
	wrong := func(why string) *failure { return &failure{400, why, false} }
	target := req.RequestURI
	switch {
	case !isToken([]byte(req.Method)):
		return wrong("the method is malformed")
	case req.Header[":protocol"] != nil && req.Method != http.MethodConnect: // RFC 8441 section 4
		return wrong(":protocol is for CONNECT")
	case req.Header[":protocol"] == nil && req.Method == http.MethodConnect: // it has no path
	case !strings.HasPrefix(target, "/") && (target != "*" || req.Method != http.MethodOptions), !http1.IsTarget([]byte(target)):
		return wrong(":path is malformed")
	}
	switch hosts := req.Header["Host"]; {
	case !http1.IsAuthority([]byte(req.Host)):
		return wrong(":authority is malformed")
	case len(hosts) > 1, len(hosts) == 1 && !strings.EqualFold(hosts[0], req.Host):
		return wrong("host and :authority differ")
	}
	switch lengths := req.Header["Content-Length"]; {
	case len(lengths) > 1, len(lengths) == 1 && !isLength(lengths[0], req.ContentLength):
		return wrong("content-length is malformed, or not the body's")
	}
	for _, values := range req.Header {
		for _, v := range values {
			if strings.Trim(v, " \t") != v {
				return wrong("a field's value begins or ends with a space")
			}
		}
	}
	return nil
}

// isLength tells whether value is n in digits: net/http says 0 of a request that
// ends with its head, and where the value is no number.
func isLength(value string, n int64) bool {
	said, err := strconv.ParseUint(value, 10, 63)
	return err == nil && int64(said) == n
}

// holdsBack tells whether an HTTP/2 client waits for 100 before it sends the body.
// net/http takes Expect out of the header, sends 100 at the first Read, and
// tells nobody, so this looks into its body; a test fails the day that is no
// longer there.
func holdsBack(req *http.Request) bool {
	if req.ProtoMajor != 2 {
		return false
	}
	body := req.Body
	if w, ok := body.(*watchedBody); ok {
		body = w.ReadCloser
	}
	v := reflect.Indirect(reflect.ValueOf(body))
	if v.Kind() != reflect.Struct {
		return false
	}
	f := v.FieldByName("needsContinue")
	return f.Kind() == reflect.Bool && f.Bool()
}
