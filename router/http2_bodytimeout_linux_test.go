package router_test

import (
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/router"
)

// lateEnd is a body of one byte whose end comes after a while.
type lateEnd struct {
	after time.Duration
	begun bool
}

func (l *lateEnd) Read(p []byte) (int, error) {
	if l.begun {
		time.Sleep(l.after)
		return 0, io.EOF
	}
	l.begun = true
	p[0] = 'x'
	return 1, nil
}

// Bodies that end as their time is over get 200 or 408, as it happens, and harm
// nobody: net/http does not forgive a deadline that is set after the handler's
// end. Only a real clock brings the two so close together.
func TestBodiesOverHTTP2ThatEndAtTheirTimeout(t *testing.T) {
	const limit = 30 * time.Millisecond
	w := newWorld(t, router.Config{}, engine, nil)
	addr := listening(t, w, router.Port{BodyTimeout: limit})
	k := w.ready("w1", "DEALER")
	k.join(1000)
	w.wg.Go(func() {
		for {
			parts, ok := k.inbox.take(k.done)
			if !ok {
				return
			}
			f := parse(t, parts)
			switch {
			case f.Type == frame.RSTStream:
				_, _ = k.conn.Send(0, 0, frame.AppendRSTStream(nil, f.Stream, http2.ErrCodeCancel, ""))
			case f.End():
				_, _ = k.conn.Send(0, 0, frame.AppendHeaders(nil, f.Stream, fields(":status", "200"), true, 0))
			}
		}
	})
	var asking sync.WaitGroup
	for range 8 {
		client := &http.Transport{Protocols: new(http.Protocols)}
		client.Protocols.SetUnencryptedHTTP2(true)
		t.Cleanup(client.CloseIdleConnections)
		for range 50 {
			asking.Go(func() {
				for range 8 { // fewer than a connection may cancel
					jitter := time.Duration(rand.IntN(6000)-3000) * time.Microsecond
					req, err := http.NewRequest(http.MethodPost, "http://"+addr+"/", &lateEnd{after: limit + jitter})
					if err != nil {
						t.Error(err)
						return
					}
					resp, err := client.RoundTrip(req)
					if err != nil {
						t.Error(err)
						return
					}
					_ = resp.Body.Close()
					if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusRequestTimeout {
						t.Errorf("status %d", resp.StatusCode)
					}
				}
			})
		}
	}
	asking.Wait()
	k.die()
}
