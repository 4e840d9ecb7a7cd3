//go:build unix

package sidecar

import (
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// pipeEnd is a connection that the app can close unheard.
type pipeEnd struct {
	net.Conn
	ended bool
}

// SyscallConn fails as of a connection that has ended; on one that has not, nothing has come.
func (p *pipeEnd) SyscallConn() (syscall.RawConn, error) {
	if p.ended {
		return nil, net.ErrClosed
	}
	return silence{}, nil
}

type silence struct{ syscall.RawConn }

func (silence) Control(f func(fd uintptr)) error {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	f(uintptr(fds[0]))
	_ = syscall.Close(fds[0])
	return syscall.Close(fds[1])
}

// What cannot go again stays away from the age at which the app has closed a connection: half of it is safe, for it may have been seen late. Of an
// app that does it within a second no age is.
func TestTheAgeAtWhichAnAppClosesIsRemembered(t *testing.T) {
	for name, tc := range map[string]struct {
		closedAt time.Duration
		swept    bool
		safe     time.Duration
	}{
		"as a rule":              {0, false, idleFor},
		"after 5 s, when taken":  {5 * time.Second, false, 2500 * time.Millisecond},
		"after 5 s, when swept":  {5 * time.Second, true, 2500 * time.Millisecond},
		"after 40 s":             {40 * time.Second, false, 20 * time.Second},
		"soon":                   {999 * time.Millisecond, false, 0},
		"too late to be of note": {3 * idleFor, true, idleFor},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s idle
				s.anew()
				put := func() *pipeEnd {
					near, far := net.Pipe()
					t.Cleanup(func() { _ = far.Close() })
					p := &pipeEnd{Conn: near}
					s.put(&conn{Conn: p})
					return p
				}
				if tc.closedAt > 0 {
					p := put()
					time.Sleep(tc.closedAt)
					if p.ended = true; tc.swept {
						s.sweep()
					}
					if s.take(true) != nil {
						t.Fatal("a connection that has ended is used")
					}
				}
				if tc.safe > 0 {
					put()
					time.Sleep(tc.safe - 1)
					if c := s.take(false); c == nil {
						t.Errorf("one that waited for less than %v is not used", tc.safe)
					} else {
						s.put(c)
					}
				} else {
					put()
				}
				time.Sleep(tc.safe)
				c := s.take(true)
				if c == nil {
					t.Fatal("what can go again is not sent over it")
				}
				s.conns = append(s.conns, c) // as old as it was
				if s.take(false) != nil {
					t.Errorf("one that waited for %v is used", tc.safe)
				}
				if s.take(true) != nil {
					t.Error("and is kept, for it to be met again")
				}
			})
		})
	}
}

// While somebody waits for long, a connection that has had its turn is not kept: not even if its next request is there already.
func TestATurnEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s idle
		s.anew()
		near, far := net.Pipe()
		defer func() { _ = far.Close() }()
		c := &conn{Conn: &pipeEnd{Conn: near}}
		kept := func() bool {
			s.put(c)
			return s.take(false) != nil
		}
		if !kept() {
			t.Error("nobody waits")
		}
		n := s.await(turn)
		time.Sleep(turn - 1)
		if !kept() {
			t.Error("who waits has not waited for long")
		}
		time.Sleep(2 * turn)
		if kept() {
			t.Error("it is kept while another one waits")
		}
		n.end()
		if !kept() {
			t.Error("it is not kept, and nobody waits any more")
		}
		n.end()
		if s.late != 0 {
			t.Errorf("%d wait", s.late)
		}
	})
}
