package worker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

type contextKey struct{}

// A request's context is what context.WithCancelCause would have made, whatever is asked of it first, before or after its end.
func TestContextIsAsAnyOther(t *testing.T) {
	base := context.WithoutCancel(context.WithValue(t.Context(), contextKey{}, "value"))
	gone := errors.New("gone")
	questions := map[string]func(ctx context.Context) string{
		"Done": func(ctx context.Context) string {
			select {
			case <-ctx.Done():
				return "done"
			default:
				one := ctx.Done()
				return fmt.Sprint(one != nil, ctx.Done() == one)
			}
		},
		"Err":      func(ctx context.Context) string { return fmt.Sprint(ctx.Err()) },
		"Cause":    func(ctx context.Context) string { return fmt.Sprint(context.Cause(ctx)) },
		"Value":    func(ctx context.Context) string { return fmt.Sprint(ctx.Value(contextKey{}), ctx.Value("other")) },
		"Deadline": func(ctx context.Context) string { return fmt.Sprint(ctx.Deadline()) },
		"child": func(ctx context.Context) string {
			child, cancel := context.WithTimeout(context.WithValue(ctx, contextKey{}, "own"), time.Hour)
			defer cancel()
			return fmt.Sprint(child.Err(), context.Cause(child), child.Value(contextKey{}))
		},
	}
	for first, ask := range questions {
		for _, cause := range []error{gone, nil} {
			actual, cancel := context.WithCancelCause(base)
			lazy := &requestContext{base: base}
			check := func(when string) {
				for name, question := range questions {
					if got, want := question(lazy), question(actual); got != want {
						t.Errorf("%s %s, asked for %s first: got %s, want %s", name, when, first, got, want)
					}
				}
			}
			ended := &requestContext{base: base}
			ended.cancel(cause)
			ended.cancel(errors.New("too late"))
			if got := ask(lazy); got != ask(actual) {
				t.Errorf("%s: got %s, want %s", first, got, ask(actual))
			}
			check("while it runs")
			cancel(cause)
			lazy.cancel(cause)
			lazy.cancel(errors.New("too late"))
			check("after the end")
			if got, want := ask(ended), ask(actual); got != want {
				t.Errorf("%s, asked after the end only: got %s, want %s", first, got, want)
			}
			lazy = ended
			check("after the end, asked only then")
		}
	}
}

// Contexts made of a request's end with it, and cost no goroutine each.
func TestContextsMadeOfARequestsEndWithIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const children = 100
		ended := make(chan error)
		heard := make(chan struct{})
		_, l := serve(t, func(_ http.ResponseWriter, r *http.Request) {
			before := runtime.NumGoroutine()
			for range children {
				child, cancel := context.WithCancel(r.WithContext(context.WithValue(r.Context(), contextKey{}, 1)).Context())
				defer cancel()
				context.AfterFunc(child, func() { ended <- context.Cause(child) })
			}
			if n := runtime.NumGoroutine() - before; n > children/2 {
				t.Errorf("%d contexts cost %d goroutines", children, n)
			}
			<-heard
		})
		l.get(1, "/")
		l.wantQuiet()
		l.cancel(1)
		for range children {
			if err := <-ended; !errors.Is(err, context.Canceled) || err.Error() == context.Canceled.Error() {
				t.Errorf("the cause is %v, want to hear of the client", err)
			}
		}
		close(heard)
		l.want(`RST_STREAM 1 CANCEL `)
	})
}

// With a deadline too it is what package context would make, whenever it is asked.
func TestContextWithADeadlineIsAsAnyOther(t *testing.T) {
	gone := errors.New("gone")
	for name, tc := range map[string]struct {
		cancelled bool // before the deadline
		first     string
	}{
		"asked before":               {first: "before"},
		"asked after":                {first: "after"},
		"cancelled, asked before":    {cancelled: true, first: "before"},
		"cancelled, asked after":     {cancelled: true, first: "after"},
		"cancelled after, never yet": {first: "end"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				at := time.Now().Add(time.Second)
				timed, stop := context.WithDeadline(context.Background(), at)
				defer stop()
				actual, cancel := context.WithCancelCause(timed)
				defer cancel(nil)
				lazy := &requestContext{base: context.Background(), until: at}
				defer lazy.cancel(nil)
				ask := func(when string) {
					if until, ok := lazy.Deadline(); !ok || !until.Equal(at) {
						t.Errorf("%s: deadline %v %v", when, until, ok)
					}
					if !errors.Is(lazy.Err(), actual.Err()) {
						t.Errorf("%s: Err is %v, want %v", when, lazy.Err(), actual.Err())
					}
					if tc.first != when && tc.first != "" {
						return
					}
					tc.first = ""
					if !errors.Is(context.Cause(lazy), context.Cause(actual)) {
						t.Errorf("%s: the cause is %v, want %v", when, context.Cause(lazy), context.Cause(actual))
					}
				}
				ask("before")
				if tc.cancelled {
					cancel(gone)
					lazy.cancel(gone)
				}
				time.Sleep(2 * time.Second)
				ask("after")
				cancel(gone)
				lazy.cancel(gone)
				ask("end")
			})
		})
	}
}

func TestARequestsDeadlineIsItsContexts(t *testing.T) {
	for name, tc := range map[string]struct {
		fields []string
		want   time.Duration // 0: none
	}{
		"none":               {nil, 0},
		"Request-Timeout":    {[]string{"request-timeout", "1.5"}, 1500 * time.Millisecond},
		"grpc-timeout":       {[]string{"grpc-timeout", "250m"}, 250 * time.Millisecond},
		"the shorter counts": {[]string{"request-timeout", "9", "grpc-timeout", "2S"}, 2 * time.Second},
		"malformed":          {[]string{"request-timeout", "soon"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				began := time.Now()
				took := make(chan time.Duration, 1)
				_, l := serve(t, func(_ http.ResponseWriter, r *http.Request) {
					if _, has := r.Context().Deadline(); has != (tc.want > 0) {
						t.Errorf("it has a deadline: %v", has)
					}
					select {
					case <-r.Context().Done():
					case <-time.After(2 * time.Hour):
					}
					if err := r.Context().Err(); errors.Is(err, context.DeadlineExceeded) != (tc.want > 0) {
						t.Errorf("the context ended with %v", err)
					}
					took <- time.Since(began)
				})
				l.get(1, "/", tc.fields...)
				synctest.Wait()
				if tc.want == 0 {
					time.Sleep(time.Hour)
					l.cancel(1)
				}
				if d := <-took; tc.want > 0 && d != tc.want {
					t.Errorf("it ended after %v", d)
				}
			})
		})
	}
}
