package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// answer is what every backend returns for /: 20 bytes.
const answer = "hello, hello, hello\n"

// A body is what backends return for a path: so many bytes.
type body struct {
	path string
	size int
}

// The bodies that are measured, and one that no socket's buffers hold, for clients that read slowly.
var (
	body16k = body{"/16k", 16 << 10}
	body1m  = body{"/1m", 1 << 20}
	endless = body{"/64m", 64 << 20}
)

// handler is the same in the net/http backend and in the worker, so that only what carries requests to it differs.
var handler = func() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.Body != http.NoBody {
			_, _ = io.Copy(io.Discard, r.Body) // a client that sends no more ends it
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, answer)
	})
	mux.HandleFunc(eventsPath, sendEvents)
	chunk := bytes.Repeat([]byte("x"), 1<<20) // never copied, however many wait with it
	for _, b := range []body{body16k, body1m, endless} {
		mux.HandleFunc(b.path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Content-Length", strconv.Itoa(b.size))
			for left := b.size; left > 0; {
				n, err := w.Write(chunk[:min(left, len(chunk))])
				if err != nil {
					return
				}
				left -= n
			}
		})
	}
	return mux
}()

// runBackend serves the bodies over HTTP until ctx ends.
func runBackend(ctx context.Context, address string) error {
	server := &http.Server{Addr: address, Handler: handler, ReadHeaderTimeout: time.Minute}
	var closing sync.WaitGroup
	defer closing.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	closing.Go(func() {
		<-ctx.Done()
		_ = server.Close()
	})
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
