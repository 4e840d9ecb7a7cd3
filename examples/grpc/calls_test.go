package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/dialmux/dialmux/router"
	"github.com/dialmux/dialmux/worker"
)

// service is a test service of which a test says what it needs.
type service struct {
	grpc_testing.UnimplementedTestServiceServer
	unary  func(ctx context.Context) error
	duplex func(grpc.BidiStreamingServer[request, response]) error
}

type (
	request  = grpc_testing.StreamingOutputCallRequest
	response = grpc_testing.StreamingOutputCallResponse
)

func (s *service) UnaryCall(ctx context.Context, _ *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
	return &grpc_testing.SimpleResponse{}, s.unary(ctx)
}

func (s *service) FullDuplexCall(stream grpc.BidiStreamingServer[request, response]) error {
	return s.duplex(stream)
}

// worker serves s alone.
func (s *service) worker() worker.Worker {
	server := grpc.NewServer()
	grpc_testing.RegisterTestServiceServer(server, s)
	return worker.Worker{Name: "service", Handler: server}
}

// client runs s behind a router.
func (s *service) client(t *testing.T) grpc_testing.TestServiceClient {
	t.Helper()
	r := startRouter(t, patient, router.Port{})
	r.startWorker(s.worker())
	return grpc_testing.NewTestServiceClient(r.dial())
}

func unary(ctx context.Context, c grpc_testing.TestServiceClient, opts ...grpc.CallOption) error {
	_, err := c.UnaryCall(ctx, &grpc_testing.SimpleRequest{}, opts...)
	return err
}

func duplex(ctx context.Context, t *testing.T, c grpc_testing.TestServiceClient) grpc.BidiStreamingClient[request, response] {
	t.Helper()
	stream, err := c.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func send(t *testing.T, stream interface{ Send(*request) error }) {
	t.Helper()
	if err := stream.Send(&request{ResponseParameters: []*grpc_testing.ResponseParameters{{Size: 1}}}); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, stream interface{ Recv() (*response, error) }) {
	t.Helper()
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
}

// wantCode wants err to be of one code, and to tell why.
func wantCode(t *testing.T, err error, code codes.Code, why string) {
	t.Helper()
	if status.Code(err) != code || !strings.Contains(status.Convert(err).Message(), why) {
		t.Errorf("got %v, want %v with %q", err, code, why)
	}
}

// The worker's handler has the client's deadline, as time that is left.
func TestDeadline(t *testing.T) {
	left := make(chan time.Duration, 64)
	ended := make(chan error, 64)
	c := (&service{unary: func(ctx context.Context) error {
		deadline, ok := ctx.Deadline()
		if !ok {
			left <- 0
			return nil
		}
		left <- time.Until(deadline)
		if time.Until(deadline) < time.Minute {
			<-ctx.Done()
			ended <- ctx.Err()
		}
		return ctx.Err()
	}}).client(t)

	if err := unary(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if d := <-left; d != 0 {
		t.Errorf("no deadline, and the handler has %v left", d)
	}

	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	if err := unary(ctx, c); err != nil {
		t.Fatal(err)
	}
	if d := <-left; d <= time.Minute || d > time.Hour {
		t.Fatalf("a deadline in an hour, and the handler has %v left", d)
	}

	for limit := 100 * time.Millisecond; len(left) == 0; limit *= 2 { // until there is enough of it left for the handler to be called
		ctx, cancel = context.WithTimeout(t.Context(), limit)
		defer cancel()
		wantCode(t, unary(ctx, c), codes.DeadlineExceeded, "")
	}
	if err := <-ended; !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) { // its own clock, or the client's reset
		t.Errorf("the handler's context ended by %v", err)
	}
}

// A client that cancels ends the handler's context.
func TestCancel(t *testing.T) {
	ended := make(chan error, 1)
	c := (&service{duplex: func(stream grpc.BidiStreamingServer[request, response]) error {
		if err := stream.Send(&response{}); err != nil {
			return err
		}
		<-stream.Context().Done()
		ended <- stream.Context().Err()
		return nil
	}}).client(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream := duplex(ctx, t, c)
	receive(t, stream)
	cancel()
	_, err := stream.Recv()
	wantCode(t, err, codes.Canceled, "")
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the handler's context ended by %v", err)
	}
}

// Metadata goes both ways as it is: in order, several values to a name, and any bytes in those whose names end in -bin.
func TestH8Metadata(t *testing.T) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	names := []string{"x-plain", "x-empty", "x-any-bin", "x-comma-bin"}
	sent := metadata.MD{
		"x-plain":     {"one", "two, three", "one"},
		"x-empty":     {""},
		"x-any-bin":   {string(every), "", "\x00"},
		"x-comma-bin": {","},
	}
	check := func(what string, got metadata.MD) {
		for _, name := range names {
			if !slices.Equal(got[name], sent[name]) {
				t.Errorf("%s: %s is %q, want %q", what, name, got[name], sent[name])
			}
		}
	}
	arrived := make(chan metadata.MD, 1)
	c := (&service{unary: func(ctx context.Context) error {
		md, _ := metadata.FromIncomingContext(ctx)
		arrived <- md
		return errors.Join(grpc.SetHeader(ctx, sent), grpc.SetTrailer(ctx, sent))
	}}).client(t)
	var header, trailer metadata.MD
	if err := unary(metadata.NewOutgoingContext(t.Context(), sent), c, grpc.Header(&header), grpc.Trailer(&trailer)); err != nil {
		t.Fatal(err)
	}
	check("the request's", <-arrived)
	check("the header's", header)
	check("the trailer's", trailer)
}

// A status that comes instead of an answer stands in its only HEADERS. Clients do not look for it there if the stream goes on.
func TestH8TrailersOnly(t *testing.T) {
	r := startRouter(t, patient, router.Port{})
	r.startWorker(worker.Worker{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Grpc-Status", "5")
		w.Header().Set("Grpc-Message", "no such thing")
		w.Header().Set("X-Reason", "eaten")
	})})
	stream := duplex(t.Context(), t, grpc_testing.NewTestServiceClient(r.dial()))
	_, err := stream.Recv()
	wantCode(t, err, codes.NotFound, "no such thing")
	if md := stream.Trailer(); !slices.Equal(md["x-reason"], []string{"eaten"}) {
		t.Errorf("its metadata is %v, want x-reason there", md)
	}
}

// Each way is its own: the worker answers before the client ends, and goes on after it has.
func TestHalfClose(t *testing.T) {
	c := (&service{duplex: func(stream grpc.BidiStreamingServer[request, response]) error {
		if err := stream.Send(&response{}); err != nil {
			return err
		}
		for {
			switch _, err := stream.Recv(); {
			case errors.Is(err, io.EOF):
				return stream.Send(&response{})
			case err != nil:
				return err
			}
		}
	}}).client(t)
	stream := duplex(t.Context(), t, c)
	receive(t, stream)
	send(t, stream)
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	receive(t, stream)
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ends by %v", err)
	}
}

// A stream on which the client has nothing to say for long is no upload that has stalled.
// A client measures the connection by PINGs, one after the other for as long as
// messages come: that is no flood.
func TestManySmallMessages(t *testing.T) {
	c := (&service{duplex: func(stream grpc.BidiStreamingServer[request, response]) error {
		for {
			switch _, err := stream.Recv(); {
			case errors.Is(err, io.EOF):
				return nil
			case err != nil:
				return err
			}
			if err := stream.Send(&response{}); err != nil {
				return err
			}
		}
	}}).client(t)
	stream := duplex(t.Context(), t, c)
	for range 10_000 {
		send(t, stream)
		receive(t, stream)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ends by %v", err)
	}
}

func TestQuietClient(t *testing.T) {
	const patience = 50 * time.Millisecond
	r := startRouter(t, patient, router.Port{BodyTimeout: patience})
	r.startWorker((&service{duplex: func(stream grpc.BidiStreamingServer[request, response]) error {
		for range 2 { // before the answer has begun, and then
			time.Sleep(2 * patience) // the silence that is tested: on a slow machine it is longer, and no less allowed
			if err := stream.Send(&response{}); err != nil {
				return err
			}
		}
		if _, err := stream.Recv(); err != nil {
			return err
		}
		return stream.Send(&response{})
	}}).worker())
	stream := duplex(t.Context(), t, grpc_testing.NewTestServiceClient(r.dial()))
	receive(t, stream)
	receive(t, stream)
	send(t, stream)
	receive(t, stream)
}

// A call that nobody can answer is UNAVAILABLE, and does not hang.
func TestNoWorker(t *testing.T) {
	r := startRouter(t, router.Config{QueueLimit: -1}, router.Port{})
	wantCode(t, unary(t.Context(), grpc_testing.NewTestServiceClient(r.dial())), codes.Unavailable, "503")
}

func TestWorkerDiesBeforeItAnswers(t *testing.T) {
	r := startRouter(t, patient, router.Port{})
	begun, ended := make(chan struct{}), make(chan struct{})
	conns := r.startWorker((&service{unary: func(ctx context.Context) error {
		close(begun) // a second time is a panic: no call is made again that has begun
		<-ctx.Done()
		close(ended)
		return nil
	}}).worker())
	ctx, over := context.WithCancel(t.Context())
	var cut sync.WaitGroup
	cut.Go(func() {
		select {
		case <-begun:
			_ = (<-conns).Close()
			<-ended
		case <-ctx.Done(): // the call went nowhere
		}
	})
	wantCode(t, unary(t.Context(), grpc_testing.NewTestServiceClient(r.dial())), codes.Unavailable, "502")
	over()
	cut.Wait()
}

// An answer that breaks off is reset: INTERNAL, to gRPC.
func TestWorkerIsKilledMidway(t *testing.T) {
	r := startRouter(t, patient, router.Port{})
	kill := r.startExample()
	stream := duplex(t.Context(), t, grpc_testing.NewTestServiceClient(r.dial()))
	send(t, stream)
	receive(t, stream)
	kill()
	_, err := stream.Recv()
	wantCode(t, err, codes.Internal, "RST_STREAM")
}
