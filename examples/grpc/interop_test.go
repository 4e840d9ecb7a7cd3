package main

import (
	"context"
	"testing"

	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // for the compressed case, at both ends
	"google.golang.org/grpc/interop"
	"google.golang.org/grpc/interop/grpc_testing"

	"github.com/dialmux/dialmux/router"
)

// The cases of gRPC's own interop client that need no account at Google, by the names that its -test_case knows.
func TestInterop(t *testing.T) {
	for name, start := range map[string]func(t *testing.T) *running{
		"in the clear": func(t *testing.T) *running {
			r := startRouter(t, patient, router.Port{})
			r.startExample()
			return r
		},
		"over TLS": func(t *testing.T) *running {
			r := startTLSRouter(t)
			r.startExample()
			return r
		},
		"a server behind a sidecar": func(t *testing.T) *running {
			r := startRouter(t, patient, router.Port{})
			r.startBehindSidecar(interop.NewTestServer())
			return r
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			cc := r.dial()
			for _, tc := range cases {
				t.Run(tc.name, func(t *testing.T) {
					defer complains(t)
					tc.do(t.Context(), cc)
				})
			}
		})
	}
}

var cases = []struct {
	name string
	do   func(ctx context.Context, cc *grpc.ClientConn)
}{
	{"empty_unary", method(interop.DoEmptyUnaryCall)},
	{"large_unary", method(interop.DoLargeUnaryCall)},
	{"large_unary, compressed", method(interop.DoLargeUnaryCall, grpc.UseCompressor("gzip"))},
	{"client_streaming", method(interop.DoClientStreaming)},
	{"server_streaming", method(interop.DoServerStreaming)},
	{"ping_pong", method(interop.DoPingPong)},
	{"empty_stream", method(interop.DoEmptyStream)},
	{"timeout_on_sleeping_server", method(interop.DoTimeoutOnSleepingServer)},
	{"cancel_after_begin", method(interop.DoCancelAfterBegin)},
	{"cancel_after_first_response", method(interop.DoCancelAfterFirstResponse)},
	{"custom_metadata", method(interop.DoCustomMetadata)},
	{"status_code_and_message", method(interop.DoStatusCodeAndMessage)},
	{"special_status_message", method(interop.DoSpecialStatusMessage)},
	{"unimplemented_method", interop.DoUnimplementedMethod},
	{"unimplemented_service", func(ctx context.Context, cc *grpc.ClientConn) {
		interop.DoUnimplementedService(ctx, grpc_testing.NewUnimplementedServiceClient(cc))
	}},
}

// method is a case that calls the test service.
func method(do func(context.Context, grpc_testing.TestServiceClient, ...grpc.CallOption), opts ...grpc.CallOption) func(context.Context, *grpc.ClientConn) {
	return func(ctx context.Context, cc *grpc.ClientConn) {
		do(ctx, grpc_testing.NewTestServiceClient(cc), opts...)
	}
}
