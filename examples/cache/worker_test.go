package main

import (
	"container/list"
	"net/http"
	"net/http/httptest"
	"testing"
)

func newCache(capacity int, origin func(key string) string) *cache {
	return &cache{name: "c", capacity: capacity, origin: origin, items: map[string]*list.Element{}}
}

// ask returns what the answer says in Cache-Status.
func ask(t *testing.T, c *cache, path string) string {
	t.Helper()
	rec := httptest.NewRecorder()
	c.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
	if got := rec.Body.String(); got != answer(path) {
		t.Errorf("GET %s: %q, want %q", path, got, answer(path))
	}
	return rec.Header().Get("Cache-Status")
}

func TestCacheForgetsWhatWasAskedForTheLongestAgo(t *testing.T) {
	c := newCache(2, answer)
	const hit, miss = "c; hit", "c; fwd=miss; stored"
	for _, want := range [][2]string{
		{"/a", miss}, {"/b", miss}, {"/a", hit}, {"/c", miss}, // and /b is forgotten
		{"/a", hit}, {"/c", hit}, {"/b", miss}, {"/a", miss},
	} {
		if got := ask(t, c, want[0]); got != want[1] {
			t.Errorf("GET %s: Cache-Status is %q, want %q", want[0], got, want[1])
		}
	}
}

func TestThoseWhoAskWhileTheOriginThinksGetTheSameAnswer(t *testing.T) {
	asked := 0
	c := newCache(1, func(key string) string {
		asked++
		return answer(key)
	})
	first, _ := c.find("/a")
	second, hit := c.find("/a")
	if !hit || first.value() != answer("/a") || second.value() != answer("/a") || asked != 1 {
		t.Errorf("the second who asked had a hit: %v; the origin was asked %d times, want 1", hit, asked)
	}
}
