package interop

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dialmux/dialmux/worker"
)

// startWorker runs a Go worker, in a process of its own.
func startWorker(t testing.TB, name string, flags []string, endpoints ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-name", name}, flags...)
	return start(t, name, []string{roleVariable + "=worker"}, self, append(args, endpoints...)...)
}

func workerMain(args []string) int {
	w := worker.Worker{Handler: handler(), Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	flags := flag.NewFlagSet("worker", flag.ExitOnError)
	flags.StringVar(&w.Name, "name", "", "")
	flags.StringVar(&w.Token, "token", "", "")
	flags.IntVar(&w.Concurrency, "concurrency", 0, "")
	_ = flags.Parse(args) // exits on error
	w.Routers = flags.Args()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := w.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// handler is what the Go worker serves. See content_test.go for the answers.
func handler() http.Handler {
	var bodies, poured atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/nonce", func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(proof(r.FormValue("n")))
	})
	mux.HandleFunc("/late", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(300 * time.Millisecond)
		_, _ = w.Write(proof(r.FormValue("n")))
	})
	mux.HandleFunc("/long", func(w http.ResponseWriter, r *http.Request) {
		for i := range longLines {
			_, _ = w.Write(longLine(r.FormValue("n"), i))
			_ = http.NewResponseController(w).Flush()
			time.Sleep(5 * time.Millisecond)
		}
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(w, r.Body); err != nil {
			panic(http.ErrAbortHandler)
		}
	})
	// The hash of the body; /bodies says how many have begun.
	mux.HandleFunc("/hash", func(w http.ResponseWriter, r *http.Request) {
		h, buf := sha256.New(), make([]byte, 8<<10)
		n, err := r.Body.Read(buf)
		bodies.Add(1)
		h.Write(buf[:n])
		if err == nil {
			_, err = io.CopyBuffer(h, r.Body, buf)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, hex.EncodeToString(h.Sum(nil)))
	})
	mux.HandleFunc("/bodies", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, bodies.Load()) })
	// "first" when the first byte has come, and the length and checksum in the end.
	mux.HandleFunc("/sink", func(w http.ResponseWriter, r *http.Request) {
		buf, total, sum := make([]byte, 64<<10), 0, uint32(0)
		for {
			n, err := r.Body.Read(buf)
			if total == 0 && n > 0 {
				_, _ = io.WriteString(w, "first\n")
				_ = http.NewResponseController(w).Flush()
			}
			total += n
			sum = crc32.Update(sum, castagnoli, buf[:n])
			if err != nil {
				break
			}
		}
		_, _ = fmt.Fprintf(w, "%d %08x\n", total, sum)
	})
	// n blocks of a flood; /poured says how many bytes of all have been taken.
	mux.HandleFunc("/source", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.FormValue("n"))
		f := newFlood()
		for range n {
			for b := f.next(); len(b) > 0; b = b[64<<10:] {
				if _, err := w.Write(b[:64<<10]); err != nil {
					return
				}
				poured.Add(64 << 10)
			}
		}
	})
	mux.HandleFunc("/poured", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, poured.Load()) })
	// Waits for the client to leave.
	mux.HandleFunc("/wait", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/panic", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("begun") != "" {
			_ = http.NewResponseController(w).Flush()
			time.Sleep(20 * time.Millisecond) // or the router may find the reset in the same read
		}
		panic(r.FormValue("n"))
	})
	mux.HandleFunc("/set-cookie", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "session="+r.FormValue("v"))
	})
	mux.HandleFunc("/coder", coderEcho)
	mux.HandleFunc("/gorilla", gorillaEcho)
	// What must not be carried out twice is noted.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			fmt.Println("POST", r.URL.RawQuery)
		}
		mux.ServeHTTP(w, r)
	})
}
