package worker

import (
	"encoding/hex"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// FuzzLink lets a router say anything, in messages that are cut from the input: two bytes of length, then the head; a payload
// if the length's high bit is set, of as many bytes. Whatever comes, each stream gets at most one last frame, everything the
// worker started ends, and it serves the next router.
func FuzzLink(f *testing.F) {
	seed := func(messages ...[]byte) {
		var in []byte
		for _, m := range messages {
			in = append(append(in, byte(len(m)>>8), byte(len(m))), m...)
		}
		f.Add(in)
	}
	get := frame.AppendHeaders(nil, 1, requestFields("GET", "/a?b", "x", "y"), true, 0)
	post := frame.AppendHeaders(nil, 2, requestFields("POST", "/echo", "expect", "100-continue"), false, 0)
	seed(get)
	seed(post, frame.AppendData(nil, 2, true, 0))
	seed(frame.AppendHeaders(nil, 3, requestFields("POST", "/echo"), false, 0), dataHead(3), frame.AppendHeaders(nil, 3, fieldsOf("a", "b"), true, 0))
	seed(post, frame.AppendRSTStream(nil, 2, 8, "gone"), frame.AppendWindowUpdate(nil, 2, 1<<50))
	seed(frame.AppendHeaders(nil, 4, requestFields("GET", "/big"), true, 0), frame.AppendWindowUpdate(nil, 4, 5000))
	seed(frame.AppendGoAway(nil, 1, 0, "bye"), frame.AppendGoAway(nil, 1, 2, "bad"), get)
	seed(get, frame.AppendWelcome(nil, frame.WelcomeInfo{Protocol: 1, Connection: 9}), get)
	seed(frame.AppendWelcome(nil, frame.WelcomeInfo{Protocol: 1, Connection: 9, Limits: frame.Limits{Head: 1, Payload: 1}, Windows: frame.Windows{Request: 1, Response: 1}}), get, post)
	seed(unknownFrame, frame.AppendOwn(nil, frame.OwnInfo{Epoch: 1, Partitions: []uint64{1}}), get)
	upgrade := frame.AppendHeaders(nil, 5, requestFields("GET", "/hijack", ":protocol", "websocket"), false, 0)
	seed(upgrade, dataHead(5), frame.AppendWindowUpdate(nil, 5, 9), frame.AppendData(nil, 5, true, 0))
	seed(upgrade, frame.AppendRSTStream(nil, 5, 8, "gone"), frame.AppendWelcome(nil, frame.WelcomeInfo{Protocol: 1, Connection: 9}), upgrade)
	f.Add([]byte{0x80, 3, 0x93, 0, 1, 'x', 'y', 'z'})
	// What a real router sent to real workers.
	captures, err := os.ReadFile("../frame/testdata/captures.txt")
	if err != nil {
		f.Fatal(err)
	}
	sent := map[string][][]byte{}
	for line := range strings.Lines(string(captures)) {
		who, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		if head, err := hex.DecodeString(text); err == nil && strings.HasPrefix(who, "FROM-ROUTER.") {
			sent[who] = append(sent[who], head)
		}
	}
	for _, who := range slices.Sorted(maps.Keys(sent)) {
		seed(sent[who]...)
		seed(sent[who][1:]...)
	}

	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/big":
			_, _ = w.Write(make([]byte, 300<<10))
		case "/panic":
			panic("boom")
		case "/wait":
			<-r.Context().Done()
		case "/hijack":
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, switching)
			_, _ = io.Copy(c, c)
			_ = c.Close()
		default:
			_, _ = io.Copy(w, r.Body)
		}
	})
	f.Fuzz(func(t *testing.T, in []byte) {
		synctest.Test(t, func(t *testing.T) {
			r := newRouter(t)
			run := r.start(Worker{Handler: handler, Concurrency: 3})
			l := r.join()
			opened := map[uint64]int{}
			for len(in) > 2 && len(opened) < 1000 {
				n := int(in[0]&0x7f)<<8 | int(in[1])
				payload := in[0]&0x80 != 0
				in = in[2:]
				head := in[:min(n, len(in))]
				in = in[len(head):]
				parts := [][]byte{head}
				if payload {
					parts = append(parts, in[:min(n, len(in))])
					in = in[len(parts[1]):]
				}
				if frm, err := frame.Parse(head, nil); frm.Type == frame.Headers && (err != nil || opens(frm.Fields)) {
					opened[frm.Stream]++
				}
				if _, err := l.Send(0, zmtp.Ordinary, parts...); err != nil {
					break
				}
				synctest.Wait()
			}
			_ = l.Close()
			<-l.done
			for len(l.got) > 0 {
				frm := <-l.got
				if frm.Stream != 0 && (frm.End() || frm.Type == frame.RSTStream) {
					if opened[frm.Stream]--; opened[frm.Stream] < 0 {
						t.Errorf("more last frames than HEADERS: %s", show(frm))
					}
				}
			}
			l = r.join()
			l.get(1, "/")
			for l.next().Stream != 1 {
			}
			if err := run.stop(); err != nil {
				t.Error(err)
			}
			if n := run.logs.count("level=ERROR"); n > 0 && !strings.Contains(run.logs.String(), "panic") && !strings.Contains(run.logs.String(), "refuses") &&
				!strings.Contains(run.logs.String(), "gives this link up") && !strings.Contains(run.logs.String(), "answer not sent") {
				t.Errorf("log:\n%s", run.logs)
			}
		})
	})
}
