package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/dialmux/dialmux/worker"
)

// The test binary is also the programs that the tests run: dialmux itself, a
// worker, and what scripts use in curl's place.
func TestMain(m *testing.M) {
	testscript.Main(leakless{m}, map[string]func(){"dialmux": main, "testworker": testworker, "testapp": testapp, "get": get})
}

type leakless struct{ *testing.M }

func (m leakless) Run() int {
	code := m.M.Run()
	http.DefaultClient.CloseIdleConnections()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// get prints the answer to GET URL, as soon as somebody listens there. Further
// arguments are fields, "Name: value".
func get() {
	for {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, os.Args[1], http.NoBody)
		if err != nil {
			panic(err)
		}
		for _, field := range os.Args[2:] {
			name, value, _ := strings.Cut(field, ": ")
			if req.Header.Set(name, value); name == "Host" {
				req.Host = value
			}
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if errors.Is(err, syscall.ECONNREFUSED) {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		if err != nil {
			panic(err)
		}
		_ = resp.Write(os.Stdout)
		return
	}
}

// testworker is called with its name and a router, and works until SIGTERM.
// SIGUSR1 lets requests for /hold go on.
func testworker() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	released := make(chan os.Signal, 1)
	signal.Notify(released, syscall.SIGUSR1)
	w := worker.Worker{Name: os.Args[1], Routers: os.Args[2:], Concurrency: 2048, Handler: testHandler(os.Args[1], released)}
	if err := w.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func testHandler(name string, released <-chan os.Signal) http.Handler {
	var mu sync.Mutex
	var seen []string // paths that came, and "left" for each client that did
	note := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, s)
	}
	begin := func(w http.ResponseWriter) {
		_, _ = io.WriteString(w, "begun\n")
		_ = http.NewResponseController(w).Flush()
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/seen", func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = io.WriteString(w, strings.Join(seen, "\n"))
	})
	mux.HandleFunc("/hang", func(w http.ResponseWriter, r *http.Request) {
		begin(w)
		<-r.Context().Done()
		note("left")
	})
	mux.HandleFunc("/mute", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/hold", func(w http.ResponseWriter, _ *http.Request) {
		begin(w)
		<-released
		_, _ = io.WriteString(w, "ended\n")
	})
	mux.HandleFunc("/forwarded", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %q", r.Proto, r.Header["X-Forwarded-Proto"])
	})
	mux.HandleFunc("/fields", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s for=%q subject=%q", r.Proto, r.Header["X-Forwarded-For"], r.Header["X-Client-Cert-Subject"])
	})
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) {
		piece := make([]byte, 1<<20)
		for range 64 { // more than the sockets on the way can hold
			if _, err := w.Write(piece); err != nil {
				note("left")
				return
			}
		}
	})
	mux.HandleFunc("/work", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		time.Sleep(time.Duration(n) * time.Microsecond) // that is the work
		_, _ = fmt.Fprintf(w, "%d bytes\n", n)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		note(r.URL.Path)
		_, _ = fmt.Fprintf(w, "Hello from %s\n", name)
	})
	return mux
}
