// Conform is a worker that serves the paths of frame/CONFORM.md, for dialmux conform.
//
//	bin/dialmux conform -- go run ./examples/conform
//
// $DIALMUX_ROUTER is the endpoint to dial, $DIALMUX_TOKEN is shown to the router.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dialmux/dialmux/worker"
)

func main() {
	w := worker.Worker{Name: "conform", Token: os.Getenv("DIALMUX_TOKEN"), Handler: paths(), Logger: slog.Default()}
	if router := os.Getenv("DIALMUX_ROUTER"); router != "" {
		w.Routers = []string{router}
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := w.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "conform:", err)
		os.Exit(1)
	}
}

func paths() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/bytes", someBytes)
	mux.HandleFunc("/stream", stream)
	mux.HandleFunc("/slow", slow)
	mux.HandleFunc("/status/{status}", status)
	mux.HandleFunc("/fields", fields)
	mux.HandleFunc("/early", early)
	mux.HandleFunc("/hints", hints)
	mux.HandleFunc("/trailers", trailers)
	mux.HandleFunc("/reset", reset)
	mux.HandleFunc("/upgrade", upgrade)
	return mux
}

// echo sends back what has come before it waits for more.
func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Body.Read(buf)
		if _, err := w.Write(buf[:n]); err != nil {
			return
		}
		switch {
		case err == io.EOF:
			return
		case err != nil:
			panic(http.ErrAbortHandler)
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
	}
}

func someBytes(w http.ResponseWriter, r *http.Request) {
	if n, ok := number(w, r, "n"); ok {
		_, _ = io.CopyN(w, zeros{}, int64(n))
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func stream(w http.ResponseWriter, r *http.Request) {
	n, ok := number(w, r, "n")
	if !ok {
		return
	}
	ms, ok := number(w, r, "ms")
	if !ok {
		return
	}
	for i := range n {
		if _, err := fmt.Fprintf(w, "chunk %d\n", i); err != nil {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil || !pause(r.Context(), ms) {
			return
		}
	}
}

func slow(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Has("ms") {
		if ms, ok := number(w, r, "ms"); ok {
			pause(r.Context(), ms)
		}
		return
	}
	_, _ = io.WriteString(w, "s")
	_ = http.NewResponseController(w).Flush() // a client that has left ends the context too
	<-r.Context().Done()
}

// pause reports whether the request is still wanted afterwards.
func pause(ctx context.Context, ms int) bool {
	if ms == 0 {
		return true
	}
	timer := time.NewTimer(time.Duration(ms) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func status(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.PathValue("status"))
	if err != nil || n < 200 || n > 599 {
		http.NotFound(w, r)
		return
	}
	w.WriteHeader(n)
}

// fields keeps the order of fields of one name; http.Header has none among names.
func fields(w http.ResponseWriter, r *http.Request) {
	for key, values := range r.Header {
		if strings.HasPrefix(key, "X-") {
			w.Header()[key] = values
		}
	}
}

func early(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "early") }

func hints(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusEarlyHints) }

func trailers(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Trailer", "X-Trailer")
	_, _ = io.WriteString(w, "body")
	w.Header().Set("X-Trailer", "yes")
}

func reset(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// upgrade echoes too, over a connection that it has to itself.
func upgrade(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "echo" {
		http.NotFound(w, r)
		return
	}
	n, ok := number(w, r, "n")
	if !ok {
		return
	}
	w.WriteHeader(http.StatusSwitchingProtocols)
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer func() { _ = conn.Close() }()
	if n > 0 {
		_, _ = io.CopyN(conn, conn, int64(n))
	} else {
		_, _ = io.Copy(conn, conn)
	}
}

// number reads a number from the query, 0 if it is not there. If it is none, the answer is 400.
func number(w http.ResponseWriter, r *http.Request, key string) (n int, ok bool) {
	value := r.URL.Query().Get(key)
	if value == "" {
		return 0, true
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 {
		http.Error(w, key+" must be a decimal number", http.StatusBadRequest)
		return 0, false
	}
	return n, true
}
