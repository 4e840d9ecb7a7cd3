package main_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// streamingApp shows what goes through: bodies both ways at once, trailers, an upgrade.
func streamingApp(t *testing.T) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		_ = control.EnableFullDuplex()
		w.Header().Set("Trailer", "X-Bytes")
		w.Header().Set("Content-Type", "text/plain")
		_ = control.Flush()
		buf, n := make([]byte, 4096), 0
		for {
			got, err := r.Body.Read(buf)
			n += got
			_, _ = w.Write(buf[:got])
			_ = control.Flush()
			if err != nil {
				break
			}
		}
		w.Header().Set("X-Bytes", fmt.Sprint(n))
	})
	mux.HandleFunc("/chat", func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Errorf("the app's handshake: %v", err)
			return
		}
		for {
			kind, message, err := c.Read(r.Context())
			if err != nil {
				return
			}
			_ = c.Write(r.Context(), kind, append([]byte("heard "), message...))
		}
	})
	app := httptest.NewUnstartedServer(mux)
	app.Config.Protocols = new(http.Protocols)
	app.Config.Protocols.SetHTTP1(true)
	app.Config.Protocols.SetUnencryptedHTTP2(true)
	app.Start()
	t.Cleanup(app.Close)
	return app
}

// From a client through the router and the sidecar to the app and back, nothing waits for the end of anything.
func TestStreamsThroughTheSidecar(t *testing.T) {
	for _, scheme := range []string{"http", "h2c"} {
		t.Run(scheme, func(t *testing.T) {
			r := startRouter(t)
			r.sidecar("--to", scheme+"://"+streamingApp(t).Listener.Addr().String())
			r.awaitReady(1)

			body, feed := io.Pipe()
			resp, err := http.Post("http://"+r.web+"/echo", "text/plain", body)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			lines := bufio.NewReader(resp.Body)
			for _, line := range []string{"one\n", "two\n", strings.Repeat("x", 1<<20) + "\n"} {
				var sent error
				fed := make(chan struct{})
				go func() { _, sent = io.WriteString(feed, line); close(fed) }()
				got, err := lines.ReadString('\n')
				if <-fed; got != line || err != nil || sent != nil {
					t.Fatalf("%.20q of %d bytes came back: %v %v", got, len(got), err, sent)
				}
			}
			_ = feed.Close()
			if rest, err := io.ReadAll(lines); len(rest) > 0 || err != nil {
				t.Errorf("%q %v", rest, err)
			}
			if got := resp.Trailer.Get("X-Bytes"); got != fmt.Sprint(len("one\ntwo\n\n")+1<<20) {
				t.Errorf("trailers %v", resp.Trailer)
			}

			c, answer, err := websocket.Dial(t.Context(), "ws://"+r.web+"/chat", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.CloseNow() }()
			if answer.Body != nil {
				_ = answer.Body.Close()
			}
			for _, message := range []string{"a", strings.Repeat("b", 20_000)} {
				if err := c.Write(t.Context(), websocket.MessageText, []byte(message)); err != nil {
					t.Fatal(err)
				}
				if _, got, err := c.Read(t.Context()); !bytes.Equal(got, []byte("heard "+message)) {
					t.Fatalf("%.30q %v", got, err)
				}
			}
			if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

// An app that does not want a body says so before any of it comes, as it would without anybody between.
func TestExpectThroughTheSidecar(t *testing.T) {
	r := startRouter(t)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/no" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.Copy(w, req.Body)
	}))
	defer app.Close()
	r.sidecar("--to", app.URL)
	r.awaitReady(1)
	for path, want := range map[string]string{"/no": "HTTP/1.1 403 ", "/yes": "HTTP/1.1 100 "} {
		nc, err := net.Dial("tcp", r.web)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintf(nc, "POST %s HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n", path)
		lines := bufio.NewReader(nc)
		if line, err := lines.ReadString('\n'); !strings.HasPrefix(line, want) {
			t.Errorf("%s: %q %v", path, line, err)
		}
		if path == "/yes" {
			_, _ = io.WriteString(nc, "hi")
			if rest, _ := io.ReadAll(lines); !strings.HasSuffix(string(rest), "\r\n\r\nhi") {
				t.Errorf("%q", rest)
			}
		}
		_ = nc.Close()
	}
}
