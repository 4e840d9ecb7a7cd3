package router_test

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

// pour writes parts of this size as one message that never ends, until the
// router closes, and returns how many bytes went out. The pipe holds 64 KiB.
func (k *worker) pour(size, parts int) (sent int) {
	k.t.Helper()
	const more, long = 1, 2
	head := binary.BigEndian.AppendUint64([]byte{more | long}, uint64(size))
	for range parts {
		n, err := k.nc.Conn.Write(append(head, make([]byte, size-1)...))
		sent += n
		if err != nil {
			return sent
		}
		_, _ = k.nc.Conn.Write([]byte{0})
		k.w.settle()
	}
	return sent
}

// Who has not shown that it may work here cannot have memory taken for it.
func TestAStrangerCannotSendMuch(t *testing.T) {
	for who, come := range map[string]func(w *world) *worker{
		"REP without the token":    func(w *world) *worker { return w.rep(zmtp.Options{}) },
		"native, not joined":       func(w *world) *worker { return w.native("w1") },
		"ROUTER, not joined":       func(w *world) *worker { return w.connect("ROUTER", zmtp.Options{}) },
		"native with a wrong JOIN": func(w *world) *worker { return wrong(w) },
		"native, late": func(w *world) *worker {
			k := w.native("w1")
			time.Sleep(6 * time.Second)
			return k
		},
	} {
		for how, size := range map[string]int{"one large part": 1 << 20, "parts": 60_000} {
			t.Run(who+", "+how, func(t *testing.T) {
				story(t, router.Config{Token: "secret"}, func(w *world) {
					k := come(w)
					w.settle()
					if sent := k.pour(size, 4); sent > (128+64)<<10 { // what the router may take, and what the pipe holds
						t.Errorf("%d bytes went out", sent)
					}
					k.gone()
					w.settle()
					if log := w.log.String(); !strings.Contains(log, "at most 65536") && !strings.Contains(log, "more than 131072") {
						t.Errorf("the log does not say why: %s", log)
					}
					if n := len(w.r.Workers()); n != 0 {
						t.Errorf("%d workers are listed", n)
					}
				})
			})
		}
	}
}

func wrong(w *world) *worker {
	k := w.native("w1")
	k.join(1, withToken("wrong"))
	k.refused(http2.ErrCodeInadequateSecurity, "token")
	return k
}

func TestAWorkerThatDoesNotJoinIsParked(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.native("w1") // it answers PING
		time.Sleep(5*time.Second - 1)
		w.settle()
		if st := w.r.Workers(); len(st) != 1 || st[0].State != "joining" {
			t.Errorf("/workers after less than 5 s: %+v", st)
		}
		time.Sleep(time.Nanosecond)
		k.refused(http2.ErrCodeProtocol, "no JOIN")
		if st := w.r.Workers(); len(st) != 1 || st[0].State != "refused" || !strings.Contains(st[0].Why, "no JOIN came within 5s") {
			t.Errorf("/workers after 5 s: %+v", st)
		}
		time.Sleep(time.Minute)
		k.join(1)
		w.settle()
		if st := w.r.Workers(); len(st) != 1 || st[0].State != "ready" || st[0].Why != "" {
			t.Errorf("/workers after the JOIN: %+v", st)
		}
		p := w.get("/")
		k.request().answer(200, "late")
		p.wants(200, "late")
	})
}

func TestAWorkerThatJoinsInTimeIsNotParked(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.native("w1")
		time.Sleep(5*time.Second - 1)
		k.join(1)
		time.Sleep(time.Minute)
		k.silent()
		if st := w.r.Workers(); len(st) != 1 || st[0].State != "ready" {
			t.Errorf("/workers: %+v", st)
		}
	})
}

func TestWorkersThatDoNotJoinAreLimited(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		var all []*worker
		for range 257 {
			all = append(all, w.native("w"))
			time.Sleep(time.Millisecond)
		}
		time.Sleep(6 * time.Second)
		all[0].gone()
		w.settle()
		st := w.r.Workers()
		if len(st) != 256 {
			t.Errorf("%d are kept, want 256", len(st))
		}
		all[1].join(1)
		w.settle()
		if st := w.r.Workers(); st[0].State != "ready" || st[1].State != "refused" {
			t.Errorf("/workers: %+v, %+v", st[0], st[1])
		}
	})
}
