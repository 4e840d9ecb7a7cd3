package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/grpclog"
	"google.golang.org/grpc/interop/grpc_testing"

	"github.com/dialmux/dialmux/router"
	"github.com/dialmux/dialmux/worker"
	"github.com/dialmux/dialmux/worker/sidecar"
)

// asExample makes this program the example itself, so that tests can kill it.
const asExample = "DIALMUX_EXAMPLE"

func TestMain(m *testing.M) {
	if os.Getenv(asExample) != "" {
		main()
		return
	}
	grpclog.SetLoggerV2(fatal{grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard)})
	os.Exit(m.Run())
}

// fatal keeps the interop client's complaints, which are gRPC's fatal log, from
// ending the process: see complaint. Nothing else is logged.
type fatal struct{ grpclog.LoggerV2 }

func (fatal) Fatal(args ...any)                 { panic(complaint(fmt.Sprint(args...))) }
func (fatal) Fatalf(format string, args ...any) { panic(complaint(fmt.Sprintf(format, args...))) }
func (fatal) Fatalln(args ...any)               { panic(complaint(fmt.Sprintln(args...))) }

// complaint is what the interop client has against an answer.
type complaint string

// complains fails the test with the interop client's complaint; it is deferred.
func complains(t *testing.T) {
	t.Helper()
	switch fault := recover().(type) {
	case nil:
	case complaint:
		t.Error(string(fault))
	default:
		panic(fault)
	}
}

// running is a router in this process.
type running struct {
	t       *testing.T
	clients string // where clients dial
	workers string // where workers do
	log     *slog.Logger
	trust   *x509.CertPool // nil: in the clear
}

// startRouter runs a router until the test ends.
func startRouter(t *testing.T, cfg router.Config, port router.Port) *running {
	t.Helper()
	front, back := listen(t), listen(t)
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	cfg.Listeners, cfg.Logger, cfg.Drain = []net.Listener{back}, log, -1
	r, err := router.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	clients := r.Clients(port)
	ctx, stop := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	serving.Go(func() {
		if err := clients.Serve(front); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		_ = front.Close()
		stop()
		serving.Wait()
		clients.Shutdown(ctx, 0)
	})
	return &running{t: t, clients: front.Addr().String(), workers: "tcp://" + back.Addr().String(), log: log}
}

// patient lets calls wait for a worker that has just been started.
var patient = router.Config{QueueWait: time.Hour}

// startTLSRouter is startRouter with a certificate that its clients trust.
func startTLSRouter(t *testing.T) *running {
	t.Helper()
	lender := httptest.NewTLSServer(nil) // of a certificate for 127.0.0.1
	defer lender.Close()
	r := startRouter(t, patient, router.Port{TLS: &tls.Config{Certificates: lender.TLS.Certificates, MinVersion: tls.VersionTLS12}})
	r.trust = x509.NewCertPool()
	r.trust.AddCert(lender.Certificate())
	return r
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// dial is a client of the router.
func (r *running) dial() *grpc.ClientConn {
	r.t.Helper()
	creds := insecure.NewCredentials()
	if r.trust != nil {
		creds = credentials.NewClientTLSFromCert(r.trust, "")
	}
	cc, err := grpc.NewClient("passthrough:///"+r.clients, grpc.WithTransportCredentials(creds))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = cc.Close() })
	return cc
}

// startExample runs the example until the test ends, or kill is called.
func (r *running) startExample() (kill func()) {
	r.t.Helper()
	program, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	cmd := exec.Command(program, r.workers)
	cmd.Env = append(os.Environ(), asExample+"=1")
	cmd.Stdout, cmd.Stderr = r.t.Output(), r.t.Output()
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	r.t.Cleanup(kill)
	return kill
}

// startWorker runs w in this process until the test ends. Closing the connection that dialled gives cuts it off.
func (r *running) startWorker(w worker.Worker) (dialled <-chan net.Conn) {
	conns := make(chan net.Conn, 1)
	w.Routers, w.Logger, w.Grace = []string{r.workers}, r.log, -1
	w.Dial = func(ctx context.Context, _ string) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, "tcp", r.workers[len("tcp://"):])
		if err == nil {
			select {
			case conns <- nc:
			default:
			}
		}
		return nc, err
	}
	ctx, stop := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := w.Run(ctx); err != nil {
			r.t.Error(err)
		}
	})
	r.t.Cleanup(func() {
		stop()
		wait.Wait()
	})
	return conns
}

// startBehindSidecar runs a gRPC server on a port, and a worker that forwards to it, until the test ends.
func (r *running) startBehindSidecar(service grpc_testing.TestServiceServer) {
	r.t.Helper()
	server, listener := grpc.NewServer(), listen(r.t)
	grpc_testing.RegisterTestServiceServer(server, service)
	app, err := sidecar.New("h2c://"+listener.Addr().String(), sidecar.Options{Logger: r.log})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(listener); err != nil {
			r.t.Error(err)
		}
	})
	serving.Go(func() {
		if err := app.Run(ctx, worker.Worker{Name: "sidecar", Routers: []string{r.workers}, Logger: r.log, Grace: -1}); err != nil {
			r.t.Error(err)
		}
	})
	r.t.Cleanup(func() {
		stop()
		server.Stop()
		serving.Wait()
	})
}
