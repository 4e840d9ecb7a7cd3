package router_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode"

	"github.com/dialmux/dialmux/frame"
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

// What a worker says of itself must not act on the terminal of who asks with curl.
func TestO3AdminEscapes(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		const hostile = "a\x1b[2J\r\nb\u009b2J\u202e\x7f\U000e0001"
		k := w.native("w1")
		k.join(4, func(j *frame.JoinInfo) { j.AppVersion, j.Zone = hostile, hostile })
		w.settle()
		code, body := adminGet(t, w, "/workers")
		if i := strings.IndexFunc(body, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); code != 200 || i >= 0 {
			t.Errorf("%d %q", code, body)
		}
		var all []router.WorkerStatus
		if err := json.Unmarshal([]byte(body), &all); err != nil || len(all) != 1 || all[0].AppVersion != hostile || all[0].Zone != hostile {
			t.Errorf("%v %+v", err, all)
		}
	})
}
