package router_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/dialmux/dialmux/router"
)

func adminGet(t *testing.T, w *world, path string) (code int, body string) {
	t.Helper()
	rec := httptest.NewRecorder()
	w.r.Admin().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
	return rec.Code, rec.Body.String()
}

func TestAdmin(t *testing.T) {
	story(t, router.Config{Token: "secret"}, func(w *world) {
		wants := func(path string, code int, words ...string) {
			t.Helper()
			gotCode, body := adminGet(t, w, path)
			if gotCode != code || !json.Valid([]byte(body)) {
				t.Errorf("%s: %d %s", path, gotCode, body)
			}
			for _, word := range words {
				if !strings.Contains(body, word) {
					t.Errorf("%s lacks %s: %s", path, word, body)
				}
			}
			if strings.Contains(body, "secret") {
				t.Errorf("%s shows the token", path)
			}
		}
		wants("/healthz", 200, `"ok"`)
		wants("/readyz", 503, "no worker")
		wants("/workers", 200, "[]")
		wants("/streams", 200, `"streams": []`)
		wants("/runtime", 200, `"goroutines": `, `"heap_live_bytes": `)

		k := w.native("w1")
		k.join(4, withToken("secret"))
		w.settle()
		wants("/readyz", 200, `"workers": 1`)
		wants("/workers", 200, `"w1"`, `"DEALER"`, `"ready"`, `"concurrency": 4`)
		p := w.get("/a/path?token=secret")
		c := k.request()
		wants("/streams", 200, `"/a/path"`, `"sent"`, `"w1"`, `"open": 1`)
		c.head(200)
		p.head()
		wants("/streams", 200, `"begun"`)
		c.end()
		p.wants(200, "")
		wants("/streams", 200, `"open": 0`)

		w.r.Drain()
		wants("/readyz", 503, "draining")
		wants("/healthz", 200)
		if code, _ := adminGet(t, w, "/nonsense"); code != 404 {
			t.Errorf("/nonsense: %d", code)
		}
	})
}
