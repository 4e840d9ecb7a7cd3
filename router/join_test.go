package router_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/testpipe"
	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

func withToken(token string) func(*frame.JoinInfo) {
	return func(j *frame.JoinInfo) { j.Token = token }
}

// refused expects GOAWAY with a reason.
func (k *worker) refused(code frame.Code, why string) {
	k.t.Helper()
	f := k.next()
	if f.Type != frame.GoAway || f.Code != code || !strings.Contains(string(f.Reason), why) {
		k.t.Fatalf("got %v %v %q, want GOAWAY %v with %q", f.Type, f.Code, f.Reason, code, why)
	}
}

func TestWELCOME(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.connect("DEALER", zmtp.Options{})
		got := k.welcomed()
		if got.Protocol != 1 || got.Router == "" || got.Connection == 0 || got.Limits != (frame.Limits{Head: 65536, Payload: 65536, Concurrency: 1024}) ||
			got.Windows != (frame.Windows{Request: 65536, Response: 262144}) {
			t.Errorf("WELCOME %+v", got)
		}
		if again := w.connect("DEALER", zmtp.Options{}).welcomed(); again.Connection == got.Connection || again.Router != got.Router {
			t.Errorf("the second WELCOME %+v, the first %+v", again, got)
		}
	})
}

func TestFramesBeforeJOINAreDropped(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		a := w.join("a", 1)
		p := w.get("/")
		c := a.request()
		b := w.native("b")
		b.send(frame.AppendHeaders(nil, c.Stream, fields(":status", "200"), true, 6), []byte("forged"))
		b.send(frame.AppendRSTStream(nil, c.Stream, http2.ErrCodeInternal, ""))
		b.send(frame.AppendWindowUpdate(nil, c.Stream, 1))
		b.goAway(0)
		b.send(frame.AppendData(nil, c.Stream, false, 0), make([]byte, frame.MaxPayload))
		w.settle()
		if n := w.r.Streams().Dropped; n != 5 {
			t.Errorf("%d frames were counted as dropped, want 5", n)
		}
		b.join(1)
		w.settle()
		if st := w.r.Workers()[1]; st.State != "ready" {
			t.Errorf("/workers: %+v", st)
		}
		c.answer(200, "true")
		p.wants(200, "true")
	})
}

// What libzmq had queued for an earlier connection.
func TestAJOINForAnotherConnectionIsDropped(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.native("w1")
		right := k.connection
		k.connection++
		k.join(4)
		w.settle()
		if st := w.r.Workers()[0]; st.State != "joining" {
			t.Errorf("/workers: %+v", st)
		}
		k.connection = right
		k.join(4)
		w.settle()
		if st := w.r.Workers()[0]; st.State != "ready" {
			t.Errorf("/workers: %+v", st)
		}
	})
}

func TestAnotherJOINReplacesTheFirst(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		p := w.get("/")
		c := k.request()
		k.name = "renamed"
		k.join(2, func(j *frame.JoinInfo) { j.Service = "shop" })
		w.settle()
		st := w.r.Workers()
		if len(st) != 1 || st[0].Name != "renamed" || st[0].Concurrency != 2 || st[0].Busy != 1 || st[0].Service != "shop" {
			t.Errorf("/workers: %+v", st)
		}
		other := w.get("/2")
		k.request().answer(200, "2")
		c.answer(200, "1")
		p.wants(200, "1")
		other.wants(200, "2")
		k.join(1)
		k.join(1)
		w.settle()
		k.die()
		w.settle()
		if code, body := adminGet(t, w, "/readyz"); code != 503 {
			t.Errorf("/readyz without a worker: %d %s", code, body)
		}
	})
}

func TestTokens(t *testing.T) {
	for name, tc := range map[string]struct {
		join  func(w *world) *worker
		ready bool
	}{
		"right JOIN": {func(w *world) *worker {
			k := w.native("w")
			k.join(1, withToken("secret"))
			return k
		}, true},
		"PLAIN": {func(w *world) *worker {
			k := w.connect("DEALER", zmtp.Options{User: "w", Password: "secret"})
			k.welcomed()
			k.join(1)
			return k
		}, true},
		"no token": {func(w *world) *worker {
			k := w.native("w")
			k.join(1)
			return k
		}, false},
		"wrong JOIN": {func(w *world) *worker {
			k := w.native("w")
			k.join(1, withToken("secre"))
			return k
		}, false},
		"wrong PLAIN": {func(w *world) *worker {
			k := w.connect("DEALER", zmtp.Options{User: "w", Password: "Secret"})
			k.welcomed()
			k.join(1)
			return k
		}, false},
		"JOIN wins over PLAIN": {func(w *world) *worker {
			k := w.connect("DEALER", zmtp.Options{User: "w", Password: "secret"})
			k.welcomed()
			k.join(1, withToken("wrong"))
			return k
		}, false},
		"REP, PLAIN":       {func(w *world) *worker { return w.connect("REP", zmtp.Options{User: "w", Password: "secret"}) }, true},
		"REP, wrong PLAIN": {func(w *world) *worker { return w.connect("REP", zmtp.Options{User: "w", Password: "wrong"}) }, false},
		"REP, NULL":        {func(w *world) *worker { return w.connect("REP", zmtp.Options{}) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{Token: "secret"}, func(w *world) {
				k := tc.join(w)
				w.settle()
				st := w.r.Workers()[0]
				if (st.State == "ready") != tc.ready {
					t.Fatalf("/workers: %+v", st)
				}
				if tc.ready {
					return
				}
				if st.State != "refused" || !strings.Contains(st.Why, "token") {
					t.Errorf("/workers: %+v", st)
				}
				if st.Kind != "REP" {
					k.refused(http2.ErrCodeInadequateSecurity, "token")
				}
				w.get("/").wants(503, "no worker")
				k.silent()
				select { // it stays connected: libzmq would dial again at once
				case <-k.done:
					t.Error("the connection was closed")
				default:
				}
				if log := w.log.String(); !strings.Contains(log, "worker refused") || strings.Contains(log, "secre ") || strings.Contains(log, "wrong ") {
					t.Errorf("the log: %s", log)
				}
			})
		})
	}
}

func TestARightJOINAfterAWrongOne(t *testing.T) {
	story(t, router.Config{Token: "secret"}, func(w *world) {
		k := w.native("w1")
		k.join(1, withToken("wrong"))
		k.refused(http2.ErrCodeInadequateSecurity, "token")
		k.join(1, withToken("secret"))
		w.settle()
		p := w.get("/")
		c := k.request()
		k.join(1, withToken("wrong again")) // what it said before stays
		k.refusedAgain("token")
		c.answer(200, "yes")
		p.wants(200, "yes")
		if st := w.r.Workers()[0]; st.State == "refused" {
			t.Errorf("/workers: %+v", st)
		}
		p = w.get("/")
		k.request().answer(200, "still")
		p.wants(200, "still")
	})
}

// refusedAgain reads why a JOIN changes nothing: a WELCOME over the same connection, ahead of the answer to a PING behind that JOIN.
func (k *worker) refusedAgain(why string) {
	k.t.Helper()
	connection := k.connection
	if got := k.welcomed(); !strings.Contains(got.Refused, why) || got.Connection != connection {
		k.t.Errorf("WELCOME %+v, want one that refuses: %s", got, why)
	}
}

// A JOIN that a worker may not say leaves in force what it said before, whatever is wrong with it, and the log says what to do. Once
// its token does not allow that either, nothing is left.
func TestW13AWrongAnnouncementLeavesTheLastInForce(t *testing.T) {
	grants := []router.Grant{{Token: "t", Services: []string{"shop"}, Hosts: []string{"shop.test"}}}
	for why, edit := range map[string]func(*frame.JoinInfo){
		`the host "evil.test" is not its token's, which is for shop.test: add host=evil.test to its token's line, or do not announce it`: func(j *frame.JoinInfo) { j.Hosts = append(j.Hosts, "evil.test") },
		`the service "x" is not its token's, which is for shop: add service=x to its token's line, or do not announce it`:                func(j *frame.JoinInfo) { j.Service = "x" },
		`the name "a b"`:    func(j *frame.JoinInfo) { j.Name = "a b" },
		`the host "x:1"`:    func(j *frame.JoinInfo) { j.Hosts = []string{"x:1"} },
		`the token is miss`: func(j *frame.JoinInfo) { j.Token = "other" },
		"protocol 2":        func(j *frame.JoinInfo) { j.Protocol = 2 },
	} {
		t.Run(why, func(t *testing.T) {
			story(t, router.Config{Grants: grants}, func(w *world) {
				good := func(j *frame.JoinInfo) { j.Token, j.Service, j.Hosts = "t", "shop", []string{"shop.test"} }
				k := w.native("w1")
				k.join(4, good)
				w.settle()
				p := w.get("/running", at("shop.test"))
				c := k.request()
				k.join(4, good, edit)
				k.refusedAgain(why)
				c.answer(200, "finished")
				p.wants(200, "finished")
				p = w.get("/", at("shop.test"))
				k.request().answer(200, "still")
				p.wants(200, "still")
				if log := w.log.String(); strings.Count(log, "refused") != 1 || !strings.Contains(strings.ReplaceAll(log, `\"`, `"`), why) {
					t.Errorf("the log: %s", log)
				}
				if err := w.r.SetGrants([]router.Grant{{Token: "t", Hosts: []string{"shop.test", "evil.test"}}}); err != nil {
					t.Fatal(err)
				}
				if got := k.welcomed(); got.Refused != "" { // which asks once more
					t.Errorf("WELCOME %+v", got)
				}
				k.join(4, good, func(j *frame.JoinInfo) { j.Hosts = append(j.Hosts, "evil.test") })
				w.settle()
				p = w.get("/", at("evil.test"))
				k.request().answer(200, "now")
				p.wants(200, "now")
				if err := w.r.SetGrants([]router.Grant{{Token: "t", Hosts: []string{"other.test"}}}); err != nil {
					t.Fatal(err)
				}
				k.refused(http2.ErrCodeInadequateSecurity, `the host "shop.test" is not its token's`)
				w.get("/", at("shop.test")).wants(503, "")
			})
		})
	}
}

func TestWhatMakesAJOINWrong(t *testing.T) {
	for name, edit := range map[string]func(*frame.JoinInfo){
		"protocol 2": func(j *frame.JoinInfo) { j.Protocol = 2 },
		"a space":    func(j *frame.JoinInfo) { j.Name = "a b" },
		"CR LF":      func(j *frame.JoinInfo) { j.Name = "a\r\nx: y" },
		"too long":   func(j *frame.JoinInfo) { j.Name = strings.Repeat("a", 129) },
		"service":    func(j *frame.JoinInfo) { j.Service = "a/b" },
	} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				k := w.native("w1")
				k.join(1, edit)
				k.refused(http2.ErrCodeProtocol, "")
				if st := w.r.Workers()[0]; st.State != "refused" {
					t.Errorf("/workers: %+v", st)
				}
			})
		})
	}
}

func TestAMalformedJOINEndsTheConnection(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		for _, head := range []string{
			"\x94\x41\x00\x00\xdf\xff\xff\xff\xff", "\x94\x41\x00\x00\x81\xa4name\x07", "\x93\x41\x00\x00", "\x94\x41\x01\x00\x80", "junk",
		} {
			k := w.native("bad")
			k.send([]byte(head))
			k.gone()
		}
		k := w.native("parts")
		k.send([]byte("a"), []byte("b"), []byte("c"))
		k.gone()
	})
}

func TestW12TheSameNameTwice(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		a := w.join("twin", 1)
		b := w.native("twin")
		b.instance = "another"
		b.join(1)
		w.settle()
		seen := map[string]bool{}
		for range 4 {
			p := w.get("/")
			w.settle()
			for _, k := range []*worker{a, b} {
				if parts, ok := k.inbox.peek(); ok {
					(&call{worker: k, Frame: parse(t, parts)}).answer(200, "")
				}
			}
			seen[p.wants(200, "").Header.Get("Dialmux-Worker")] = true
		}
		if !seen["twin"] || !seen["twin;2"] || len(seen) != 2 {
			t.Errorf("served by %v", seen)
		}
		a.die() // who is left alone with the name is called by it
		w.settle()
		c := w.native("twin")
		c.instance = "third"
		c.join(1)
		w.settle()
		if names := w.r.Workers(); names[0].Name != "twin" || names[1].Name != "twin;2" {
			t.Errorf("/workers: %+v", names)
		}
	})
}

func TestW12TheSameInstanceTakesOver(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		a := w.join("w1", 4)
		p := w.get("/")
		a.request()
		b := w.join("w1", 4)
		a.gone()
		b.request().answer(200, "again")
		if got := p.wants(200, "again").Header.Get("Dialmux-Worker"); got != "w1" {
			t.Errorf("Dialmux-Worker: %s", got)
		}
		w.settle()
		if st := w.r.Workers(); len(st) != 1 || st[0].State != "ready" {
			t.Errorf("/workers: %+v", st)
		}
	})
}

// Whatever a worker says of itself, even that it is another one's connection,
// is told apart from it, and takes nothing of it.
func TestW12NoClaimIsTheRoutersKey(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		honest := w.join("", 1) // called after its address
		p := w.get("/")
		c := honest.request()
		name := w.r.Workers()[0].Name
		for i, claim := range []func(j *frame.JoinInfo){
			func(j *frame.JoinInfo) { j.Name = name },
			func(j *frame.JoinInfo) { j.Name, j.Instance = name, "" },
			func(j *frame.JoinInfo) { j.Connection = honest.connection },
			func(j *frame.JoinInfo) { j.Name, j.Connection, j.Instance = name, honest.connection, honest.instance },
		} {
			rogue := w.native("")
			rogue.instance = fmt.Sprint("rogue ", i)
			rogue.join(1, claim)
			w.settle()
			forged := &call{worker: rogue, Frame: frame.Frame{Stream: c.Stream}}
			if _, err := rogue.conn.Send(0, zmtp.Ordinary, frame.AppendHeaders(nil, forged.Stream, fields(":status", "200"), true, 0)); err != nil {
				t.Log(err) // it was closed: as well
			}
			w.settle()
			names := map[string]bool{}
			for _, st := range w.r.Workers() {
				if st.State != "joining" && names[st.Name] {
					t.Errorf("claim %d: two are called %s: %+v", i, st.Name, w.r.Workers())
				}
				names[st.Name] = true
			}
			if !p.waiting() || !names[name] {
				t.Fatalf("claim %d: the honest worker's request was answered, or it was put out: %+v", i, w.r.Workers())
			}
			rogue.die()
			w.settle()
		}
		c.answer(200, "honest")
		if got := p.wants(200, "honest").Header.Get("Dialmux-Worker"); got != name {
			t.Errorf("Dialmux-Worker: %s, want %s", got, name)
		}
	})
}

func TestWorkersWithoutAName(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		w.join("", 1)
		w.rep(zmtp.Options{})
		w.rep(zmtp.Options{User: "greeter"})
		w.rep(zmtp.Options{User: "shop/greeter"})
		k := w.connect("DEALER", zmtp.Options{User: "shop/plain"})
		k.welcomed()
		k.join(1)
		w.settle()
		var got []string
		for _, st := range w.r.Workers() {
			got = append(got, st.Service+"/"+st.Name+" "+st.Kind)
		}
		want := "/pipe-1 DEALER, /pipe-2 REP, /greeter REP, shop/greeter;2 REP, shop/plain DEALER"
		if strings.Join(got, ", ") != want {
			t.Errorf("workers %s, want %s", strings.Join(got, ", "), want)
		}
	})
}

func TestRefusedWorkersAreLimited(t *testing.T) {
	story(t, router.Config{Token: "secret"}, func(w *world) {
		var all []*worker
		for range 257 {
			k := w.native("w")
			k.join(1)
			w.settle()
			all = append(all, k)
		}
		all[0].gone()
		w.settle()
		if n := len(w.r.Workers()); n != 256 {
			t.Errorf("%d refused workers are kept, want 256", n)
		}
		if n := strings.Count(w.log.String(), "worker refused"); n != 1 {
			t.Errorf("%d lines about refused workers in one second, want 1", n)
		}
	})
}

// W8
func TestJunkOnTheWorkerPort(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.join("w1", 1)
		for range 3 {
			for _, junk := range []string{"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "\x16\x03\x01", strings.Repeat("\xff", 100), ""} {
				nc, err := w.workers.Dial(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.WriteString(nc, junk)
				if junk != "" {
					_ = nc.(*testpipe.Conn).CloseWrite()
				}
				w.settle()
			}
			p := w.get("/") // while one is silent
			k.request().answer(200, "served")
			p.wants(200, "served")
			time.Sleep(6 * time.Second)
		}
		if n := strings.Count(w.log.String(), "handshake failed"); n < 3 || n > 6 {
			t.Errorf("%d lines about 12 handshakes at 6 moments; one a second is right", n)
		}
		if !strings.Contains(w.log.String(), "likewise_since_last=2") {
			t.Error("what was left out is not counted")
		}
		if n := len(w.r.Workers()); n != 1 {
			t.Errorf("%d workers are listed", n)
		}
	})
}
