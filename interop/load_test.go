package interop

import (
	"bytes"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// outcome is one request and what came of it.
type outcome struct {
	request
	answer
}

// verdict says what a client that knows its nonce makes of the answer.
// Anything but "" is a defect of the proxy, whatever the circumstances.
func (o *outcome) verdict() string {
	switch {
	case o.hung():
		return fmt.Sprintf("%s %s hung, status %d, %d bytes", o.method, o.target, o.status, len(o.body))
	case o.status != http.StatusOK:
		return ""
	case o.err == nil && !bytes.Equal(o.body, o.want) && bytes.HasPrefix(o.want, o.body):
		return fmt.Sprintf("%s %s: %d bytes of %d, and they look whole", o.method, o.target, len(o.body), len(o.want))
	case !bytes.HasPrefix(o.want, o.body):
		return fmt.Sprintf("%s %s: the answer is another's: %.100q", o.method, o.target, o.body)
	}
	return ""
}

func (o *outcome) ok() bool { return o.status == http.StatusOK && o.err == nil }

func (o *outcome) String() string {
	return fmt.Sprintf("%s %s (HTTP/1.0 %v): status %d, %d of %d bytes, %v %.120q",
		o.method, o.target, o.http10, o.status, len(o.body), len(o.want), o.err, o.body)
}

// load is clients that send one request after the other until it is stopped.
type load struct {
	t       testing.TB
	clients sync.WaitGroup
	ending  chan struct{}
	once    sync.Once
	pace    atomic.Int64

	mu    sync.Mutex
	total int
	done  map[string]int // answers by worker, those of 200 alone
	odd   []outcome      // all others
	wrong []string       // verdicts
}

// crowd is who makes the load.
type crowd struct {
	clients   int
	impatient int           // of them: they leave after three seconds
	pace      time.Duration // pause of each after each request
}

// startLoad runs clients. ask makes a request of a nonce; its want is set here
// if it is left out, to that of /nonce.
func startLoad(t testing.TB, addr string, who crowd, ask func(nonce string) request) *load {
	l := &load{t: t, ending: make(chan struct{}), done: map[string]int{}}
	l.slow(who.pace)
	for i := range who.clients {
		l.clients.Go(func() {
			c := newClient(addr)
			defer c.close()
			if i < who.impatient {
				c.patience = 3 * time.Second
			}
			l.serve(c, ask)
		})
	}
	t.Cleanup(l.stop)
	return l
}

func (l *load) serve(c *client, ask func(nonce string) request) {
	for {
		nonce := newNonce()
		q := ask(nonce)
		if q.want == nil {
			q.want = proof(nonce)
		}
		l.count(outcome{q, c.do(q)}, c.patience == patience)
		pause := time.Duration(l.pace.Load())
		if c.conn == nil {
			pause = max(pause, 5*time.Millisecond) // a router that is not there is not asked in a spin
		}
		select {
		case <-l.ending:
			return
		case <-time.After(pause):
		}
	}
}

func (l *load) count(o outcome, patient bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total++
	if o.ok() {
		l.done[o.header.Get("Dialmux-Worker")]++
	} else if patient || !o.hung() {
		l.odd = append(l.odd, o)
	}
	if v := o.verdict(); v != "" && (patient || !o.hung()) {
		l.wrong = append(l.wrong, v)
	}
}

// slow makes each client pause for d after each request.
func (l *load) slow(d time.Duration) { l.pace.Store(int64(d)) }

// answered counts good answers of one worker, or of all.
func (l *load) answered(worker string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, k := range l.done {
		if worker == "" || name == worker {
			n += k
		}
	}
	return n
}

// await waits for n more good answers.
func (l *load) await(what string, n int) {
	l.t.Helper()
	l.awaitFrom("", what, n)
}

func (l *load) awaitFrom(worker, what string, n int) {
	l.t.Helper()
	n += l.answered(worker)
	eventually(l.t, what, func() bool { return l.answered(worker) >= n })
}

// stop waits for the requests that run, and reports every wrong answer.
func (l *load) stop() {
	l.once.Do(func() {
		close(l.ending)
		l.clients.Wait()
		if n := len(l.wrong); n > 0 {
			l.t.Errorf("%d answers of %d are wrong: %q", n, l.total, l.wrong[:min(n, 5)])
		}
	})
}

// notOK describes each request that did not get its answer.
func (l *load) notOK() (list []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.odd {
		list = append(list, l.odd[i].String())
	}
	return list
}

func getNonce(nonce string) request { return get("/nonce?n=" + nonce) }
