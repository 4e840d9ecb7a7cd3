package interop

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// outcomes of requests that leave on schedule, whatever comes back.
type outcomes struct {
	mu    sync.Mutex
	good  int
	busy  int      // well-formed 503s
	wrong []string // anything else
}

// offer sends requests at a rate for a while, and waits for their answers.
func offer(t *testing.T, client *http.Client, url string, rate int, d time.Duration) *outcomes {
	t.Helper()
	var o outcomes
	var running sync.WaitGroup
	began := time.Now()
	for i := range int(float64(rate) * d.Seconds()) {
		time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(rate)))) // the schedule
		running.Go(func() {
			nonce := newNonce()
			resp, err := client.Get(url + nonce)
			var body []byte
			if err == nil {
				body, err = io.ReadAll(resp.Body)
				_ = resp.Body.Close()
			}
			o.mu.Lock()
			defer o.mu.Unlock()
			switch {
			case err != nil:
				o.wrong = append(o.wrong, err.Error())
			case resp.StatusCode == http.StatusOK && string(body) == string(proof(nonce)):
				o.good++
			case resp.StatusCode == http.StatusServiceUnavailable && wellFormed(resp, body):
				o.busy++
			default:
				o.wrong = append(o.wrong, resp.Status+" "+string(body))
			}
		})
	}
	running.Wait()
	return &o
}

func wellFormed(resp *http.Response, body []byte) bool {
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	return err == nil && seconds >= 1 && seconds <= 60 && strings.HasPrefix(string(body), "dialmux: ") &&
		strings.HasPrefix(resp.Header.Get("Proxy-Status"), "dialmux; error=")
}

// TestF5TwiceTheLoad: what is too much gets 503 and a time to come again, and the
// workers go on at their pace.
func TestF5TwiceTheLoad(t *testing.T) {
	const slots, pause = 32, 300 * time.Millisecond // of /late
	peak := int(slots * time.Second / pause)
	r := startRouter(t, "--queue-limit", "64", "--queue-wait", "1s")
	startWorker(t, "go", []string{"-concurrency", strconv.Itoa(slots)}, r.endpoint())
	r.awaitWorkers("go")
	transport := &http.Transport{MaxIdleConnsPerHost: 1000}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: patience}
	url := "http://" + r.addr + "/late?n="
	offer(t, client, url, peak, time.Second)
	var at, beyond, busy int
	for range 2 {
		one := offer(t, client, url, peak, 2*time.Second)
		two := offer(t, client, url, 2*peak, 2*time.Second)
		at, beyond, busy = at+one.good, beyond+two.good, busy+two.busy
		for _, wrong := range append(one.wrong, two.wrong...) {
			t.Errorf("a request got %.200s", wrong)
		}
	}
	t.Logf("at the peak of %d/s %d good answers, at twice that %d and %d times 503", peak, at, beyond, busy)
	if busy == 0 {
		t.Error("nothing was too much: the load is no test")
	}
	if beyond*10 < at*9 {
		t.Errorf("%d good answers under twice the load, less than 90 %% of %d", beyond, at)
	}
	r.awaitIdle()
	if o := offer(t, client, url, peak/2, time.Second); o.busy > 0 || len(o.wrong) > 0 {
		t.Errorf("afterwards %d requests got 503 and %q", o.busy, o.wrong)
	}
}
