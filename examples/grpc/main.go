// Grpc is a worker that is a gRPC server: a grpc.Server is an http.Handler, and that is all a worker needs. It serves gRPC's
// own interop test service, which any language's interop client can call through the router.
//
//	go run . [tcp://127.0.0.1:8000]
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/interop"
	"google.golang.org/grpc/interop/grpc_testing"

	"github.com/dialmux/dialmux/worker"
)

func main() {
	server := grpc.NewServer() // it listens nowhere, and needs no certificates: the router has them
	grpc_testing.RegisterTestServiceServer(server, interop.NewTestServer())
	w := worker.Worker{
		Name:    "grpc",
		Routers: os.Args[1:], // none: worker.DefaultRouter
		Logger:  slog.Default(),
		Handler: server,
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := w.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "grpc:", err)
		os.Exit(1)
	}
}
