package worker

import (
	"io"
	"math"
	"net/http"
	"testing"

	"github.com/dialmux/dialmux/frame"
)

// What a request allocates is the exchange, the text of its fields, and http.Header's two pieces; that is what its handler may keep.
func TestAllocationsOfARequest(t *testing.T) {
	if raceDetector {
		t.Skip("NOT MEASURED: the race detector allocates on its own")
	}
	answer := []byte("hello, hello, hello\n")
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		fields  frame.Fields
		payload []byte
		want    float64
	}{
		"no answer":   {func(http.ResponseWriter, *http.Request) {}, benchGET(), nil, 4},
		"answer":      {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(answer) }, benchGET(), nil, 4},
		"WriteString": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }, benchGET(), nil, 4},
		"two frames": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(answer)
			w.(http.Flusher).Flush()
			_, _ = w.Write(answer)
		}, benchGET(), nil, 4},
		"a field of its own": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain") // a map, what it holds, a slice
			_, _ = w.Write(answer)
		}, benchGET(), nil, 4 + 3},
		"the context's error": {func(w http.ResponseWriter, r *http.Request) {
			if r.Context().Err() == nil {
				_, _ = w.Write(answer)
			}
		}, benchGET(), nil, 4},
		"no fields": {func(http.ResponseWriter, *http.Request) {}, requestFields("GET", "/a/b?c=d"), nil, 3},
		"body": {func(_ http.ResponseWriter, r *http.Request) {
			var buf [512]byte
			for err := error(nil); err == nil; _, err = r.Body.Read(buf[:]) {
			}
		}, requestFields("POST", "/", "content-length", "1024"), make([]byte, 1024), 4 + 3}, // Trailer, what was received, buf
	} {
		t.Run(name, func(t *testing.T) {
			const requests = 512
			l := startLoad(t, Worker{Handler: tc.handler})
			got := testing.AllocsPerRun(20, func() {
				if err := l.run(requests, tc.fields, tc.payload, 1); err != nil {
					t.Error(err)
				}
			}) / requests
			if math.Round(got) != tc.want {
				t.Errorf("%.2f allocations a request, want %v", got, tc.want)
			}
		})
	}
}

// A body costs the same few allocations in however many frames it comes and goes.
func TestFramesAllocateNothing(t *testing.T) {
	if raceDetector {
		t.Skip("NOT MEASURED: the race detector allocates on its own")
	}
	const frames = 2000
	chunk := make([]byte, 1024)
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		frames  int
	}{
		"request": {func(_ http.ResponseWriter, r *http.Request) {
			if n, err := io.Copy(io.Discard, r.Body); n != frames*1024 || err != nil {
				panic(err)
			}
		}, frames},
		"response": {func(w http.ResponseWriter, _ *http.Request) {
			for range frames {
				_, _ = w.Write(chunk)
				w.(http.Flusher).Flush()
			}
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			l := startLoad(t, Worker{Handler: tc.handler})
			fields := requestFields("POST", "/")
			got := testing.AllocsPerRun(5, func() {
				if err := l.run(1, fields, chunk, tc.frames); err != nil {
					t.Error(err)
				}
			})
			if got > frames/20 {
				t.Errorf("%v allocations for %d frames", got, frames)
			}
		})
	}
}
