package main_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// An orderly end is all that HTTP/1.0 has to say that an answer is whole, so
// one that is cut off is reset.
func TestDrainCutsOffVisibly(t *testing.T) {
	for _, proto := range []string{"HTTP/1.0", "HTTP/1.1"} {
		t.Run(proto, func(t *testing.T) {
			r := startRouter(t, "--drain", "50ms")
			r.worker("worker-1")
			r.awaitReady(1)
			var running []*http.Response
			for range 3 {
				c := mustDial(t, r.web)
				if _, err := fmt.Fprintf(c, "GET /hang %s\r\nHost: localhost\r\n\r\n", proto); err != nil {
					t.Fatal(err)
				}
				resp, err := c.head()
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(resp.Body, make([]byte, len("begun\n"))); err != nil {
					t.Fatal(err)
				}
				running = append(running, resp)
			}
			mustDial(t, r.web) // has no request, and is not counted
			r.stop()
			for _, resp := range running {
				if rest, err := io.ReadAll(resp.Body); !errors.Is(err, syscall.ECONNRESET) || len(rest) > 0 {
					t.Errorf("the answer went on with %q and ended with %v, want %v", rest, err, syscall.ECONNRESET)
				}
			}
			if log := r.log.String(); !strings.Contains(log, `"requests were cut off at the end of the drain time","requests":3,`) {
				t.Error("the log does not say that three requests were cut off")
			}
		})
	}
}

// A worker that has stopped hangs up never: the router does not wait for it.
func TestDrainDoesNotWaitForAFrozenWorker(t *testing.T) {
	r := startRouter(t, "--drain", "50ms")
	w := r.worker("worker-1")
	r.awaitReady(1)
	c := mustDial(t, r.web)
	if err := c.send("GET /hang", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := c.head(); err != nil {
		t.Fatal(err)
	}
	w.signal(syscall.SIGSTOP)
	r.stop()
}

// One port speaks both versions.
func TestHTTP2InTheClear(t *testing.T) {
	r := startRouter(t)
	r.worker("worker-1")
	r.awaitReady(1)
	var second http.Protocols
	second.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: &second}}
	defer client.CloseIdleConnections()
	for range 2 {
		resp, err := client.Get("http://" + r.web + "/hello")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.ProtoMajor != 2 || resp.StatusCode != http.StatusOK || resp.Header.Get("Via") != "2.0 dialmux" {
			t.Errorf("got %s %d, Via: %s", resp.Proto, resp.StatusCode, resp.Header.Get("Via"))
		}
	}
	client.CloseIdleConnections()
	r.stop()
}
