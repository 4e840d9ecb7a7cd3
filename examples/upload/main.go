// Upload is a worker that reads what is sent to it and says how much came, and its SHA-256, while it comes.
//
//	go run ./examples/upload [tcp://127.0.0.1:8000]
//	curl -T file localhost:9000
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/dialmux/dialmux/worker"
)

// progress is how many bytes lie between two reports.
const progress = 16 << 20

func main() {
	w := worker.Worker{Name: "upload", Routers: os.Args[1:], Handler: http.HandlerFunc(receive), Logger: slog.Default()}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := w.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "upload:", err)
		os.Exit(1)
	}
}

func receive(w http.ResponseWriter, r *http.Request) {
	hash := sha256.New()
	var total int64
	for {
		n, err := io.CopyN(hash, r.Body, progress)
		total += n
		if errors.Is(err, io.EOF) {
			_, _ = fmt.Fprintf(w, "%d bytes, sha256 %x\n", total, hash.Sum(nil))
			return
		}
		if err != nil { // the client left, or the router did: nobody to answer
			panic(http.ErrAbortHandler)
		}
		_, _ = fmt.Fprintf(w, "%d bytes so far\n", total)
		_ = http.NewResponseController(w).Flush()
	}
}
