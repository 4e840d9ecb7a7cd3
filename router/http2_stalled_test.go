package router_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/router"
)

// Uploads that no worker reads hold up neither each other's connection nor what else it carries.
func TestH14StalledUploadsShareAConnectionWithOthers(t *testing.T) {
	portStory(t, router.Config{ResponseTimeout: -1}, router.Port{}, func(w *world, _ *port) {
		k := w.join("w1", 8)
		dials := 0
		tr := &http.Transport{
			Protocols: new(http.Protocols),
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				dials++
				return w.clients.Dial(ctx)
			},
		}
		tr.Protocols.SetUnencryptedHTTP2(true)
		defer tr.CloseIdleConnections()
		ctx, leave := context.WithCancel(w.t.Context())
		post := func(path string, body io.Reader) (answer <-chan string) {
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://h"+path, body)
			if err != nil {
				w.t.Fatal(err)
			}
			done := make(chan string, 1)
			w.wg.Go(func() {
				resp, err := tr.RoundTrip(req)
				if err != nil {
					done <- err.Error()
					return
				}
				b, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if err != nil {
					b = []byte(err.Error())
				}
				done <- string(b)
			})
			return done
		}
		var stalled []*call
		for range 3 {
			post("/stalled", endless{})
			w.settle()
			for {
				parts, ok := k.inbox.peek()
				if !ok {
					break
				}
				if f := parse(w.t, parts); f.Type == frame.Headers {
					stalled = append(stalled, &call{worker: k, Frame: f})
				}
			}
		}
		if len(stalled) != 3 {
			w.t.Fatalf("%d uploads are under way", len(stalled))
		}
		answer := post("/other", strings.NewReader(strings.Repeat("x", 60_000)))
		q := k.request()
		got := len(q.Payload)
		for f := q.Frame; !f.End(); got += len(f.Payload) {
			f = k.next()
		}
		q.answer(200, "whole")
		if said := <-answer; said != "whole" || got != 60_000 || dials != 1 {
			w.t.Errorf("another upload brought %d bytes and got %q, over %d connections", got, said, dials)
		}
		leave()
		for range stalled {
			if f := k.next(); f.Type != frame.RSTStream {
				w.t.Errorf("the worker got %v", f.Type)
			}
		}
		for _, c := range stalled {
			c.reset(http2.ErrCodeCancel)
		}
		w.settle()
	})
}
