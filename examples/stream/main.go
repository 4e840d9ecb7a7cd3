// Stream is a worker that sends server-sent events for as long as the client listens.
//
//	go run ./examples/stream [-every 1s] [tcp://127.0.0.1:8000]
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/dialmux/dialmux/worker"
)

func main() {
	every := flag.Duration("every", time.Second, "time between two events")
	flag.Parse()
	w := worker.Worker{Name: "stream", Routers: flag.Args(), Handler: events(*every), Grace: time.Second, Logger: slog.Default()}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := w.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "stream:", err)
		os.Exit(1)
	}
}

func events(every time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-store")
		tick := time.NewTicker(every)
		defer tick.Stop()
		for n := 1; ; n++ {
			if _, err := fmt.Fprintf(w, "id: %d\ndata: %s\n\n", n, time.Now().Format(time.TimeOnly)); err != nil {
				return
			}
			if err := http.NewResponseController(w).Flush(); err != nil {
				return
			}
			select {
			case <-tick.C:
			case <-r.Context().Done(): // the client left, or this worker stops
				fmt.Println("stopped after", n, "events:", context.Cause(r.Context()))
				return
			}
		}
	}
}
