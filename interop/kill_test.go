package interop

import (
	"hash/fnv"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestF1KillOneOfTwoWorkers kills a worker amid many requests of every sort.
// Those that are safe to repeat do not notice, unless their answer had begun;
// the others get 502, or an answer that breaks off visibly, and are never
// carried out twice (F2). None hangs.
func TestF1KillOneOfTwoWorkers(t *testing.T) {
	t.Run("Go", func(t *testing.T) {
		killOneOfTwo(t, func(t *testing.T, endpoint string) *process { return startWorker(t, "victim", nil, endpoint) })
	})
	t.Run("Python", func(t *testing.T) {
		killOneOfTwo(t, func(t *testing.T, endpoint string) *process {
			return startPython(t, dealer, "victim", nil, endpoint)
		})
	})
}

func killOneOfTwo(t *testing.T, startVictim func(*testing.T, string) *process) {
	r := startRouter(t)
	workers := []*process{startWorker(t, "survivor", nil, r.endpoint())}
	r.awaitWorkers("survivor")
	l := startLoad(t, r.addr, crowd{clients: 24, pace: time.Millisecond}, mixed)
	for range 3 {
		victim := startVictim(t, r.endpoint())
		workers = append(workers, victim)
		r.awaitWorkers("victim")
		l.awaitFrom("victim", "the victim answers", 100)
		eventually(t, "the victim has several requests", func() bool {
			n := 0
			for _, s := range r.streams().Streams {
				if s.Worker == "victim" {
					n++
				}
			}
			return n >= 5
		})
		victim.kill()
		l.awaitFrom("survivor", "the survivor answers", 200)
		eventually(t, "the victim is off the list", func() bool { return r.find("victim") == nil })
	}
	l.stop()
	broken, refused := 0, 0
	for _, o := range l.odd {
		switch {
		case o.err != nil && o.status != 0: // its answer had begun, and no clean end was feigned
			broken++
		case o.status == http.StatusBadGateway && !o.idempotent():
			refused++
		default:
			t.Errorf("%v", &o)
		}
	}
	t.Logf("%d requests: %d answered, %d broke off, %d got 502", l.total, l.answered(""), broken, refused)
	if broken+refused == 0 {
		t.Error("no request noticed three kills, so they did not come amid the load")
	}
	begun := map[string]bool{}
	for _, w := range workers {
		for line := range strings.Lines(w.log.String()) {
			if !strings.HasPrefix(line, "POST ") {
				continue
			}
			if begun[line] {
				t.Errorf("two workers were given %s", line)
			}
			begun[line] = true
		}
	}
	if len(begun) == 0 {
		t.Error("no worker has seen a POST")
	}
	r.awaitIdle()
}

// mixed is a GET, a PUT or a POST with a body, or one whose answer takes long
// to begin or to end.
func mixed(nonce string) request {
	h := fnv.New32()
	_, _ = h.Write([]byte(nonce))
	n := int(h.Sum32())
	size := n / 16 % (64<<10 + 1)
	switch n % 10 {
	case 0, 1:
		b := bodyOf(nonce, size)
		return request{method: http.MethodPut, target: "/echo?n=" + nonce, upload: b, want: b}
	case 2, 3:
		b := bodyOf(nonce, size)
		return request{method: http.MethodPost, target: "/echo?n=" + nonce, upload: b, want: b}
	case 4, 5:
		q := get("/long?n=" + nonce)
		q.http10, q.want = n%2 == 1, longAnswer(nonce)
		return q
	case 6:
		return get("/late?n=" + nonce)
	case 7:
		return request{method: http.MethodPost, target: "/late?n=" + nonce}
	}
	return getNonce(nonce)
}
