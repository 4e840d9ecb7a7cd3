package worker

import (
	"net/http"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/dialmux/dialmux/frame"
)

// A frame that is malformed and says which stream it is about costs that
// stream; the others of the connection go on.
func TestMalformedFramesAreResets(t *testing.T) {
	encoded := func(v ...any) []byte {
		b, err := msgpack.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var long frame.Fields
	long.Add(":method", strings.Repeat("x", frame.MaxHead))
	for name, tc := range map[string]struct {
		head   []byte
		opens  bool // stream 3; else it is about stream 1, which runs
		reason string
	}{
		"HEADERS with a number":     {encoded(1, 3, 1, []any{":method", 1}, 0), true, `PROTOCOL_ERROR`},
		"HEADERS with an odd list":  {encoded(1, 3, 1, []any{":method"}, 0), true, `PROTOCOL_ERROR`},
		"HEADERS without fields":    {encoded(1, 3, 0), true, `FRAME_SIZE_ERROR`},
		"HEADERS, more behind":      {append(encoded(1, 3, 0, []any{}), 0xc0), true, `FRAME_SIZE_ERROR`},
		"HEADERS over 64 KiB":       {frame.AppendHeaders(nil, 3, long, true, 0), true, `FRAME_SIZE_ERROR`},
		"DATA without its total":    {encoded(0, 1, 1), false, `FRAME_SIZE_ERROR`},
		"trailers with a number":    {encoded(1, 1, 1, []any{"x", 1}, 0), false, `PROTOCOL_ERROR`},
		"credit below 0":            {encoded(8, 1, 0, -1), false, `PROTOCOL_ERROR`},
		"RST_STREAM without reason": {encoded(3, 1, 0, 8), false, `FRAME_SIZE_ERROR`},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				release := make(chan struct{})
				_, l := serve(t, func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/runs" {
						<-r.Context().Done()
						return
					}
					<-release
					w.WriteHeader(http.StatusNoContent)
				})
				l.post(1, "/runs")
				l.get(2, "/other")
				l.send(tc.head, nil)
				f := l.next()
				want := uint64(1)
				if tc.opens {
					want = 3
				}
				if f.Type != frame.RSTStream || f.Stream != want || f.Code.String() != tc.reason {
					t.Fatalf("got %s, want RST_STREAM %d %s", show(f), want, tc.reason)
				}
				l.wantQuiet()
				close(release)
				l.want(`HEADERS 2 [:status: 204] END 0`)
				if tc.opens {
					l.cancel(1)
					l.next()
				}
			})
		})
	}
}
