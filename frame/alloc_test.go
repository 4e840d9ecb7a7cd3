package frame_test

import (
	"testing"

	"github.com/dialmux/dialmux/frame"
)

func TestHotPathAllocatesNothing(t *testing.T) {
	var fields frame.Fields
	buf := make([]byte, 0, 4096)
	payload := make([]byte, frame.MaxPayload)
	const stream = 1763651000000001

	get := frame.AppendHeaders(nil, stream, fieldsOf(
		":method", "GET", ":scheme", "http", ":authority", "example.com", ":path", "/",
		"accept", "*/*", "x-latin", "caf\xe9", "x-utf8", "café"), true, 0)
	data := frame.AppendData(nil, stream, true, 1<<30)
	update := frame.AppendWindowUpdate(nil, stream, 65536)

	sum := 0
	for name, f := range map[string]func(){
		"encode HEADERS": func() {
			fields.Reset()
			fields.Add(":status", "200")
			fields.AddBytes([]byte("content-type"), []byte("text/plain; charset=utf-8"))
			fields.Add("x-utf8", "café")
			fields.Add("x-latin", "caf\xe9")
			buf = frame.AppendHeaders(buf[:0], stream, fields, true, 20)
		},
		"decode HEADERS": func() {
			f, err := frame.Parse(get, payload)
			if err != nil {
				t.Fatal(err)
			}
			for name, value := range f.Fields.All() {
				sum += len(name) + len(value)
			}
			sum += len(f.Fields.Get("accept"))
			fields.CopyFrom(f.Fields)
		},
		"encode DATA": func() { buf = frame.AppendData(frame.AppendData(buf[:0], stream, false, 0), stream, true, 1<<30) },
		"decode DATA": func() {
			f, err := frame.Parse(data, payload)
			if err != nil || !f.End() {
				t.Fatal(err)
			}
		},
		"encode WINDOW_UPDATE": func() { buf = frame.AppendWindowUpdate(buf[:0], stream, 65536) },
		"decode WINDOW_UPDATE": func() {
			if _, err := frame.Parse(update, nil); err != nil {
				t.Fatal(err)
			}
		},
		"Append of a parsed HEADERS": func() {
			f, _ := frame.Parse(get, nil)
			buf = f.Append(buf[:0])
		},
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations, want none", name, n)
		}
	}
	if sum == 0 {
		t.Error("read no field")
	}
}

func BenchmarkParseHeaders(b *testing.B) {
	head := frame.AppendHeaders(nil, 1763651000000001, fieldsOf(
		":method", "GET", ":scheme", "http", ":authority", "example.com", ":path", "/", "accept", "*/*", "user-agent", "curl/8"), true, 0)
	b.ReportAllocs()
	for b.Loop() {
		f, err := frame.Parse(head, nil)
		if err != nil {
			b.Fatal(err)
		}
		for range f.Fields.All() {
		}
	}
}
