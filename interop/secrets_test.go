package interop

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// notes are what the test's own handlers print.
var notes = regexp.MustCompile(`(?m)^(POST|waiting|left) .*$`)

// TestO1NoSecretIsTold plants words in all that is secret, has requests of
// every kind come to every end, and looks for them in what the router and the
// workers log, at level debug, in what the admin port shows, and in each answer
// that the router makes itself.
func TestO1NoSecretIsTold(t *testing.T) {
	cert, key, trust := selfSigned(t)
	pem, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	canaries := map[string]string{
		"the worker token": "canary-token-" + newNonce(), "another's wrong token": "canary-wrong-" + newNonce(),
		"Authorization": "canary-authorization-" + newNonce(), "Proxy-Authorization": "canary-proxy-" + newNonce(), "Cookie": "canary-cookie-" + newNonce(),
		"the query": "canary-query-" + newNonce(), "a request's body": "canary-body-" + newNonce(), "an answer's Set-Cookie": "canary-set-cookie-" + newNonce(),
		"the TLS key": strings.Split(string(pem), "\n")[1],
	}
	token := canaries["the worker token"]
	file := t.TempDir() + "/token"
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := startRouter(t, "--log-level", "debug", "--token-file", file, "--tls-cert", cert, "--tls-key", key, "--max-body", "100KiB",
		"--response-timeout", "1s", "--queue-wait", "500ms", "--head-timeout", "2s", "--body-timeout", "2s")
	var told, shown bytes.Buffer // what the router answers itself, what the admin port shows

	client := func(h2 bool) *http.Client {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust, ServerName: "ws.test"}, DisableKeepAlives: !h2, Protocols: new(http.Protocols)}
		transport.Protocols.SetHTTP1(!h2)
		transport.Protocols.SetHTTP2(h2)
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport, Timeout: patience}
	}
	secret := func(req *http.Request) {
		req.Header.Set("Authorization", "Bearer "+canaries["Authorization"])
		req.Header.Set("Proxy-Authorization", "Basic "+canaries["Proxy-Authorization"])
		req.Header.Set("Cookie", "session="+canaries["Cookie"])
		req.URL.RawQuery += "&token=" + canaries["the query"]
	}
	statuses := map[int]int{}
	ask := func(c *http.Client, method, path string, body io.Reader, edit ...func(*http.Request)) {
		t.Helper()
		req, err := http.NewRequest(method, "https://"+r.addr+path, body)
		if err != nil {
			t.Fatal(err)
		}
		secret(req)
		for _, e := range edit {
			e(req)
		}
		resp, err := c.Do(req)
		if err != nil {
			statuses[0]++
			return
		}
		defer resp.Body.Close()
		statuses[resp.StatusCode]++
		if resp.Header.Get("Proxy-Status") != "" { // the router's own
			_ = resp.Header.Write(&told)
			_, _ = io.Copy(&told, resp.Body)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	raw := func(words string) {
		t.Helper()
		c, err := tls.Dial("tcp", r.addr, &tls.Config{RootCAs: trust, ServerName: "ws.test"})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(c, words)
		resp, _ := io.ReadAll(c)
		told.Write(resp)
	}
	look := func() {
		for _, path := range []string{"/workers", "/streams", "/healthz", "/readyz"} {
			var answer json.RawMessage
			_ = r.ask(path, &answer) // readyz may say 503
			shown.Write(answer)
		}
	}

	// Without a worker: 503. Then workers with tokens that are wrong, and right.
	ask(client(false), http.MethodGet, "/nonce?n=1", nil)
	wrong := canaries["another's wrong token"]
	processes := []*process{
		startWorker(t, "wrong-go", []string{"-token", wrong}, r.endpoint()),
		startPython(t, dealer, "wrong-dealer", []string{"DIALMUX_TOKEN=" + wrong}, r.endpoint()),
		startPython(t, rep, "wrong-rep", []string{"DIALMUX_TOKEN=" + wrong}, r.endpoint()),
	}
	eventually(t, "all three are refused", func() bool {
		n := 0
		for _, w := range r.workers() {
			if w.State == "refused" {
				n++
			}
		}
		return n == 3
	})
	victim := startWorker(t, "victim", []string{"-token", token}, r.endpoint())
	processes = append(processes, victim, startPython(t, dealer, "dealer", []string{"DIALMUX_TOKEN=" + token}, r.endpoint()),
		startPython(t, rep, "rep", []string{"DIALMUX_TOKEN=" + token}, r.endpoint()))
	r.awaitWorkers("victim", "dealer", "rep")

	for _, h2 := range []bool{false, true} {
		c := client(h2)
		body := func() io.Reader { return strings.NewReader(canaries["a request's body"]) }
		for range 6 { // each kind of worker
			ask(c, http.MethodGet, "/nonce?n=1", nil)
			ask(c, http.MethodPut, "/echo?n=1", body())
			ask(c, http.MethodGet, "/set-cookie?v="+canaries["an answer's Set-Cookie"], nil)
		}
		ask(c, http.MethodGet, "/none?n=1", nil)
		ask(c, http.MethodTrace, "/?n=1", nil)
		ask(c, http.MethodPut, "/echo?n=1", strings.NewReader(canaries["a request's body"]+strings.Repeat("x", 200<<10))) // 413: its length says so
		ask(c, http.MethodGet, "/?n=1", nil, func(req *http.Request) { req.Header.Set("Expect", "more") })                // 417
		ask(c, http.MethodGet, "/?n=1", nil, func(req *http.Request) { req.Header.Set("X", strings.Repeat("x", 70<<10)) })
		ask(c, http.MethodGet, "/?n=1", nil, func(req *http.Request) {
			req.Header.Set("Connection", "Upgrade")
			req.Header.Set("Upgrade", "h2c")
		})
		var leaving sync.WaitGroup
		for range 6 { // 504 of those that native workers have, and clients that leave before
			leaving.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
				defer cancel()
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+r.addr+"/wait?n=1", http.NoBody)
				if err != nil {
					t.Error(err)
					return
				}
				secret(req)
				if resp, err := c.Do(req); err == nil {
					_ = resp.Body.Close()
				}
			})
		}
		eventually(t, "requests run", func() bool { look(); return r.streams().Open > 0 })
		for range 3 { // 504, unless the Python worker has it
			ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
			ask(c, http.MethodGet, "/wait?n=1", nil, func(req *http.Request) { *req = *req.WithContext(ctx) })
			cancel()
		}
		leaving.Wait()
	}
	heads := "Host: h\r\nAuthorization: Bearer " + canaries["Authorization"] + "\r\nCookie: a=" + canaries["Cookie"] + "\r\n"
	target := "/?token=" + canaries["the query"]
	for _, words := range []string{
		"GET " + target + " HTTP/1.1\r\n" + heads + "bad line\r\n\r\n", "GET " + target + " HTTP/1.1\r\n" + heads + "X: \x00\r\n\r\n",
		"GET " + target + " HTTP/9.1\r\n" + heads + "\r\n", "GET " + target + " x HTTP/1.1\r\n" + heads + "\r\n", heads, canaries["Cookie"],
		"POST " + target + " HTTP/1.1\r\n" + heads + "Transfer-Encoding: chunked\r\n\r\n" + canaries["a request's body"] + "\r\n",
		"POST " + target + " HTTP/1.1\r\n" + heads + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
		"POST " + target + " HTTP/1.1\r\n" + heads + "Content-Length: 5000\r\n\r\n" + canaries["a request's body"], // 408
		"GET " + target + " HTTP/1.1\r\n" + heads, // 408
		"CONNECT " + canaries["the query"] + ":80 HTTP/1.1\r\n" + heads + "\r\n", "GET http://u:" + canaries["the query"] + "@h/ HTTP/1.1\r\n" + heads + "\r\n",
	} {
		raw(words)
	}
	// Workers that are lost, before the answer and amid it.
	l := make(chan struct{})
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			c := client(false)
			for {
				select {
				case <-l:
					return
				default:
				}
				for _, path := range []string{"/long?n=1", "/late?n=1"} {
					req, _ := http.NewRequest(http.MethodPatch, "https://"+r.addr+path, http.NoBody)
					secret(req)
					if resp, err := c.Do(req); err == nil {
						_, _ = io.Copy(io.Discard, resp.Body)
						_ = resp.Body.Close()
					}
				}
			}
		})
	}
	eventually(t, "the victim has requests", func() bool { w := r.find("victim"); return w != nil && w.Busy > 1 })
	look()
	victim.kill()
	eventually(t, "the victim is off the list", func() bool { look(); return r.find("victim") == nil })
	close(l)
	asking.Wait()

	t.Logf("answers by status, 0 for none: %v", statuses)
	for _, status := range []int{200, 404, 405, 413, 417, 431, 503, 504} {
		if statuses[status] == 0 {
			t.Errorf("no request got %d, so that this test shows less than it says", status)
		}
	}
	places := map[string]string{"the router's log": r.log.String(), "the admin port": shown.String(), "an answer of the router's": told.String()}
	for _, p := range processes {
		places["the log of worker "+p.name] = notes.ReplaceAllString(p.log.String(), "")
	}
	for place, text := range places {
		for what, canary := range canaries {
			if at := strings.Index(text, canary); at >= 0 {
				t.Errorf("%s has %s: ...%.300s", place, what, text[max(0, at-150):])
			}
		}
	}
	if !strings.Contains(places["the router's log"], `"level":"DEBUG"`) || !strings.Contains(shown.String(), "/nonce") && !strings.Contains(shown.String(), "/wait") {
		t.Error("nothing was logged at level debug, or no stream was shown")
	}
}
