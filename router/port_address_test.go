package router_test

import (
	"crypto/tls"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/internal/testpipe"
	"github.com/dialmux/dialmux/router"
)

// street is where the next connection comes from.
type street struct {
	mu   sync.Mutex
	from string
}

func (s *street) is(from string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.from = from
}

func (s *street) wrap(nc *testpipe.Conn) net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return remote{nc, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s.from))}
}

// fromStreet is a story on a port whose connections come from wherever the test says.
func fromStreet(t *testing.T, cfg router.Config, p router.Port, tell func(w *world, s *street)) {
	t.Helper()
	storyBehind(t, cfg, engine, nil, func(w *world) {
		s := &street{from: "192.0.2.1:1000"}
		w.portOn(p, s.wrap)
		tell(w, s)
	})
}

func (w *world) crowdedByAddress(request string) {
	w.t.Helper()
	got := w.raw(request).all()
	wantsStatus(w.t, got, "503", "connection_limit_reached")
	if strings.Count(got, "\r\nRetry-After: ") != 1 || !strings.Contains(got, "from this address") {
		w.t.Errorf("the client got %q", got)
	}
}

func TestConnectionsOfOneAddress(t *testing.T) {
	fromStreet(t, router.Config{}, router.Port{MaxConnectionsPerAddress: 2, IdleTimeout: -1}, func(w *world, s *street) {
		k := w.join("w1", 8)
		first := w.open(k)
		second := w.raw(http2.ClientPreface)
		if err := http2.NewFramer(second.nc, nil).WriteSettings(); err != nil {
			w.t.Fatal(err)
		}
		w.settle()
		w.crowdedByAddress(ask)

		s.is("192.0.2.2:1000")
		w.open(k)
		s.is("[2001:db8:1:2::1]:1000")
		w.open(k)
		s.is("[2001:db8:1:2:ffff::2]:1000") // of the same network
		w.open(k)
		w.crowdedByAddress(ask)
		s.is("[2001:db8:1:3::1]:1000")
		w.open(k)

		// Each version makes room when it ends.
		for _, c := range []*raw{first, second} {
			s.is("192.0.2.1:2000")
			w.crowdedByAddress(ask)
			_ = c.nc.Close()
			w.settle()
			time.Sleep(notice)
			w.open(k)
			w.crowdedByAddress(ask)
		}
		if n := strings.Count(w.log.String(), "too many from its address"); n != 1 {
			w.t.Errorf("%d lines tell of it", n)
		}
	})
}

func TestConnectionsOfOneAddressOverTLS(t *testing.T) {
	server, client := certified(t)
	fromStreet(t, router.Config{}, router.Port{TLS: server, MaxConnectionsPerAddress: 2, IdleTimeout: -1}, func(w *world, _ *street) {
		conns := []*tls.Conn{w.secure(client, "http/1.1"), w.secure(client, "h2")}
		for _, c := range conns {
			if got := w.raw("").all(); got != "" {
				w.t.Errorf("got %q", got)
			}
			_ = c.Close()
			w.settle()
			time.Sleep(notice)
			w.secure(client, "http/1.1")
		}
	})
}

// Many clients come through a proxy: it has no limit itself, and those that it
// names have theirs.
func TestConnectionsOfOneAddressBehindProxies(t *testing.T) {
	cfg := router.Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("172.16.0.1/32")}}
	fromStreet(t, cfg, router.Port{ProxyProtocol: proxies, MaxConnectionsPerAddress: 1, IdleTimeout: -1}, func(w *world, s *street) {
		k := w.join("w1", 8)
		s.is("172.16.0.1:1000")
		for range 3 {
			w.open(k)
		}
		s.is("10.0.0.1:1000")
		open := func(header string) *raw {
			w.t.Helper()
			c := w.raw(header + ask)
			k.request().answer(200, "served")
			wantsRaw(w.t, c.nc, "served")
			return c
		}
		first := open("PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n")
		open("PROXY TCP4 203.0.113.8 192.0.2.1 56324 443\r\n")
		w.crowdedByAddress("PROXY TCP4 203.0.113.7 192.0.2.1 56325 443\r\n" + ask)
		for range 3 {
			open("PROXY UNKNOWN\r\n") // the proxy itself
		}
		_ = first.nc.Close()
		time.Sleep(notice)
		open("PROXY TCP4 203.0.113.7 192.0.2.1 56326 443\r\n")
		w.crowdedByAddress("PROXY TCP4 203.0.113.7 192.0.2.1 56325 443\r\n" + ask)
	})
}

// Those who never shake hands do not keep others from it: the oldest of too many goes.
func TestH11SilentTLSHandshakes(t *testing.T) {
	server, client := certified(t)
	portStory(t, router.Config{}, router.Port{TLS: server, MaxConnections: 40, HeadTimeout: -1, IdleTimeout: -1}, func(w *world, _ *port) {
		k := w.join("w1", 8)
		var silent []*raw
		for range 35 { // a quarter of 40 may be at it
			silent = append(silent, w.raw(""))
			w.settle()
		}
		for i, c := range silent {
			if _, closed := c.seen(); closed != (i < 25) {
				w.t.Errorf("silent client %d is closed: %v", i, closed)
			}
		}
		c := w.secure(client, "http/1.1")
		if _, err := c.Write([]byte(ask)); err != nil {
			w.t.Fatal(err)
		}
		k.request().answer(200, "served")
		wantsRaw(w.t, c, "served")
	})
}
