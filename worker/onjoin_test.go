package worker

import (
	"net/http"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/dialmux/dialmux/frame"
)

// OnJoin is called with the endpoint each time that a router has taken what the worker says, and not when it refuses that.
func TestOnJoin(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRouter(t)
		var told []string
		r.start(Worker{Routers: []string{"pipe"}, Handler: http.NotFoundHandler(), OnJoin: func(router string) { told = append(told, router) }})
		synctest.Wait()
		if len(told) > 0 {
			t.Errorf("told %q before WELCOME", told)
		}
		for n := range 2 {
			l := r.join()
			synctest.Wait()
			if want := slices.Repeat([]string{"pipe"}, n+1); !slices.Equal(told, want) {
				t.Errorf("told %q, want %q", told, want)
			}
			_ = l.Close()
		}
		r.refuses(func(frame.JoinInfo) string { return "no" })
		r.join()
		synctest.Wait()
		if len(told) != 2 {
			t.Errorf("told %q, of one that refuses", told)
		}
	})
}
