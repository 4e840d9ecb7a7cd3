package router_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dialmux/dialmux/router"
)

// plain hides what a ResponseWriter can do beyond its interface, as writers of
// middleware do that have no Unwrap.
type plain struct{ w http.ResponseWriter }

func (p plain) Header() http.Header         { return p.w.Header() }
func (p plain) Write(b []byte) (int, error) { return p.w.Write(b) }
func (p plain) WriteHeader(status int)      { p.w.WriteHeader(status) }

// A handler around the router that cannot flush gets the answer late, but gets
// it whole.
func TestAHandlerBeforeTheRouterThatCannotFlush(t *testing.T) {
	for name, front := range map[string]func(http.Handler) http.Handler{
		"http.TimeoutHandler": func(next http.Handler) http.Handler { return http.TimeoutHandler(next, time.Hour, "too slow") },
		"a writer without Flush": func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { next.ServeHTTP(plain{w}, req) })
		},
	} {
		for _, proto := range []string{"HTTP/1.1", "HTTP/2"} {
			t.Run(name+" over "+proto, func(t *testing.T) {
				storyBehind(t, router.Config{}, netHTTP, front, func(w *world) {
					k := w.join("w1", 1)
					for _, trailer := range []bool{false, true} {
						p := w.send("PUT", "/", strings.NewReader("body"), over(proto))
						c := k.request()
						if got := c.body(); got != "body" {
							t.Errorf("the worker got %q", got)
						}
						c.head(200, "x-kind", "streamed")
						w.settle()
						for _, piece := range []string{"first ", "second ", strings.Repeat("z", 60_000)} {
							c.data(piece)
							w.settle()
						}
						if trailer {
							c.trailers("x-sum", "42")
						} else {
							c.end()
						}
						resp, body := p.whole()
						if want := "first second " + strings.Repeat("z", 60_000); resp.StatusCode != http.StatusOK || body != want || resp.Header.Get("X-Kind") != "streamed" {
							t.Errorf("the client got %d, %v and %d bytes, want 200 and %d", resp.StatusCode, resp.Header, len(body), len(want))
						}
						if trailer && resp.Trailer.Get("X-Sum") != "42" {
							t.Errorf("trailers %v", resp.Trailer)
						}
					}
				})
			})
		}
	}
}
