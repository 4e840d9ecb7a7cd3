package worker

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

// A request that the handler gives away is the router's again: not begun, or lost.
func TestGivenAway(t *testing.T) {
	refused := `RST_STREAM 1 REFUSED_STREAM ` + ErrRefused.Error()
	for name, tc := range map[string]struct {
		h    http.HandlerFunc
		want []string
	}{
		"refused":             {func(http.ResponseWriter, *http.Request) { panic(ErrRefused) }, []string{refused}},
		"refused, and why":    {func(http.ResponseWriter, *http.Request) { panic(fmt.Errorf("%w: no app", ErrRefused)) }, []string{`RST_STREAM 1 REFUSED_STREAM ` + ErrRefused.Error() + `: no app`}},
		"refused, body shut":  {func(_ http.ResponseWriter, r *http.Request) { _ = r.Body.Close(); panic(ErrRefused) }, []string{refused}},
		"refused, header set": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", "1"); panic(ErrRefused) }, []string{refused}},
		"lost":                {func(http.ResponseWriter, *http.Request) { panic(ErrLost) }, []string{`RST_STREAM 1 CONNECT_ERROR ` + ErrLost.Error()}},
		"refused, body read": {func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadFull(r.Body, make([]byte, 1))
			panic(ErrRefused)
		}, []string{`RST_STREAM 1 CONNECT_ERROR ` + ErrRefused.Error()}},
		"refused, answer written": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "x")
			panic(ErrRefused)
		}, []string{`RST_STREAM 1 CONNECT_ERROR ` + ErrRefused.Error()}},
		"refused, 103 sent": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			time.Sleep(time.Millisecond) // so that it leaves
			panic(ErrRefused)
		}, []string{`HEADERS 1 [:status: 103]`, `RST_STREAM 1 CONNECT_ERROR ` + ErrRefused.Error()}},
		"lost amid the answer": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			_, _ = io.WriteString(w, "x")
			w.(http.Flusher).Flush()
			time.Sleep(time.Millisecond)
			panic(ErrLost)
		}, []string{`HEADERS 1 [:status: 200] "x"`, `RST_STREAM 1 CONNECT_ERROR ` + ErrLost.Error()}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				_, l := serve(t, tc.h)
				l.post(1, "/", "content-length", "2")
				l.end(1, 2, "hi")
				l.want(tc.want...)
				l.get(2, "/") // the slot is free
				l.next()
			})
		})
	}
}
