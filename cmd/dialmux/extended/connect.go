// Package extended has net/http's server take extended CONNECT (RFC 8441), by which WebSocket comes over HTTP/2. net/http
// looks into the environment when it is initialized, and offers no other way.
//
// It works by being initialized first: packages whose imports are ready are initialized in the order of their paths (Go
// specification, Program initialization), so this one imports no more than it must, and its path sorts before net/http.
package extended

import (
	"os"
	"strings"
)

const setting = "http2xconnect="

func init() {
	debug := os.Getenv("GODEBUG")
	switch {
	case strings.Contains(debug, setting): // whoever runs the program has decided
	case debug == "":
		_ = os.Setenv("GODEBUG", setting+"1") // fails for malformed names only
	default:
		_ = os.Setenv("GODEBUG", debug+","+setting+"1")
	}
}
