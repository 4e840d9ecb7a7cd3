package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestO2AdminGuard(t *testing.T) {
	h := guard(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	for _, tc := range []struct {
		method, host string
		want         int
	}{
		{"GET", "127.0.0.1:9901", http.StatusNoContent},
		{"GET", "127.0.0.1", http.StatusNoContent},
		{"GET", "[::1]:9901", http.StatusNoContent},
		{"GET", "[::1]", http.StatusNoContent},
		{"GET", "10.0.0.7:9901", http.StatusNoContent},
		{"GET", "localhost:9901", http.StatusNoContent},
		{"GET", "LocalHost", http.StatusNoContent},
		{"GET", "", http.StatusNoContent},
		{"GET", "evil.example", http.StatusMisdirectedRequest},
		{"GET", "evil.example:9901", http.StatusMisdirectedRequest},
		{"GET", "localhost.evil.example", http.StatusMisdirectedRequest},
		{"GET", "127.0.0.1.evil.example:9901", http.StatusMisdirectedRequest},
		{"POST", "127.0.0.1:9901", http.StatusMethodNotAllowed},
		{"DELETE", "localhost", http.StatusMethodNotAllowed},
		{"OPTIONS", "localhost", http.StatusMethodNotAllowed},
	} {
		req := httptest.NewRequest(tc.method, "http://x/workers", http.NoBody)
		req.Host = tc.host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Code != tc.want {
			t.Errorf("%s with Host %q: %d, want %d", tc.method, tc.host, w.Code, tc.want)
		}
	}
}
