package worker

import (
	"io"
	"net/http"
	"testing"

	"github.com/dialmux/dialmux/frame"
)

// benchGET is what a router makes of a small GET.
func benchGET() frame.Fields {
	return requestFields("GET", "/", "user-agent", "bench/1.0", "accept", "*/*",
		"x-forwarded-for", "127.0.0.1", "x-forwarded-proto", "http", "x-forwarded-host", "example.com")
}

// benchHandler reads the body, if there is one, and answers with 20 bytes.
func benchHandler(w http.ResponseWriter, r *http.Request) {
	if r.Body != http.NoBody {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, "hello, hello, hello\n")
}

// BenchmarkGET is a request as routers send it and a 20-byte answer, 64 at a time over loopback TCP. Time is that of both
// ends; the router's allocates nothing, so allocations are the worker's.
func BenchmarkGET(b *testing.B) { benchmark(b, benchGET(), nil) }

// BenchmarkPOST has a body of 1 KiB that the handler reads.
func BenchmarkPOST(b *testing.B) {
	benchmark(b, requestFields("POST", "/", "content-length", "1024"), make([]byte, 1024))
}

func benchmark(b *testing.B, fields frame.Fields, payload []byte) {
	l := startLoad(b, Worker{Handler: http.HandlerFunc(benchHandler)})
	b.ReportAllocs()
	b.ResetTimer()
	if err := l.run(b.N, fields, payload, 1); err != nil {
		b.Error(err)
	}
	b.StopTimer()
}
