// Server is a gRPC server like any other: it listens on a port, and knows nothing of Dialmux. `dialmux worker --to h2c://127.0.0.1:50051`
// makes a worker of it. It serves what the worker beside it does.
//
//	go run ./server [127.0.0.1:50051]
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/interop"
	"google.golang.org/grpc/interop/grpc_testing"
)

func main() {
	address := "127.0.0.1:50051"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	server := grpc.NewServer()
	grpc_testing.RegisterTestServiceServer(server, interop.NewTestServer())

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listener, err := net.Listen("tcp", address)
	if err == nil {
		var stopping sync.WaitGroup
		stopping.Go(func() {
			<-ctx.Done()
			server.GracefulStop()
		})
		if err = server.Serve(listener); err == nil {
			stopping.Wait()
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}
