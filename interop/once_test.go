package interop

import (
	"fmt"
	"hash/fnv"
	"net/http"
	"strings"
	"testing"
)

// TestF2NoPOSTIsCarriedOutTwice kills one worker after the other amid POSTs.
// Each worker notes what it begins: none is begun twice, and who got 200 was
// served by the worker that noted it.
func TestF2NoPOSTIsCarriedOutTwice(t *testing.T) {
	kills := 20
	if testing.Short() || raceDetector {
		kills = 6
		t.Logf("%d kills, and 20 in the plain pass", kills)
	}
	r := startRouter(t)
	workers := []*process{startWorker(t, "survivor", nil, r.endpoint())}
	r.awaitWorkers("survivor")
	l := startLoad(t, r.addr, crowd{clients: 24}, posts)
	for i := range kills {
		name := fmt.Sprint("victim-", i)
		victim := startWorker(t, name, nil, r.endpoint())
		if i%4 == 3 {
			victim.kill()
			victim = startPython(t, dealer, name, nil, r.endpoint())
		}
		workers = append(workers, victim)
		r.awaitWorkers(name)
		l.awaitFrom(name, "the victim answers", 20)
		victim.kill()
	}
	l.await("requests go on", 50)
	l.stop()
	begun := map[string]string{} // nonce: worker
	for _, w := range workers {
		for line := range strings.Lines(w.log.String()) {
			nonce, ok := strings.CutPrefix(strings.TrimSpace(line), "POST n=")
			if !ok {
				continue
			}
			if first, twice := begun[nonce]; twice {
				t.Errorf("%s was begun by %s, and by %s", nonce, first, w.name)
			}
			begun[nonce] = w.name
		}
	}
	lost := 0
	for i := range l.odd {
		o := &l.odd[i]
		switch {
		case o.status == http.StatusBadGateway && o.err == nil, o.status == http.StatusOK && o.err != nil:
			lost++
		default:
			t.Errorf("%v", o)
		}
	}
	if answered := l.answered(""); len(begun) < answered || len(begun) > answered+lost {
		t.Errorf("%d were begun, %d answered and %d lost", len(begun), answered, lost)
	}
	if lost == 0 {
		t.Error("no request noticed the kills, so they did not come amid the load")
	}
	t.Logf("%d kills: %d POSTs, %d begun, %d answered, %d lost", kills, l.total, len(begun), l.answered(""), lost)
	r.awaitIdle()
}

// posts are POSTs with and without a body, some of which take long.
func posts(nonce string) request {
	h := fnv.New32()
	_, _ = h.Write([]byte(nonce))
	q := request{method: http.MethodPost, target: "/nonce?n=" + nonce}
	switch n := int(h.Sum32()); n % 4 {
	case 0:
		q.target = "/late?n=" + nonce
	case 1, 2:
		q.target, q.upload = "/echo?n="+nonce, bodyOf(nonce, n/16%(64<<10))
		q.want = q.upload
	}
	return q
}
