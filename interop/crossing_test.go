package interop

import (
	"net/http"
	"testing"
	"time"
)

// TestW7NoAnswerCrosses asks 10,000 times of one worker on libzmq. Meanwhile
// it is frozen beyond the heartbeat and resumed, and its router killed and
// started again: whatever it, or libzmq, still has of the time before reaches no client.
func TestW7NoAnswerCrosses(t *testing.T) {
	n := 10_000
	switch {
	case testing.Short():
		n = 2_000
		t.Log("-short: 2,000 requests")
	case raceDetector:
		n = 4_000
		t.Log("race detector: 4,000 requests, and 10,000 in the plain pass")
	}
	for _, kind := range []socket{rep, dealer, routed} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			noAnswerCrosses(t, kind, n)
		})
	}
	// One that answers old streams after it has joined again must not get through either.
	t.Run("sloppy DEALER", func(t *testing.T) {
		t.Parallel()
		noAnswerCrosses(t, dealer, n/4, "SLOPPY=1")
	})
}

func noAnswerCrosses(t *testing.T, kind socket, n int, env ...string) {
	r := startRouter(t)
	w := startPython(t, kind, "py", env, r.endpoint())
	r.awaitWorkers("py")
	ask := quick
	if kind != rep {
		ask = quickOrLate
	}
	// The impatient leave their requests to the frozen worker behind.
	l := startLoad(t, r.addr, crowd{clients: 32, impatient: 8}, ask)
	l.await("requests are answered", n/4)

	stale := uint64(0) // frames for streams that were not open
	l.slow(20 * time.Millisecond)
	w.freeze(t)
	eventually(t, "the frozen worker is off the list", func() bool { return r.find("py") == nil })
	w.thaw()
	r.awaitWorkers("py")
	l.slow(0)
	l.await("requests are answered after the thaw", n/4)

	// A worker that sleeps while its router is replaced wakes up with requests of the old one.
	for i := range 4 {
		stale += r.streams().Dropped
		if i > 0 {
			w.freeze(t)
		}
		r.restart()
		w.thaw()
		r.awaitWorkers("py")
		l.await("requests are answered after the router's restart", n/16)
	}
	stale += r.streams().Dropped
	eventually(t, "the count is full", func() bool { return l.answered("") >= n })
	l.stop()
	t.Logf("%d requests, %d answered; %d frames were for streams that were not open", l.total, l.answered(""), stale)
	if stale == 0 {
		t.Error("not one frame came too late, so this test has shown nothing")
	}
	r.awaitIdle()
}

// quick is mixed without what takes long.
func quick(nonce string) request {
	if q := mixed(nonce); q.upload != nil {
		return q
	}
	return getNonce(nonce)
}

// quickOrLate is quick but for some that are still unanswered when the worker
// has joined the next router.
func quickOrLate(nonce string) request {
	if nonce[0] == 'A' { // one of 32
		return request{method: http.MethodGet, target: "/late?n=" + nonce, want: proof(nonce)}
	}
	return quick(nonce)
}
