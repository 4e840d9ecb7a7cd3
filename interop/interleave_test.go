package interop

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
)

// TestThousandBodies posts a thousand bodies at once to one worker: all have
// begun before any ends, and their rest comes in pieces, in any order.
func TestThousandBodies(t *testing.T) {
	n := 1000
	if testing.Short() {
		n = 200
		t.Log("-short: 200 bodies")
	}
	r := startRouter(t)
	startWorker(t, "go", []string{"-concurrency", "1024"}, r.endpoint())
	r.awaitWorkers("go")

	type post struct {
		*client
		body []byte
		sent int
	}
	posts := make([]*post, n)
	rnd := rand.New(rand.NewPCG(7, 7))
	left := make([]*post, 0, n)
	for i := range posts {
		p := &post{client: newClient(r.addr), body: bodyOf(newNonce(), rnd.IntN(200<<10+1))}
		defer p.close()
		if err := p.send(request{method: http.MethodPost, target: "/hash"}, len(p.body)); err != nil {
			t.Fatal(err)
		}
		posts[i] = p
		if len(p.body) > 0 {
			left = append(left, p)
		}
	}
	write := func(p *post, most int) {
		k := min(len(p.body)-p.sent, most)
		if _, err := p.conn.Write(p.body[p.sent : p.sent+k]); err != nil {
			t.Fatal(err)
		}
		p.sent += k
	}
	for _, p := range left {
		write(p, len(p.body)-len(p.body)/2)
	}
	eventually(t, "all bodies have begun", func() bool {
		return string(once(r.addr, get("/bodies")).body) == fmt.Sprint(n)
	})
	if open := r.streams().Open; open < len(left)-1 { // a body of one byte has ended
		t.Errorf("%d streams are open at once, of %d whose bodies have begun", open, len(left))
	}
	for len(left) > 0 {
		i := rnd.IntN(len(left))
		write(left[i], 1+rnd.IntN(32<<10))
		if p := left[i]; p.sent == len(p.body) {
			left[i] = left[len(left)-1]
			left = left[:len(left)-1]
		}
	}
	for i, p := range posts {
		resp, err := p.receive(http.MethodPost)
		if err != nil {
			t.Fatalf("body %d of %d bytes: %v", i, len(p.body), err)
		}
		got, err := io.ReadAll(resp.Body)
		sum := sha256.Sum256(p.body)
		if err != nil || string(got) != hex.EncodeToString(sum[:]) {
			t.Errorf("body %d of %d bytes: the worker's hash is %s (%v), want %x", i, len(p.body), got, err, sum)
		}
	}
	r.awaitIdle()
}

// TestLibzmqEchoesBodies: the same through libzmq and back, as many at a time
// as each kind of worker takes.
func TestLibzmqEchoesBodies(t *testing.T) {
	for _, kind := range []socket{rep, dealer, routed} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			r := startRouter(t)
			startPython(t, kind, "py", nil, r.endpoint())
			r.awaitWorkers("py")
			var g errgroup.Group
			for range 64 {
				g.Go(func() error {
					c := newClient(r.addr)
					defer c.close()
					for range 4 {
						b := bodyOf(newNonce(), rand.IntN(200<<10+1))
						o := outcome{request{method: http.MethodPost, target: "/echo", upload: b, want: b}, answer{}}
						o.answer = c.do(o.request)
						if !o.ok() || o.verdict() != "" {
							return fmt.Errorf("%s: %v", strings.ToLower(string(kind)), &o)
						}
					}
					return nil
				})
			}
			if err := g.Wait(); err != nil {
				t.Error(err)
			}
			r.awaitIdle()
		})
	}
}
