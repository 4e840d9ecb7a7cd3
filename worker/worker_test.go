package worker

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"
)

func TestBadFieldsAreAnErrorAtOnce(t *testing.T) {
	h := http.NotFoundHandler()
	for name, tc := range map[string]struct {
		w    Worker
		want string
	}{
		"no handler":         {Worker{}, "worker: Handler is nil: set what shall answer requests"},
		"name":               {Worker{Handler: h, Name: "a b"}, `worker: Name "a b": use 1 to 128 letters, digits, '.', '_' and '-'`},
		"long name":          {Worker{Handler: h, Name: strings.Repeat("x", 129)}, "use 1 to 128 letters"},
		"router":             {Worker{Handler: h, Routers: []string{"http://127.0.0.1:8000"}}, `"http://127.0.0.1:8000"`},
		"router twice":       {Worker{Handler: h, Routers: []string{DefaultRouter, DefaultRouter}}, `stands there twice`},
		"concurrency":        {Worker{Handler: h, Concurrency: -1}, "worker: Concurrency -1: use 1 or more, or 0 for 64"},
		"weight":             {Worker{Handler: h, Weight: -1}, "worker: Weight -1: use 1 to 100, or 0 for 1"},
		"too much weight":    {Worker{Handler: h, Weight: 101}, "worker: Weight 101: use 1 to 100, or 0 for 1"},
		"sticky":             {Worker{Handler: h, Sticky: "ipp"}, "worker: Sticky \"ipp\": want off, ip, header:NAME, cookie:NAME"},
		"balance":            {Worker{Handler: h, Balance: "fast"}, "worker: Balance \"fast\": use round-robin or least"},
		"read window":        {Worker{Handler: h, ReadWindow: -1}, "worker: ReadWindow -1: use 0 or more bytes, 0 for 262144"},
		"too much announced": {Worker{Handler: h, Paths: []string{strings.Repeat("x", 70000)}}, "at most 65536 fit: shorten it"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.w.Run(t.Context())
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %v", err)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	w, err := Worker{Handler: http.NotFoundHandler()}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if len(w.Routers) != 1 || w.Routers[0] != "tcp://127.0.0.1:8000" || w.Concurrency != 64 || w.Grace != DefaultGrace || w.ReadWindow != 256<<10 {
		t.Errorf("got %+v", w)
	}
	host, _ := os.Hostname()
	if !validName(w.Name) || !strings.HasPrefix(w.Name, strings.ReplaceAll(host, " ", "-")[:1]) {
		t.Errorf("default name %q on host %q", w.Name, host)
	}
}

func TestServeReturnsWhenContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Serve(ctx, "ipc:///nonexistent/dialmux.sock", http.NotFoundHandler()); err != nil {
		t.Error(err)
	}
}
