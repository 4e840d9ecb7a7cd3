package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestBodies(t *testing.T) {
	for path, size := range map[string]int{"/": len(answer), body16k.path: body16k.size, body1m.path: body1m.size, endless.path: endless.size} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Body.Len() != size {
			t.Errorf("%s: %d bytes, want %d", path, w.Body.Len(), size)
		}
	}
	w := httptest.NewRecorder()
	upload := strings.NewReader("all of this is read before the answer")
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", upload))
	if upload.Len() > 0 || w.Body.String() != answer {
		t.Errorf("%d bytes of the upload were left, and the answer was %q", upload.Len(), w.Body)
	}
}
