package router_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/router"
)

// These are on TCP itself, where the kernel says whether a client is there.
// How soon it is noticed is measured in memory.

// listening serves clients on loopback, until the test ends.
func listening(t *testing.T, w *world, p router.Port) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := w.r.Clients(p)
	var serving sync.WaitGroup
	serving.Go(func() { _ = c.Serve(l) })
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
		now, cancel := context.WithCancel(context.Background())
		cancel()
		c.Shutdown(now, 0)
	})
	return l.Addr().String()
}

// abrupt resets its connection instead of closing it.
type abrupt struct{ net.Conn }

func (a abrupt) Close() error {
	if t, ok := a.Conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	return a.Conn.Close()
}

func TestH15AClientThatLeavesOverTCP(t *testing.T) {
	for how, dial := range map[string]func(addr string) (net.Conn, error){
		"TCP": func(addr string) (net.Conn, error) { return net.Dial("tcp", addr) },
		"TCP, reset": func(addr string) (net.Conn, error) {
			nc, err := net.Dial("tcp", addr)
			return abrupt{nc}, err
		},
	} {
		t.Run(how, func(t *testing.T) {
			leavesOver(t, router.Port{}, func(addr string) (net.Conn, error) { return dial(addr) })
		})
	}
}

func TestH15AClientThatLeavesOverTLS(t *testing.T) {
	server, client := certified(t)
	client.NextProtos = []string{"http/1.1"}
	leavesOver(t, router.Port{TLS: server}, func(addr string) (net.Conn, error) { return tls.Dial("tcp", addr, client) })
}

func leavesOver(t *testing.T, p router.Port, dial func(addr string) (net.Conn, error)) {
	leavesOverIf(t, p, dial, func(leaving) bool { return true })
}

func leavesOverIf(t *testing.T, p router.Port, dial func(addr string) (net.Conn, error), wanted func(leaving) bool) {
	for _, l := range leavings {
		if !wanted(l) {
			continue
		}
		t.Run(l.name, func(t *testing.T) {
			w := newWorld(t, router.Config{QueueWait: patience}, engine, nil)
			addr := listening(t, w, p)
			l.play(w, func(request string) net.Conn {
				nc, err := dial(addr)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = nc.Close() })
				if _, err := io.WriteString(nc, request); err != nil {
					t.Fatal(err)
				}
				return nc
			}, 0)
		})
	}
}

// A PROXY protocol header stands before the request, and perhaps before TLS.
func TestH15AClientThatLeavesBehindProxyProtocol(t *testing.T) {
	server, client := certified(t)
	client.NextProtos = []string{"http/1.1"}
	near := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	introduced := func(addr string) (net.Conn, error) {
		nc, err := net.Dial("tcp", addr)
		if err == nil {
			_, err = io.WriteString(nc, throughTCP)
		}
		return nc, err
	}
	kernelKnows := func(l leaving) bool { return l.state == "sent" && l.hidden } // reading does not show it
	t.Run("TCP", func(t *testing.T) { leavesOverIf(t, router.Port{ProxyProtocol: near}, introduced, kernelKnows) })
	t.Run("TLS", func(t *testing.T) {
		leavesOverIf(t, router.Port{ProxyProtocol: near, TLS: server}, func(addr string) (net.Conn, error) {
			nc, err := introduced(addr)
			if err != nil {
				return nil, err
			}
			c := tls.Client(nc, client)
			return c, c.HandshakeContext(t.Context())
		}, kernelKnows)
	})
}

// A client of an upgraded connection may close its half and listen; a reset says
// that it has gone, also behind bytes that its worker does not take.
func TestH15AnUpgradedClientThatResets(t *testing.T) {
	w := newWorld(t, router.Config{}, engine, nil)
	addr := listening(t, w, router.Port{})
	k := w.ready("w1", "DEALER")
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(nc, upgrade); err != nil {
		t.Fatal(err)
	}
	c := k.request()
	c.head(101)
	if _, err := io.ReadFull(nc, make([]byte, len("HTTP/1.1 101 "))); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Write(make([]byte, 200<<10)); err != nil { // more than the worker's window
		t.Fatal(err)
	}
	c.fillWindow()
	_ = abrupt{nc}.Close()
	c.cancelled(http2.ErrCodeCancel)
	c.end0()
	k.die()
}
