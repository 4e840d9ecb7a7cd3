// App is an HTTP server like any other: it listens on a port, and knows nothing of Dialmux. `dialmux worker --to http://127.0.0.1:3000`
// makes a worker of it.
//
//	go run ./examples/app [127.0.0.1:3000]
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

func main() {
	address := "127.0.0.1:3000"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	app := http.Server{
		Addr:              address,
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprintf(w, "Hello from an app, which was asked for %q on %q\n", r.URL.Path, r.Host) //nolint:gosec // the type is text/plain
		}),
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var stopping sync.WaitGroup
	stopping.Go(func() {
		<-ctx.Done()
		_ = app.Shutdown(context.Background())
	})
	if err := app.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, "app:", err)
		os.Exit(1)
	}
	stopping.Wait()
}
