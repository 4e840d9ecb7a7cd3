package router_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/router"
)

// repHead is the head of a REP's reply.
func repHead(status int, pairs ...string) string {
	list := [][]string{}
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, pairs[i:i+2])
	}
	b, err := msgpack.Marshal(map[string]any{"status": status, "headers": list})
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestAREPGetsTheWholeRequest(t *testing.T) {
	story(t, router.Config{HideWorker: true}, func(w *world) {
		k := w.rep(zmtp.Options{User: "shop/greeter"})
		r, body := io.Pipe()
		p := w.send("POST", "/a?b=c", r)
		for _, piece := range []string{"in ", "three ", "pieces"} {
			_, _ = io.WriteString(body, piece)
			k.silent()
		}
		_ = body.Close()
		j := k.task()
		if j.body != "in three pieces" {
			t.Errorf("body %q", j.body)
		}
		var head struct {
			Method    string     `msgpack:"method"`
			Scheme    string     `msgpack:"scheme"`
			Authority string     `msgpack:"authority"`
			Path      string     `msgpack:"path"`
			Headers   [][]string `msgpack:"headers"`
		}
		if err := msgpack.Unmarshal(j.head, &head); err != nil {
			t.Fatal(err)
		}
		if head.Method != http.MethodPost || head.Scheme != "http" || head.Authority != "example.com" || head.Path != "/a?b=c" {
			t.Errorf("head %+v", head)
		}
		if !slices.ContainsFunc(head.Headers, func(h []string) bool { return reflect.DeepEqual(h, []string{"x-forwarded-proto", "http"}) }) {
			t.Errorf("headers %v", head.Headers)
		}
		j.reply(repHead(201, "Content-Type", "text/x", "set-cookie", "a=1", "set-cookie", "b=2"), "made")
		resp := p.wants(201, "made")
		if resp.Header.Get("Content-Type") != "text/x" || len(resp.Header["Set-Cookie"]) != 2 || resp.Header["Dialmux-Worker"] != nil || resp.ContentLength != 4 {
			t.Errorf("the client got %v", resp.Header)
		}
	})
}

// W6, W7
func TestAREPsReplyWithAnotherTag(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.rep(zmtp.Options{})
		p := w.get("/")
		j := k.task()
		wrong := bytes.Clone(j.tag)
		for i := range wrong {
			wrong[i] ^= 1
			k.send(wrong, nil, nil, []byte("forged"))
			wrong[i] ^= 1
		}
		k.send(j.tag[:15], nil, nil, []byte("forged"))
		k.send([]byte("forged"))
		w.settle()
		if table := w.r.Streams(); table.Dropped != 18 || table.Open != 1 {
			t.Errorf("/streams: %+v", table)
		}
		other := w.get("/2") // it stays busy until its own has come
		if !p.waiting() || !other.waiting() {
			t.Fatal("answered")
		}
		j.reply("", "true")
		p.wants(200, "true")
		second := k.task()
		j.reply("", "again") // late
		second.reply("", "2")
		other.wants(200, "2")
	})
}

func TestAREPThatOutlivesItsConnection(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		a := w.rep(zmtp.Options{})
		p := w.get("/")
		old := a.task()
		a.die()
		b := w.rep(zmtp.Options{}) // libzmq delivers the reply on its next connection
		b.send(old.tag, nil, nil, []byte("of old"))
		j := b.task()
		if bytes.Equal(j.tag[:8], old.tag[:8]) {
			t.Error("two connections have one key")
		}
		j.reply("", "new")
		p.wants(200, "new")
	})
}

func TestAREPsWrongReplyIs502(t *testing.T) {
	for name, send := range map[string]func(j *task){
		"no body":          func(j *task) { j.send(j.tag, nil, nil) },
		"tag only":         func(j *task) { j.send(j.tag) },
		"three parts":      func(j *task) { j.send(j.tag, nil, nil, nil, nil) },
		"no empty part":    func(j *task) { j.send(j.tag, []byte("x"), nil, nil) },
		"junk head":        func(j *task) { j.reply("junk", "") },
		"status 101":       func(j *task) { j.reply(repHead(101), "") },
		"status 600":       func(j *task) { j.reply(repHead(600), "") },
		"status 0":         func(j *task) { j.reply(repHead(0), "") },
		"CR LF":            func(j *task) { j.reply(repHead(200, "x", "a\r\nb: c"), "") },
		"a pseudo field":   func(j *task) { j.reply(repHead(200, ":status", "200"), "") },
		"two lengths":      func(j *task) { j.reply(repHead(200, "content-length", "1", "content-length", "2"), "x") },
		"more than a head": func(j *task) { j.reply(repHead(200, "x", strings.Repeat("x", 70000)), "") },
	} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				k := w.rep(zmtp.Options{})
				p := w.send("PUT", "/", nil)
				send(k.task())
				p.wants(502, "")
				p = w.get("/next")
				k.task().reply("", "served")
				p.wants(200, "served")
			})
		})
	}
}

func TestAREPsReplyOf8MiB(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		a := w.rep(zmtp.Options{})
		p := w.get("/")
		a.task().reply("", strings.Repeat("x", router.MaxGather))
		if _, body := p.whole(); len(body) != router.MaxGather {
			t.Errorf("%d bytes came", len(body))
		}
		b := w.rep(zmtp.Options{})
		p = w.get("/")
		a.task().reply("", strings.Repeat("x", router.MaxGather+1))
		p.wants(502, "")
		a.gone()
		b.silent() // it would be as large there
	})
}

// A slow upload does not hold the REP up.
func TestASlowUploadDoesNotHoldAREP(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.rep(zmtp.Options{})
		r, body := io.Pipe()
		slow := w.send("POST", "/slow", r)
		_, _ = io.WriteString(body, "slow")
		w.settle()
		for range 3 {
			p := w.get("/")
			k.task().reply("", "swift")
			p.wants(200, "swift")
		}
		for range 3 { // longer than anything waits for a worker
			time.Sleep(20 * time.Second)
			_, _ = io.WriteString(body, ".")
		}
		busy := w.get("/busy")
		j := k.task()
		_ = body.Close()
		if !slow.waiting() {
			t.Fatal("answered though the REP is busy")
		}
		j.reply("", "")
		busy.wants(200, "")
		if j = k.task(); j.body != "slow..." {
			t.Errorf("body %q", j.body)
		}
		j.reply("", "at last")
		slow.wants(200, "at last")
	})
}

func TestBodiesForREPs(t *testing.T) {
	known := func(n int) io.Reader { return strings.NewReader(strings.Repeat("x", n)) }
	unknown := func(n int) io.Reader { return io.MultiReader(known(n)) }
	for name, tc := range map[string]struct {
		body   func(n int) io.Reader
		size   int
		status int
		native bool // one is there, and gets it
	}{
		"8 MiB":                     {known, router.MaxGather, 200, false},
		"8 MiB of unknown length":   {unknown, router.MaxGather, 200, false},
		"more":                      {known, router.MaxGather + 1, 413, false},
		"more, of unknown length":   {unknown, router.MaxGather + 100_000, 413, false},
		"more, native":              {known, router.MaxGather + 1, 200, true},
		"of unknown length, native": {unknown, 10, 200, true},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, router.Config{}, func(w *world) {
				r := w.rep(zmtp.Options{})
				var k *worker
				if tc.native {
					k = w.join("native", 4)
				}
				for range 2 { // whoever's turn it is
					p := w.send("PUT", "/", tc.body(tc.size))
					switch {
					case tc.status != 200:
						p.wants(tc.status, "larger than REP workers take")
						r.silent()
						continue
					case tc.native:
						c := k.request()
						if got := len(c.body()); got != tc.size {
							t.Errorf("%d bytes came of %d", got, tc.size)
						}
						c.answer(200, "")
					default:
						j := r.task()
						if got := len(j.body); got != tc.size {
							t.Errorf("%d bytes came of %d", got, tc.size)
						}
						j.reply("", "")
					}
					p.wants(200, "")
				}
			})
		})
	}
}

// A native worker that comes while a body is gathered takes what is too much
// for the REP.
func TestABodyThatGrowsTooLargeGoesToANativeWorker(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		r := w.rep(zmtp.Options{})
		pr, pw := io.Pipe()
		p := w.send("PUT", "/", pr)
		_, _ = io.WriteString(pw, "begin ")
		w.settle()
		k := w.join("native", 1)
		w.wg.Go(func() {
			_, _ = pw.Write(make([]byte, router.MaxGather+100_000))
			_ = pw.Close()
		})
		c := k.request()
		if got := len(c.body()); got != router.MaxGather+100_006 {
			t.Errorf("%d bytes came", got)
		}
		c.answer(200, "")
		p.wants(200, "")
		r.silent()
	})
}

func TestH8TrailersAreForNativeWorkers(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		r := w.rep(zmtp.Options{})
		request := "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n0\r\nX-Sum: 1\r\n\r\n"
		if got, _ := w.raw(request).seen(); !strings.HasPrefix(got, "HTTP/1.1 503 ") || !strings.Contains(got, "native") {
			t.Errorf("the client got %q", got)
		}
		k := w.join("native", 1)
		client := w.raw(request)
		k.request().answer(200, "")
		client.seen()
		r.silent()
	})
}

func TestARequestThatLeavesAREP(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.rep(zmtp.Options{})
		p := w.get("/left")
		j := k.task()
		p.leave()
		other := w.get("/other")
		if !other.waiting() {
			t.Fatal("answered")
		}
		k.silent() // a REP has one at a time
		j.reply("", "too late")
		k.task().reply("", "in time")
		other.wants(200, "in time")
	})
}

func TestStreamNumbersInTagsAscend(t *testing.T) {
	story(t, router.Config{}, func(w *world) {
		k := w.rep(zmtp.Options{})
		last := uint64(0)
		for i := range 5 {
			p := w.get(fmt.Sprintf("/%d", i))
			j := k.task()
			if n := j.stream(); n <= last {
				t.Errorf("stream %d after %d", n, last)
			} else {
				last = n
			}
			j.reply("", "")
			p.wants(200, "")
		}
	})
}
