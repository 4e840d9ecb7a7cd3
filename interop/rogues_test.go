package interop

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// TestW6ForeignStreams: a worker sends a million frames for streams that are
// another's, of small numbers and of those that are open.
func TestW6ForeignStreams(t *testing.T) {
	b := besiege(t)
	var rogue *fake
	say := func(head []byte, payload ...byte) {
		t.Helper()
		if _, err := rogue.Send(0, zmtp.Ordinary, head, payload); err != nil {
			t.Fatal(err)
		}
	}
	come := func(name string) { // it joins, and takes no requests
		rogue = joinFake(t, b.routerProcess, frame.JoinInfo{Name: name, Concurrency: 8})
		say(frame.AppendGoAway(nil, 0, 0, ""))
		eventually(t, "the rogue takes no requests", func() bool { return b.find(name, "draining") != nil })
	}
	victims := startLoad(t, b.addr, crowd{clients: 16}, func(nonce string) request {
		q := get("/long?n=" + nonce)
		q.want = longAnswer(nonce)
		return q
	})
	var fields frame.Fields
	fields.Add(":status", "200")
	fields.Add("content-type", "text/rogue")
	loot := []byte("stolen\n")
	forge := func(id uint64) (n uint64) {
		say(frame.AppendHeaders(nil, id, fields, false, 0), loot...)
		say(frame.AppendData(nil, id, false, 0), loot...)
		say(frame.AppendWindowUpdate(nil, id, 1<<20))
		say(frame.AppendHeaders(nil, id, fields, true, uint64(len(loot))), loot...)
		say(frame.AppendRSTStream(nil, id, 7, ""))
		return 5
	}
	before, forged := b.streams().Dropped, uint64(0)
	flushed := func() bool { return b.streams().Dropped >= before+forged }
	most := uint64(1_000_000)
	if testing.Short() || raceDetector {
		most = 100_000
		t.Logf("%d frames, and a million in the plain pass", most)
	}
	const each = 200_000 // more of one is a flood, and closed
	for id := uint64(1); forged < most; id++ {
		if forged%each == 0 {
			come(fmt.Sprint("rogue-", forged/each))
		}
		if forged += forge(id); id%1000 == 0 {
			eventually(t, "frames for small numbers are dropped", flushed)
		}
	}
	come("rogue")
	hit := map[uint64]bool{}
	eventually(t, "many open streams have been aimed at", func() bool {
		for _, s := range b.streams().Streams {
			if s.Stream != 0 && s.Worker == honest {
				hit[s.Stream] = true
				forged += forge(s.Stream) + forge(s.Stream+1)
			}
		}
		return len(hit) >= 200
	})
	eventually(t, "those frames are dropped", flushed)
	victims.await("the clients of the honest worker are served", 20)
	victims.stop()
	if bad := victims.notOK(); len(bad) > 0 {
		t.Errorf("%d clients were harmed: %s", len(bad), bad[0])
	}
	if b.find("rogue") == nil {
		t.Error("the rogue's connection has ended; frames for streams just closed are normal")
	}
	b.lift()
}

// TestW12SameNameTwice: both serve, and clients can tell them apart.
func TestW12SameNameTwice(t *testing.T) {
	r := startRouter(t)
	startWorker(t, "twin", nil, r.endpoint())
	r.awaitWorkers("twin")
	startWorker(t, "twin", nil, r.endpoint())
	r.awaitWorkers("twin", "twin;2")
	l := startLoad(t, r.addr, crowd{clients: 4}, getNonce)
	l.awaitFrom("twin", "the first serves", 50)
	l.awaitFrom("twin;2", "the second serves", 50)
	l.stop()
	if bad := l.notOK(); len(bad) > 0 {
		t.Errorf("%d requests failed: %s", len(bad), bad[0])
	}
}

// TestW13WrongToken: such workers are kept at the door, told why, and get
// nothing. They do not come back again and again.
func TestW13WrongToken(t *testing.T) {
	t.Parallel()
	const token = "right-token"
	for name, join := range map[string]func(t *testing.T, endpoint string) *process{
		"Go": func(t *testing.T, endpoint string) *process {
			return startWorker(t, "bad", []string{"-token", "wrong"}, endpoint)
		},
		"DEALER": func(t *testing.T, endpoint string) *process {
			return startPython(t, dealer, "bad", []string{"DIALMUX_TOKEN=wrong"}, endpoint)
		},
		"ROUTER without": func(t *testing.T, endpoint string) *process {
			return startPython(t, routed, "bad", []string{"DIALMUX_TOKEN="}, endpoint)
		},
		"REP": func(t *testing.T, endpoint string) *process {
			return startPython(t, rep, "bad", []string{"DIALMUX_TOKEN=wrong"}, endpoint)
		},
		"REP under NULL": func(t *testing.T, endpoint string) *process {
			return startPython(t, rep, "bad", []string{"DIALMUX_NULL=1"}, endpoint)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := besiege(t, "--token", token)
			door := startRelay(t, b.port)
			w := join(t, door.endpoint())
			eventually(t, "it is refused", func() bool {
				for _, s := range b.workers() {
					if s.State == "refused" && strings.Contains(s.Why, "token") {
						return true
					}
				}
				return false
			})
			// It answers two of the router's PINGs, seconds apart: it stays.
			for range 2 {
				said := door.said.Load()
				eventually(t, "it is still there", func() bool { return door.said.Load() > said })
			}
			if n := door.dialled.Load(); n != 1 {
				t.Errorf("it dialled %d times", n)
			}
			if !w.running() {
				t.Error("it has ended")
			}
			if n := strings.Count(b.log.String(), "worker refused"); n != 1 {
				t.Errorf("the router's log has %d lines about it", n)
			}
			if strings.Contains(b.log.String(), token) {
				t.Error("the router's log has the token")
			}
			b.load.await("the honest one serves", 50)
			b.load.mu.Lock()
			if len(b.load.done) != 1 {
				t.Errorf("requests went to %v", b.load.done)
			}
			b.load.mu.Unlock()
			b.lift()
		})
	}
}

// TestW14FrozenWorker: requests that it had go elsewhere once it is dead, and
// all others never notice. W15: the same of a path that carries nothing any
// more, without an end of the connection; the worker comes back by itself.
func TestW14FrozenWorker(t *testing.T) {
	t.Parallel()
	unanswered(t, func(_ *relay, w *process) { w.freeze(t) }, func(_ *relay, w *process) { w.thaw() })
}

func TestW15HalfOpenPath(t *testing.T) {
	t.Parallel()
	unanswered(t, func(path *relay, _ *process) { path.deaf.Store(true) }, func(path *relay, _ *process) { path.deaf.Store(false) })
}

func unanswered(t *testing.T, fall, rise func(*relay, *process)) {
	for name, join := range map[string]func(t *testing.T, endpoint string) *process{
		"Go":     func(t *testing.T, endpoint string) *process { return startWorker(t, "gone", nil, endpoint) },
		"DEALER": func(t *testing.T, endpoint string) *process { return startPython(t, dealer, "gone", nil, endpoint) },
		"REP":    func(t *testing.T, endpoint string) *process { return startPython(t, rep, "gone", nil, endpoint) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := besiege(t)
			path := startRelay(t, b.port)
			w := join(t, path.endpoint())
			b.awaitWorkers("gone")
			fall(path, w)
			// As many as both workers take by turns: some go to each.
			var clients sync.WaitGroup
			for range 20 {
				clients.Go(func() {
					nonce := newNonce()
					if a := once(b.addr, getNonce(nonce)); a.status != http.StatusOK || !bytes.Equal(a.body, proof(nonce)) {
						t.Errorf("got %+v", a)
					}
				})
			}
			clients.Wait()
			eventually(t, "it is off the list", func() bool { return b.find("gone") == nil })
			rise(path, w)
			b.awaitWorkers("gone")
			b.load.awaitFrom("gone", "it serves again", 10)
			b.load.await("requests go on", 50)
			b.lift()
		})
	}
}

// TestF4RouterKilled: all kinds of workers are back by themselves.
func TestF4RouterKilled(t *testing.T) {
	t.Parallel()
	r := startRouter(t)
	names := []string{"go", "py-rep", "py-dealer"}
	startWorker(t, names[0], nil, r.endpoint())
	startPython(t, rep, names[1], nil, r.endpoint())
	startPython(t, dealer, names[2], nil, r.endpoint())
	r.awaitWorkers(names...)
	before := time.Now()
	r.restart()
	r.awaitWorkers(names...)
	t.Logf("all are back %v after the kill", time.Since(before))
	for range 9 {
		nonce := newNonce()
		if a := once(r.addr, getNonce(nonce)); !bytes.Equal(a.body, proof(nonce)) {
			t.Errorf("%+v", a)
		}
	}
}
