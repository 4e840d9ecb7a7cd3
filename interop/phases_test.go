package interop

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// TestF1KillAtEachPhase kills a worker, with a second one there, in each phase
// of a request. Before a byte of the answer has gone to the client, what may be
// sent again is, once; a POST is not, unless it never left the router. After it
// the answer breaks off visibly.
func TestF1KillAtEachPhase(t *testing.T) {
	t.Parallel()
	const again, lost, broken = "answered by the other", "502", "broken off"
	for _, tc := range []struct {
		phase          string
		get, put, post string
	}{
		{phase: "dispatched", get: again, put: again, post: lost},
		{phase: "acknowledged", get: again, put: again, post: lost},
		{phase: "informed", get: again, put: again, post: lost},
		{phase: "head", get: broken, put: broken, post: broken},
		{phase: "head with length", get: broken, put: broken, post: broken},
		{phase: "mid-body", get: broken, put: broken, post: broken},
		{phase: "mid-body with length", get: broken, put: broken, post: broken},
		{phase: "before the end", get: broken, put: broken, post: broken},
		{phase: "amid the trailers", get: broken, put: broken, post: broken},
	} {
		t.Run(tc.phase, func(t *testing.T) {
			for method, want := range map[string]string{http.MethodGet: tc.get, http.MethodPut: tc.put, http.MethodPost: tc.post} {
				r := startRouter(t)
				stopper := startStopper(t, "stopper", r.endpoint())
				r.awaitWorkers("stopper")
				nonce := newNonce()
				q := request{method: method, target: "/nonce?n=" + nonce + "&phase=" + strings.ReplaceAll(tc.phase, " ", "+"), want: proof(nonce)}
				var client sync.WaitGroup
				var a answer
				client.Go(func() { a = once(r.addr, q) })
				stopper.awaitLine(t, tc.phase)
				other := startWorker(t, "other", nil, r.endpoint())
				r.awaitWorkers("other")
				stopper.kill()
				client.Wait()
				switch {
				case a.status == 200 && a.err == nil && bytes.Equal(a.body, q.want) && a.header.Get("Dialmux-Worker") == "other":
					if want != again {
						t.Errorf("%s was answered by the other, want: %s", method, want)
					}
				case a.status == http.StatusBadGateway:
					if want != lost || strings.Contains(other.log.String(), "POST") {
						t.Errorf("%s got 502, want: %s; the other worker printed %q", method, want, other.log.String())
					}
				case a.status == 200 && a.err != nil && !a.hung() && strings.HasPrefix(stoppedBody, string(a.body)):
					if want != broken {
						t.Errorf("%s broke off, want: %s", method, want)
					}
				default:
					t.Errorf("%s: %+v, want: %s", method, a, want)
				}
				if strings.Contains(tc.phase, "mid-body") && len(a.body) != len(stoppedBody)/2 {
					t.Errorf("%s: %q of the answer came", method, a.body)
				}
				r.awaitIdle()
			}
		})
	}
}

// A worker that dies idle costs nothing, and what waits behind the request that
// it had has never left the router: even a POST moves.
func TestF1KillIdleAndWithOthersWaiting(t *testing.T) {
	t.Parallel()
	r := startRouter(t)
	idle := startStopper(t, "idle", r.endpoint())
	r.awaitWorkers("idle")
	idle.kill()
	stopper := startStopper(t, "stopper", r.endpoint())
	r.awaitWorkers("stopper")
	var clients sync.WaitGroup
	ask := func(method string) (string, *answer) {
		nonce, a := newNonce(), new(answer)
		clients.Go(func() { *a = once(r.addr, request{method: method, target: "/nonce?n=" + nonce + "&phase=dispatched"}) })
		return string(proof(nonce)), a
	}
	first, given := ask(http.MethodGet)
	stopper.awaitLine(t, "dispatched")
	second, waiting := ask(http.MethodPost)
	eventually(t, "the POST waits", func() bool { return r.streams().Waiting == 1 })
	stopper.kill()
	other := startWorker(t, "other", nil, r.endpoint())
	clients.Wait()
	if given.status != 200 || string(given.body) != first {
		t.Errorf("the GET that was dispatched: %+v", given)
	}
	eventually(t, "what the other worker printed has come", func() bool { return strings.Contains(other.log.String(), "POST") })
	if waiting.status != 200 || string(waiting.body) != second || strings.Count(other.log.String(), "POST") != 1 {
		t.Errorf("the POST that waited: %+v; the other worker printed %q", waiting, other.log.String())
	}
	r.awaitIdle()
}

// An upgraded connection ends in a reset: its client cannot take it for the
// end that a server says.
func TestF1KillWithAWebSocketOpen(t *testing.T) {
	t.Parallel()
	r := startRouter(t)
	stopper := startStopper(t, "stopper", r.endpoint())
	r.awaitWorkers("stopper")
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	w, err := openWebSocket(conn, "/?phase=WebSocket")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.wants(wsBinary, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	stopper.kill()
	if _, err := w.receive(); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("after the kill the client read %v", err)
	}
	r.awaitIdle()
}
