package frame_test

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/dialmux/dialmux/frame"
)

func FuzzParse(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.head, v.payload)
	}
	f.Fuzz(func(t *testing.T, head, payload []byte) {
		one, err := frame.Parse(head, payload)
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

func FuzzJoin(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.head)
	}
	f.Fuzz(func(t *testing.T, head []byte) {
		one, err := frame.Parse(head, nil)
		if err != nil {
			return
		}
		// Each parser reads whatever map there is: the keys differ, the walk does not.
		_, _ = frame.ParseWelcome(&one)
		_, _ = frame.ParseOwn(&one)
		join, err := frame.ParseJoin(&one)
		if err != nil {
			return
		}
		two, err := frame.Parse(frame.AppendJoin(nil, join), nil)
		if err != nil {
			t.Fatalf("%+v does not survive Append: %v", join, err)
		}
		if again, err := frame.ParseJoin(&two); err != nil || !reflect.DeepEqual(asMap(t, join), asMap(t, again)) {
			t.Fatalf("%+v came back as %+v, %v", join, again, err)
		}
	})
}

func FuzzRepReply(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.head)
	}
	f.Add(msg(map[string]any{"status": 200, "headers": map[string]any{"Set-Cookie": []string{"a", "b"}, "x": "y"}}))
	f.Add(msg(map[string]any{"headers": [][]string{{"A", "1"}, {"a", "2"}}}))
	f.Fuzz(func(t *testing.T, head []byte) {
		var fields frame.Fields
		status, err := frame.ParseRepReply(head, &fields)
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
