package router_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/dialmux/dialmux/internal/testpipe"
	"github.com/dialmux/dialmux/router"
)

var proxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}

// behindProxy is a story on a port whose connections all come from addr.
func behindProxy(t *testing.T, cfg router.Config, p router.Port, addr string, tell func(w *world)) {
	t.Helper()
	storyBehind(t, cfg, engine, nil, func(w *world) {
		from := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))
		p.ProxyProtocol = proxies
		w.portOn(p, func(nc *testpipe.Conn) net.Conn { return remote{nc, from} })
		tell(w)
	})
}

// second is a header of version 2.
func second(t *testing.T, command proxyproto.ProtocolVersionAndCommand, from string, tlvs ...proxyproto.TLV) string {
	t.Helper()
	to := "192.0.2.1:443"
	h := proxyproto.Header{Version: 2, Command: command, TransportProtocol: proxyproto.TCPv4}
	if strings.HasPrefix(from, "[") {
		h.TransportProtocol, to = proxyproto.TCPv6, "[2001:db8::2]:443"
	}
	h.SourceAddr = net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from))
	h.DestinationAddr = net.TCPAddrFromAddrPort(netip.MustParseAddrPort(to))
	if err := h.SetTLVs(tlvs); err != nil {
		t.Fatal(err)
	}
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const (
	sig2       = "\r\n\r\n\x00\r\nQUIT\n"
	throughTCP = "PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n"
)

func TestProxyProtocolSaysWhoTheClientIs(t *testing.T) {
	large := proxyproto.TLV{Type: 0xe0, Value: []byte(strings.Repeat("x", 4000))}
	for name, tc := range map[string]struct{ header, client string }{
		"v1 TCP4":               {throughTCP, "203.0.113.7"},
		"v1 TCP6":               {"PROXY TCP6 2001:db8::7 2001:db8::2 56324 443\r\n", "2001:db8::7"},
		"v1 UNKNOWN":            {"PROXY UNKNOWN\r\n", "10.1.2.3"},
		"v1 UNKNOWN with words": {"PROXY UNKNOWN ffff:f:f:f::f ffff::f 65535 65535\r\n", "10.1.2.3"},
		"v2 TCP4":               {second(t, proxyproto.PROXY, "203.0.113.7:1"), "203.0.113.7"},
		"v2 TCP6":               {second(t, proxyproto.PROXY, "[2001:db8::7]:1"), "2001:db8::7"},
		"v2 mapped":             {second(t, proxyproto.PROXY, "[::ffff:203.0.113.7]:1"), "203.0.113.7"},
		"v2 TLVs":               {second(t, proxyproto.PROXY, "203.0.113.7:1", large), "203.0.113.7"},
		"v2 LOCAL":              {sig2 + "\x20\x00\x00\x00", "10.1.2.3"},
		"v2 LOCAL with address": {second(t, proxyproto.LOCAL, "203.0.113.7:1"), "10.1.2.3"},
		"v2 UNIX":               {sig2 + "\x21\x31\x00\xd8" + "evil\r\nx: y" + strings.Repeat("\x00", 206), "10.1.2.3"},
	} {
		t.Run(name, func(t *testing.T) {
			behindProxy(t, router.Config{}, router.Port{}, "10.1.2.3:4567", func(w *world) {
				k := w.join("w1", 1)
				serves := func(client *raw) {
					c := k.request()
					if got := c.get("x-forwarded-for"); got != tc.client {
						w.t.Errorf("x-forwarded-for: %q, want %q", got, tc.client)
					}
					c.answer(200, "served")
					wantsRaw(w.t, client.nc, "served")
				}
				const ask = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
				client := w.raw(tc.header + ask)
				serves(client)
				client.write(ask)
				serves(client)
				pieces := w.raw("")
				whole := tc.header + ask
				one := min(len(tc.header)+5, 120)
				for i := range one {
					pieces.write(whole[i : i+1])
					w.settle()
				}
				pieces.write(whole[one:])
				serves(pieces)
			})
		})
	}
}

// What comes in place of a header costs the connection, and no worker sees it.
func TestProxyProtocolIsRequiredFromItsNetworks(t *testing.T) {
	tooLong := sig2 + "\x21\x11\xff\xff" + strings.Repeat("\x00", 0xffff)
	for name, junk := range map[string]string{
		"none":             "",
		"too long, v1":     "PROXY TCP4 " + strings.Repeat("1", 200) + "\r\n",
		"no CR":            strings.Replace(throughTCP, "\r", "", 1),
		"other words":      "PROXY UDP4 203.0.113.7 192.0.2.1 56324 443\r\n",
		"too few":          "PROXY TCP4 203.0.113.7 192.0.2.1 56324\r\n",
		"too many":         "PROXY TCP4 203.0.113.7 192.0.2.1 56324 443 444\r\n",
		"no address":       "PROXY TCP4 a.example 192.0.2.1 56324 443\r\n",
		"zone":             "PROXY TCP6 fe80::1%x fe80::2 56324 443\r\n",
		"mixed":            "PROXY TCP4 2001:db8::7 192.0.2.1 56324 443\r\n",
		"port":             "PROXY TCP4 203.0.113.7 192.0.2.1 65536 443\r\n",
		"longer word":      "PROXYS TCP4 203.0.113.7 192.0.2.1 56324 443\r\n",
		"small letters":    strings.ToLower(throughTCP),
		"v2, no version":   sig2 + "\x01\x11\x00\x0c" + strings.Repeat("\x00", 12),
		"v2, command":      sig2 + "\x22\x11\x00\x0c" + strings.Repeat("\x00", 12),
		"v2, family":       sig2 + "\x21\x41\x00\x0c" + strings.Repeat("\x00", 12),
		"v2, short":        sig2 + "\x21\x11\x00\x0b" + strings.Repeat("\x00", 11),
		"v2, too long":     tooLong,
		"v2, not quite it": "\r\n\r\n\x00\r\nQUITTER" + strings.Repeat("\x00", 30),
	} {
		t.Run(name, func(t *testing.T) {
			behindProxy(t, router.Config{}, router.Port{}, "10.1.2.3:4567", func(w *world) {
				k := w.join("w1", 1)
				nc, err := w.clients.Dial(w.t.Context())
				if err != nil {
					w.t.Fatal(err)
				}
				defer nc.Close()
				_, _ = io.WriteString(nc, junk+"GET / HTTP/1.1\r\nHost: h\r\n\r\n") // it may close halfway
				if got, closed := (&raw{w.t, nc}).seen(); got != "" || !closed {
					w.t.Errorf("got %q, closed: %v", got, closed)
				}
				k.silent()
				if n := strings.Count(w.log.String(), "no PROXY protocol header that can be read"); n != 1 {
					w.t.Errorf("%d lines tell of it", n)
				}
			})
		})
	}
}

func TestProxyProtocolHeaderHasHeadTimeout(t *testing.T) {
	behindProxy(t, router.Config{}, router.Port{HeadTimeout: 7 * time.Second}, "10.1.2.3:4567", func(w *world) {
		k := w.join("w1", 1)
		for _, part := range []string{"", "PROXY", throughTCP[:len(throughTCP)-1], sig2, second(t, proxyproto.PROXY, "203.0.113.7:1")[:20]} {
			began := time.Now()
			if got := w.raw(part).all(); got != "" || time.Since(began) != 7*time.Second {
				w.t.Errorf("%q got %q after %v", part, got, time.Since(began))
			}
		}
		k.silent()
	})
}

// Who is not of the networks speaks HTTP, and a PROXY line is none.
func TestProxyProtocolFromOthersIsAMalformedRequest(t *testing.T) {
	behindProxy(t, router.Config{}, router.Port{}, "11.1.2.3:4567", func(w *world) {
		k := w.join("w1", 1)
		const ask = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
		for _, header := range []string{throughTCP, "PROXY UNKNOWN\r\n", second(t, proxyproto.PROXY, "203.0.113.7:1")} {
			if got := w.raw(header + ask).all(); !strings.HasPrefix(got, "HTTP/1.1 400 ") || strings.Count(got, "HTTP/1.1 ") != 1 {
				w.t.Errorf("%q got %q", header, got)
			}
		}
		k.silent()
		client := w.raw(ask)
		c := k.request()
		if got := c.get("x-forwarded-for"); got != "11.1.2.3" {
			w.t.Errorf("x-forwarded-for: %q", got)
		}
		c.answer(200, "served")
		wantsRaw(w.t, client.nc, "served")
	})
}

// H6: it is the client announced who must be trusted, not the one that announces it.
func TestH6TrustedProxiesBehindProxyProtocol(t *testing.T) {
	for _, tc := range []struct{ trusted, announced, want string }{
		{"203.0.113.0/24", "203.0.113.7:1", "6.6.6.6, 203.0.113.7"},
		{"10.0.0.0/8", "203.0.113.7:1", "203.0.113.7"},
	} {
		cfg := router.Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix(tc.trusted)}}
		behindProxy(t, cfg, router.Port{}, "10.1.2.3:4567", func(w *world) {
			k := w.join("w1", 1)
			client := w.raw(second(t, proxyproto.PROXY, tc.announced) + "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")
			c := k.request()
			if got := c.get("x-forwarded-for"); got != tc.want {
				w.t.Errorf("%s trusted: x-forwarded-for: %q, want %q", tc.trusted, got, tc.want)
			}
			c.answer(200, "")
			client.seen()
		})
	}
}

func TestProxyProtocolBeforeBothVersions(t *testing.T) {
	server, config := certified(t)
	for _, tc := range []struct {
		name  string
		port  router.Port
		major int
	}{
		{"HTTP/2", router.Port{}, 2},
		{"TLS, HTTP/1.1", router.Port{TLS: server}, 1},
		{"TLS, HTTP/2", router.Port{TLS: server}, 2},
	} {
		for _, header := range []string{throughTCP, second(t, proxyproto.PROXY, "203.0.113.7:1")} {
			t.Run(tc.name, func(t *testing.T) {
				behindProxy(t, router.Config{}, tc.port, "10.1.2.3:4567", func(w *world) {
					k := w.join("w1", 1)
					dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
						nc, err := w.clients.Dial(ctx)
						if err == nil {
							_, err = io.WriteString(nc, header)
						}
						return nc, err
					}
					scheme, config := "http", config.Clone()
					config.NextProtos = []string{"http/1.1"}
					tr := &http.Transport{DialContext: dial, Protocols: new(http.Protocols)}
					switch {
					case tc.port.TLS == nil:
						tr.Protocols.SetUnencryptedHTTP2(true)
					case tc.major == 2:
						tr.Protocols.SetHTTP2(true)
						config.NextProtos = []string{"h2"}
					default:
						tr.Protocols.SetHTTP1(true)
					}
					if tc.port.TLS != nil {
						scheme = "https"
						tr.DialTLSContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
							nc, err := dial(ctx, "", "")
							if err != nil {
								return nil, err
							}
							c := tls.Client(nc, config)
							return c, c.HandshakeContext(ctx)
						}
					}
					defer tr.CloseIdleConnections()
					for range 2 {
						w.wg.Go(func() {
							c := k.request()
							if c.get("x-forwarded-for") != "203.0.113.7" || c.get("x-forwarded-proto") != scheme {
								w.t.Errorf("for %q, proto %q", c.get("x-forwarded-for"), c.get("x-forwarded-proto"))
							}
							c.answer(200, "served")
						})
						req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, scheme+"://h/", nil)
						if err != nil {
							w.t.Fatal(err)
						}
						resp, err := tr.RoundTrip(req)
						if err != nil {
							w.t.Fatal(err)
						}
						body, err := io.ReadAll(resp.Body)
						_ = resp.Body.Close()
						if err != nil || resp.ProtoMajor != tc.major || string(body) != "served" {
							w.t.Errorf("%s %d %q, %v", resp.Proto, resp.StatusCode, body, err)
						}
					}
				})
			})
		}
	}
}
