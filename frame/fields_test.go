package frame_test

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/dialmux/dialmux/frame"
)

func TestFieldsKeepOrderAndDuplicates(t *testing.T) {
	octet := rapid.SliceOf(rapid.Byte())
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOf(rapid.SliceOfN(octet, 2, 2)).Draw(t, "fields")
		var fields frame.Fields
		for _, f := range want {
			fields.AddBytes(f[0], f[1])
		}
		head := frame.AppendHeaders(nil, 7, fields, false, 0)
		parsed := frame.Frame{Fields: fields}
		if len(head) <= frame.MaxHead {
			var err error
			if parsed, err = frame.Parse(head, nil); err != nil {
				t.Fatal(err)
			}
		}
		var got [][][]byte
		for name, value := range parsed.Fields.All() {
			got = append(got, [][]byte{name, value})
		}
		if !slices.EqualFunc(got, want, func(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }) {
			t.Fatalf("%q came back as %q", want, got)
		}
		if parsed.Fields.Len() != len(want) {
			t.Fatalf("Len is %d, want %d", parsed.Fields.Len(), len(want))
		}
	})
}

func TestTextOfEveryLengthRoundTrips(t *testing.T) {
	for _, n := range []int{0, 1, 31, 32, 255, 256, 65_000} {
		for _, value := range [][]byte{bytes.Repeat([]byte{'x'}, n), bytes.Repeat([]byte{0xff}, n)} {
			var fields frame.Fields
			fields.AddBytes([]byte("n"), value)
			f, err := frame.Parse(frame.AppendHeaders(nil, 7, fields, false, 0), nil)
			if err != nil || !bytes.Equal(f.Fields.Get("n"), value) {
				t.Errorf("a value of %d bytes %.8q: came back as %.8q of %d, %v", n, value, f.Fields.Get("n"), len(f.Fields.Get("n")), err)
			}
		}
	}
}

func TestGet(t *testing.T) {
	var fields frame.Fields
	fields.Add("a", "1")
	fields.Add("b", "2")
	fields.Add("b", "3")
	fields.Add("c", "")
	if got := fields.Get("b"); string(got) != "2" {
		t.Errorf(`Get("b") is %q, want the first`, got)
	}
	if got := fields.Get("c"); got == nil || len(got) != 0 {
		t.Errorf(`Get("c") is %v, want empty and not nil`, got)
	}
	if got := fields.Get("d"); got != nil {
		t.Errorf(`Get("d") is %q, want nil`, got)
	}
	for range fields.All() {
		break // a loop may stop early
	}
}

// The fields of a parsed frame lie in a read buffer, with the next frame
// behind them.
func TestAddToParsedFieldsLeavesTheBufferAlone(t *testing.T) {
	var fields frame.Fields
	fields.Add("a", "1")
	head := frame.AppendHeaders(nil, 7, fields, true, 0)
	buffer := append(head, "the next frame"...)
	f, err := frame.Parse(buffer[:len(head)], nil)
	if err != nil {
		t.Fatal(err)
	}
	f.Fields.Add("via", "1.1 x")
	if got := string(buffer[len(head)-1:]); got != "\x00the next frame" {
		t.Errorf("the buffer now ends %q", got)
	}
	if got := string(f.Fields.Get("via")); got != "1.1 x" {
		t.Errorf("via is %q", got)
	}
}

func TestCopyFromOwnsItsMemory(t *testing.T) {
	var fields, kept frame.Fields
	fields.Add("a", "1")
	kept.Add("left over", "from before")
	head := frame.AppendHeaders(nil, 7, fields, false, 0)
	f, err := frame.Parse(head, nil)
	if err != nil {
		t.Fatal(err)
	}
	kept.CopyFrom(f.Fields)
	clear(head)
	if got := string(kept.Get("a")); got != "1" || kept.Len() != 1 || kept.Size() != fields.Size() {
		t.Errorf("a is %q of %d fields in %d bytes, want 1 of 1 in %d", got, kept.Len(), kept.Size(), fields.Size())
	}
	kept.Reset()
	if kept.Len() != 0 || kept.Size() != 0 || kept.Get("a") != nil {
		t.Errorf("after Reset: %d fields in %d bytes", kept.Len(), kept.Size())
	}
}
