package router_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/testpipe"
	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

// stranger dials the worker port and shows nothing yet.
func (w *world) stranger() *raw {
	w.t.Helper()
	nc, err := w.workers.Dial(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = nc.Close() })
	return &raw{w.t, nc}
}

// ended tells whether the router has closed the connection.
func (c *raw) ended() bool {
	_, closed := c.seen()
	return closed
}

// served checks that these workers, all that are there, have their turns.
func served(w *world, all ...*worker) {
	w.t.Helper()
	for range all {
		p := w.get("/")
		w.settle()
		for _, k := range all {
			if parts, ok := k.inbox.peek(); ok {
				(&call{worker: k, Frame: parse(w.t, parts)}).answer(200, "by "+k.name)
			}
		}
		p.wants(200, "by ")
	}
}

// However many are silent, a worker is in at once.
func TestW11SilentPeersMakeRoom(t *testing.T) {
	for name, most := range map[string]int{"the default": 0, "a small port": 100} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{MaxWorkers: most}, func(w *world) {
				began := time.Now()
				var silent []*raw
				for i := range 2000 {
					silent = append(silent, w.stranger())
					if i%500 == 499 {
						w.settle()
					}
				}
				k := w.join("w1", 1)
				served(w, k)
				if took := time.Since(began); took > time.Second {
					t.Errorf("the worker was in after %v", took)
				}
				open := 0
				for _, c := range silent {
					if !c.ended() {
						open++
					}
				}
				if want := map[int]int{0: 1024, 100: 25}[most]; open < want-2 || open > want {
					t.Errorf("%d silent connections are open, want %d", open, want)
				}
				if n := strings.Count(w.log.String(), "level=WARN"); n > 2 {
					t.Errorf("%d warnings", n)
				}
				time.Sleep(5 * time.Second)
				for i, c := range silent {
					if !c.ended() {
						t.Errorf("silent connection %d is open", i)
					}
				}
			})
		})
	}
}

// Those who shake hands and do not join are newcomers, too.
func TestW11PeersThatDoNotJoinMakeRoom(t *testing.T) {
	story(t, router.Config{MaxWorkers: 100}, func(w *world) {
		var idle []*worker
		for range 50 {
			idle = append(idle, w.native("idle"))
		}
		idle[0].gone()
		served(w, w.join("w1", 1))
		if n := len(w.r.Workers()); n > 26 {
			t.Errorf("%d connections are listed", n)
		}
	})
}

// The sum of what a peer may take before it has shown who it is has an end,
// however it spends it.
func TestW11TimeOfANewcomer(t *testing.T) {
	story(t, router.Config{MaxWorkers: 100}, func(w *world) {
		slow := w.stranger()
		began := time.Now()
		greeting := "\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x00NULL" + strings.Repeat("\x00", 48)
		for i := range greeting {
			time.Sleep(100 * time.Millisecond)
			if _, err := slow.nc.Write([]byte(greeting[i : i+1])); err != nil {
				break
			}
		}
		if took := time.Since(began); !slow.ended() || took > 5200*time.Millisecond {
			t.Errorf("ended: %v, after %v", slow.ended(), took)
		}
		k := w.native("w1")
		time.Sleep(5*time.Second + 1)
		w.settle()
		if st := w.r.Workers(); len(st) != 1 || st[0].State != "refused" {
			t.Errorf("who has not joined is %+v", st)
		}
		// Refused ones are kept, a quarter of the port at most.
		for range 25 {
			k := w.native("w2")
			k.join(1, func(j *frame.JoinInfo) { j.Name = "no name" })
		}
		k.gone()
	})
}

func TestConnectionsOfTheWorkerPort(t *testing.T) {
	story(t, router.Config{MaxWorkers: 2}, func(w *world) {
		first, second := w.join("w1", 1), w.join("w2", 1)
		for range 20 {
			if !w.stranger().ended() {
				t.Error("one too many is open")
			}
		}
		w.logged("there are too many", 1)
		served(w, first, second)
		first.die()
		w.settle()
		silent := w.stranger()
		served(w, second)
		third := w.join("w3", 1) // in the place of who is silent
		if !silent.ended() {
			t.Error("the silent one is still there")
		}
		served(w, second, third)
	})
}

func TestWorkersOfOneAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, workers := &street{from: "192.0.2.1:1000"}, testpipe.NewListener()
		w := newWorld(t, router.Config{MaxWorkersPerAddress: 2, Listeners: []net.Listener{wrapped{workers, s.wrap}}}, engine, nil)
		w.workers = workers
		var all []*worker
		for i, from := range []string{"192.0.2.1:1000", "192.0.2.2:1000", "[2001:db8::1]:1000"} {
			s.is(from)
			all = append(all, w.join(fmt.Sprint("first-", i), 1), w.join(fmt.Sprint("second-", i), 1))
			if !w.stranger().ended() {
				t.Errorf("a third from %s is open", from)
			}
		}
		s.is("[2001:db8::ffff]:1000") // of the same network
		if !w.stranger().ended() {
			t.Error("a third from the IPv6 network is open")
		}
		served(w, all...)
		all[4].die()
		w.settle()
		served(w, append(all[:4:4], all[5], w.join("third", 1))...)
	})
}

// flood writes a message of these parts, again and again, as fast as they are
// taken; it returns how many went out before the router closed.
func (k *worker) flood(n int, parts ...[]byte) (sent int) {
	k.t.Helper()
	var one []byte
	for i, part := range parts {
		more := byte(1)
		if i == len(parts)-1 {
			more = 0
		}
		one = append(append(one, more, byte(len(part))), part...)
	}
	const batch = 1000
	many := []byte(strings.Repeat(string(one), batch))
	for sent < n {
		if _, err := k.nc.Conn.Write(many); err != nil {
			return sent
		}
		sent += batch
	}
	return sent
}

// What is normal when all clients leave at once, and what is beyond it.
const (
	lateFrames   = 260_000
	floodOfOnes  = 4_000_000
	floodsBefore = 400_000
)

func TestW9FramesThatLeadNowhere(t *testing.T) {
	for name, tc := range map[string]struct {
		open  bool
		frame func(id uint64) []byte
	}{
		"for streams that are not open": {false, func(uint64) []byte { return frame.AppendData(nil, 7, false, 0) }},
		"of types of the future":        {false, func(uint64) []byte { return []byte{0x93, 0x7f, 0, 0} }},
		"GOAWAY":                        {false, func(uint64) []byte { return frame.AppendGoAway(nil, frame.MaxNumber, 0, "") }},
		"empty DATA":                    {true, func(id uint64) []byte { return frame.AppendData(nil, id, false, 0) }},
		"WINDOW_UPDATE":                 {true, func(id uint64) []byte { return frame.AppendWindowUpdate(nil, id, 1) }},
	} {
		t.Run(name, func(t *testing.T) {
			storyBehind(t, router.Config{}, engine, nil, func(w *world) {
				k, honest := w.join("w1", 2), w.join("w2", 1)
				var id uint64
				if tc.open {
					p := w.get("/open")
					defer p.leave()
					c := k.request()
					c.head(200)
					p.head()
					id = c.Stream
				}
				k.flood(lateFrames, tc.frame(id))
				w.settle()
				select {
				case <-k.done:
					t.Fatal("what is normal has cost the worker its connection")
				default:
				}
				if sent := k.flood(floodOfOnes, tc.frame(id)); sent == floodOfOnes { // while it is told to go, the rest is passed over
					t.Errorf("%d more frames were taken", sent)
				}
				k.refusedLast(http2.ErrCodeEnhanceYourCalm)
				k.gone()
				w.logged("it floods its connection", 1)
				served(w, honest)
			})
		})
	}
}

// To announce many routes, again and again, keeps all others from their workers.
func TestW9AnnouncementsWithoutEnd(t *testing.T) {
	storyBehind(t, router.Config{}, engine, nil, func(w *world) {
		k, honest := w.native("w1"), w.join("w2", 1)
		var paths [2][]string
		for i := range 2000 {
			paths[i%2] = append(paths[i%2], fmt.Sprintf("/%d", i))
		}
		announce := func(n int) (taken int) {
			for ; taken < n; taken++ {
				k.join(2, func(j *frame.JoinInfo) { j.Paths = paths[taken%2] })
				w.settle()
				select {
				case <-k.done:
					return taken
				default:
				}
			}
			return taken
		}
		if taken := announce(200); taken != 200 {
			t.Fatalf("%d announcements of 1,000 routes have cost the worker its connection", taken)
		}
		if taken := announce(300); taken == 300 {
			t.Error("500 announcements of 1,000 routes were taken")
		}
		k.refusedLast(http2.ErrCodeEnhanceYourCalm)
		k.gone()
		served(w, honest)
	})
}

// refusedLast expects a GOAWAY among what comes.
func (k *worker) refusedLast(code frame.Code) {
	k.t.Helper()
	for {
		if f := k.next(); f.Type == frame.GoAway {
			if f.Code != code {
				k.t.Errorf("GOAWAY says %v, want %v", f.Code, code)
			}
			return
		}
	}
}

// Before it has joined, and after it was refused, no worker may send more.
func TestW9FramesOfStrangers(t *testing.T) {
	for name, come := range map[string]func(w *world) *worker{
		"native, not joined":       func(w *world) *worker { return w.native("w1") },
		"native with a wrong JOIN": wrong,
		"REP":                      func(w *world) *worker { return w.rep(zmtp.Options{}) },
	} {
		t.Run(name, func(t *testing.T) {
			storyBehind(t, router.Config{Token: "secret"}, engine, nil, func(w *world) {
				k := come(w)
				k.flood(floodOfOnes, frame.AppendData(nil, 7, false, 0)) // while it is told to go, the rest is not looked at
				if taken := w.r.Streams().Dropped; taken > floodsBefore {
					t.Errorf("%d frames were taken", taken)
				}
				k.gone()
			})
		})
	}
}

// Credit for what was sent is no flood, however much that is.
func TestCreditIsEarned(t *testing.T) {
	storyBehind(t, router.Config{}, engine, nil, func(w *world) {
		k := w.join("w1", 2)
		const justNoFlood = 262_000
		body := strings.Repeat("x", 20<<20)
		p := w.send("POST", "/", strings.NewReader(body))
		c := k.request()
		k.flood(justNoFlood, frame.AppendData(nil, 7, false, 0))
		if got := c.body(); len(got) != len(body) {
			t.Errorf("%d bytes came", len(got))
		}
		c.answer(200, "all")
		p.wants(200, "all")
	})
}
