// Hello is a worker that answers with its name.
//
//	go run ./examples/hello worker-1 [tcp://127.0.0.1:8000]
//
// Where routers want a token, it is taken from DIALMUX_TOKEN. A name of "" is the host's, which in a container is the container's own.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/dialmux/dialmux/worker"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: hello NAME [ROUTER...]")
		os.Exit(2)
	}
	name := os.Args[1]
	if name == "" {
		name, _ = os.Hostname()
	}
	w := worker.Worker{
		Name:    name,
		Routers: os.Args[2:], // none: worker.DefaultRouter
		Token:   os.Getenv("DIALMUX_TOKEN"),
		Logger:  slog.Default(),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprintf(w, "Hello from %s\n", name) //nolint:gosec // the name is the operator's, and the type is text/plain
		}),
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := w.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "hello:", err)
		os.Exit(1)
	}
}
