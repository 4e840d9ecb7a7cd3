package frame_test

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/dialmux/dialmux/frame"
)

// Whatever comes is read or refused with an error that says how far it
// reaches, costs no more memory than a few copies of it, and means the same
// when it is written again.
func FuzzParse(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.head, v.payload)
	}
	for _, head := range captures(f) {
		f.Add(head, []byte(nil))
	}
	f.Fuzz(func(t *testing.T, head, payload []byte) {
		var one frame.Frame
		var err error
		bounded(t, len(head), func() { one, err = frame.Parse(head, payload) })
		if err != nil {
			if reach(err) == "an error that does not say how far it reaches" {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		again := one.Append(nil)
		two, err := frame.Parse(again, payload)
		if err != nil {
			t.Fatalf("%x passes, what Append makes of it does not: %x: %v", head, again, err)
		}
		if third := two.Append(nil); !bytes.Equal(again, third) {
			t.Fatalf("Append writes %x, then %x", again, third)
		}
		one.Flags, two.Flags = meaning(&one), meaning(&two)
		if !reflect.DeepEqual(one, two) {
			t.Fatalf("%+v came back as %+v", one, two)
		}
		for name, value := range one.Fields.All() {
			if len(name)+len(value) > len(head) {
				t.Fatal("a field longer than its head")
			}
		}
	})
}

// meaning is the flags without those that say nothing on their type of frame:
// they go no further.
func meaning(f *frame.Frame) uint8 {
	switch f.Type {
	case frame.Data, frame.Headers:
		return f.Flags & frame.EndStream
	case frame.RSTStream, frame.GoAway, frame.WindowUpdate, frame.Welcome, frame.Join, frame.Own:
		return 0
	}
	return f.Flags
}

// FuzzJoin reads whatever map there is as each of the three: the keys differ,
// the walk does not.
func FuzzJoin(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.head)
	}
	for _, head := range captures(f) {
		f.Add(head)
	}
	f.Fuzz(func(t *testing.T, head []byte) {
		one, err := frame.Parse(head, nil)
		if err != nil {
			return
		}
		survives(t, &one, frame.ParseWelcome, frame.AppendWelcome)
		survives(t, &one, frame.ParseJoin, frame.AppendJoin)
		survives(t, &one, frame.ParseOwn, frame.AppendOwn)
	})
}

// survives checks that what is read of f comes back from what is written of it.
func survives[T any](t *testing.T, f *frame.Frame, read func(*frame.Frame) (T, error), write func([]byte, T) []byte) {
	t.Helper()
	var info T
	var err error
	bounded(t, len(f.Rest), func() { info, err = read(f) })
	if err != nil {
		if reach(err) == "an error that does not say how far it reaches" {
			t.Fatalf("%T: %v", err, err)
		}
		return
	}
	head := write(nil, info)
	if len(head) > frame.MaxHead {
		return // numbers and text may have come shorter than they are written
	}
	two, err := frame.Parse(head, nil)
	if err != nil {
		t.Fatalf("%+v does not survive Append: %v", info, err)
	}
	if again, err := read(&two); err != nil || !reflect.DeepEqual(asMap(t, info), asMap(t, again)) {
		t.Fatalf("%+v came back as %+v, %v", info, again, err)
	}
}

func FuzzRepReply(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.head)
	}
	for _, head := range captures(f) {
		f.Add(head)
	}
	f.Add(msg(map[string]any{"status": 200, "headers": map[string]any{"Set-Cookie": []string{"a", "b"}, "x": "y"}}))
	f.Add(msg(map[string]any{"headers": [][]string{{"A", "1"}, {"a", "2"}}}))
	f.Fuzz(func(t *testing.T, head []byte) {
		var fields frame.Fields
		var status uint64
		var err error
		bounded(t, frame.MaxHead, func() { // a name may stand for a thousand values
			fields.Reset()
			status, err = frame.ParseRepReply(head, &fields)
		})
		if fields.Size() > 2*frame.MaxHead {
			t.Fatalf("%d bytes of fields out of a head of %d", fields.Size(), len(head))
		}
		if err != nil {
			return
		}
		// What was read means the same when it is written as pairs.
		pairs := [][][]byte{}
		for name, value := range fields.All() {
			pairs = append(pairs, [][]byte{name, value})
		}
		var again frame.Fields
		if same, err := frame.ParseRepReply(msg(map[string]any{"status": status, "headers": pairs}), &again); err == nil {
			if same != status || !reflect.DeepEqual(pairsOf(fields), pairsOf(again)) {
				t.Fatalf("%d %q came back as %d %q", status, pairsOf(fields), same, pairsOf(again))
			}
		} else if fields.Size() < frame.MaxHead/4 {
			t.Fatalf("the same as pairs: %v", err)
		}
	})
}

// captures are heads that real peers sent.
func captures(tb testing.TB) (heads [][]byte) {
	tb.Helper()
	file, err := os.ReadFile("testdata/captures.txt")
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(file)) {
		if _, head, ok := strings.Cut(strings.TrimSpace(line), " "); ok && line[0] != '#' {
			heads = append(heads, unhex(tb, head))
		}
	}
	if len(heads) == 0 {
		tb.Fatal("testdata/captures.txt holds no head")
	}
	return heads
}

// bounded checks that f costs no more memory than reading size bytes may. The
// fuzzing engine takes some of its own now and then, so that it is asked again.
func bounded(t *testing.T, size int, f func()) {
	t.Helper()
	for try := 1; ; try++ {
		switch n := allocated(f); {
		case n <= uint64(errorCost+legalGreed*size):
			return
		case try == 5:
			t.Fatalf("%d bytes cost %d bytes of memory", size, n)
		}
	}
}
