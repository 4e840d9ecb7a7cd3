package main_test

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const marker = "GET /marker HTTP/1.1\r\nHost: x\r\n\r\n"

// H1, H2, H10: what is no request is refused, once, and the connection closes.
// What comes behind it on the connection reaches no worker.
func TestHostileBytes(t *testing.T) {
	r := startRouter(t)
	r.worker("worker-1")
	r.awaitReady(1)
	for _, tc := range []struct {
		name, bytes string
		want        int
	}{
		{"TLS", clientHello(t), http.StatusBadRequest},
		{"SSH", "SSH-2.0-OpenSSH_9.6\r\n", http.StatusBadRequest},
		{"ZMTP", "\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x00NULL", http.StatusBadRequest},
		{"HTTP/0.9", "GET /\r\n", http.StatusBadRequest},
		{"HTTP/0.9 with fields", "GET /\r\nHost: x\r\n\r\n", http.StatusBadRequest},
		{"HTTP/3.0", "GET / HTTP/3.0\r\nHost: x\r\n\r\n", http.StatusHTTPVersionNotSupported},
		{"nearly HTTP/2", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", http.StatusHTTPVersionNotSupported},
		{"large head", "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 100<<10) + "\r\n\r\n", http.StatusRequestHeaderFieldsTooLarge},
		{"large target", "GET /" + strings.Repeat("x", 100<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", http.StatusRequestURITooLong},
		{"many fields", "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: y\r\n", 10000) + "\r\n", http.StatusRequestHeaderFieldsTooLarge},
		{"CL and TE", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", http.StatusBadRequest},
		{"TE and CL", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", http.StatusBadRequest},
		{"bare LF", "GET / HTTP/1.1\nHost: x\n\n", http.StatusBadRequest},
		{"NUL", "GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n", http.StatusBadRequest},
		{"stray LF", "GET / HTTP/1.1\r\nHost: x\r\nX: y\r\n\n", http.StatusBadRequest},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := r.say("")
			_, _ = io.WriteString(c, tc.bytes+marker) // it may be refused halfway
			resp, body, err := c.whole()
			if err != nil || resp.StatusCode != tc.want || !resp.Close || !strings.HasPrefix(body, "dialmux: ") {
				t.Errorf("%v %q %v, want %d and Connection: close", resp, body, err, tc.want)
			}
			c.awaitClosed(t)
			get(t, "http://"+r.web+"/next")
		})
	}
	if seen := get(t, "http://"+r.web+"/seen"); strings.Contains(seen, "marker") {
		t.Errorf("the worker saw what came behind a refusal: %q", seen)
	}
	r.stop()
}

// Anybody can make these, so they must not fill a disk.
func TestHostileBytesAreLoggedSparingly(t *testing.T) {
	began := time.Now()
	r := startRouter(t)
	r.worker("worker-1")
	r.awaitReady(1)
	var seed [32]byte
	_, _ = rand.Read(seed[:])
	t.Logf("seed %x", seed)
	random := mathrand.NewChaCha8(seed)
	hello := clientHello(t)
	var clients sync.WaitGroup
	for i := range 200 {
		garbage := make([]byte, 1+i*16)
		_, _ = random.Read(garbage)
		if i%2 == 0 {
			garbage = []byte(hello)
		}
		c := r.say("")
		clients.Go(func() {
			_, _ = c.Write(garbage)
			_ = closeWrite(c)
			got, err := io.ReadAll(c)
			if err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%q ended with %v", garbage, err)
			}
			if len(got) > 0 && !strings.HasPrefix(string(got), "HTTP/1.1 4") && !strings.HasPrefix(string(got), "HTTP/1.1 5") {
				t.Errorf("%q got %q", garbage, got)
			}
		})
	}
	clients.Wait()
	get(t, "http://"+r.web+"/")
	r.stop()
	refusals := strings.Count(r.log.String(), `"msg":"request not served"`)
	if most := 1 + int(time.Since(began)/time.Second); refusals < 1 || refusals > most {
		t.Errorf("%d lines tell of refusals, want 1 to %d, one a second", refusals, most)
	}
	if strings.Contains(r.log.String(), `"level":"ERROR"`) {
		t.Error("errors were logged")
	}
}

func TestHostileBytesOverTLS(t *testing.T) {
	r := startTLSRouter(t)
	r.worker("worker-1")
	r.awaitReady(1)
	c := r.dial()
	if _, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n%s", marker); err != nil {
		t.Fatal(err)
	}
	resp, body, err := c.whole()
	if err != nil || resp.StatusCode != http.StatusBadRequest || !resp.Close {
		t.Errorf("%v %q %v", resp, body, err)
	}
	c.awaitClosed(t)
	for _, garbage := range []string{"\x16\x03\x01\x00\x05hello", "SSH-2.0-OpenSSH_9.6\r\n", strings.Repeat("\x00", 1<<10), clientHello(t)[:40] + strings.Repeat("\xff", 1<<10)} {
		c := r.say(garbage)
		_ = closeWrite(c)
		if got, err := io.ReadAll(c); err == nil && strings.Contains(string(got), "HTTP/1.1 2") {
			t.Errorf("%q got %q", garbage, got)
		}
	}
	if resp, err := r.httpClient(t, 2).Get("https://" + r.web + "/seen"); err != nil || resp.StatusCode != http.StatusOK {
		t.Error(resp, err)
	} else {
		seen, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if strings.Contains(string(seen), "marker") {
			t.Errorf("the worker saw %q", seen)
		}
	}
	r.stop()
	if log := r.log.String(); strings.Contains(log, "ERROR") || strings.Count(log, "handshake") > 0 {
		t.Error("handshakes that failed are in the log")
	}
}

func closeWrite(c *client) error {
	return c.Conn.(interface{ CloseWrite() error }).CloseWrite()
}

// clientHello is what a browser says to a port that it takes for an HTTPS one.
func clientHello(t *testing.T) string {
	t.Helper()
	near, far := net.Pipe()
	nc := tls.Client(near, &tls.Config{ServerName: "localhost", MinVersion: tls.VersionTLS12})
	var shaking sync.WaitGroup
	shaking.Go(func() { _ = nc.HandshakeContext(t.Context()) })
	hello := make([]byte, 64<<10)
	n, err := far.Read(hello)
	if err != nil {
		t.Fatal(err)
	}
	_ = far.Close()
	shaking.Wait()
	return string(hello[:n])
}
