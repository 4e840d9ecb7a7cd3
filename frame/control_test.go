package frame_test

import (
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/dialmux/dialmux/frame"
)

var (
	numbers = rapid.Uint64Range(0, frame.MaxNumber)
	labels  = rapid.String()
	lists   = rapid.SliceOfN(labels, 1, 5)
)

// sometimes is g, or the zero value: what is left out of a map.
func sometimes[T any](g *rapid.Generator[T]) *rapid.Generator[T] {
	return rapid.OneOf(rapid.Just(*new(T)), g)
}

func roundTrip[T any](t *rapid.T, head []byte, read func(*frame.Frame) (T, error), want T) {
	f, err := frame.Parse(head, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := read(&f)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v came back as %+v", want, got)
	}
}

func TestControlMapsRoundTrip(t *testing.T) {
	t.Run("WELCOME", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			w := frame.WelcomeInfo{
				Protocol: numbers.Draw(t, "protocol"), Router: labels.Draw(t, "router"), Connection: numbers.Draw(t, "connection"),
				Limits:  frame.Limits{Head: numbers.Draw(t, "head"), Payload: numbers.Draw(t, "payload"), Concurrency: numbers.Draw(t, "concurrency")},
				Windows: frame.Windows{Request: numbers.Draw(t, "request"), Response: numbers.Draw(t, "response")},
				Routers: sometimes(lists).Draw(t, "routers"),
			}
			roundTrip(t, frame.AppendWelcome(nil, w), frame.ParseWelcome, w)
		})
	})
	t.Run("JOIN", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			j := frame.JoinInfo{
				Protocol: numbers.Draw(t, "protocol"), Connection: numbers.Draw(t, "connection"),
				Instance: labels.Draw(t, "instance"), Name: labels.Draw(t, "name"), Concurrency: numbers.Draw(t, "concurrency"),
				Service: labels.Draw(t, "service"), Hosts: sometimes(lists).Draw(t, "hosts"), Paths: sometimes(lists).Draw(t, "paths"),
				Weight: numbers.Draw(t, "weight"), AppVersion: labels.Draw(t, "app version"), Zone: labels.Draw(t, "zone"),
				Tags: sometimes(rapid.MapOfN(labels, labels, 1, 5)).Draw(t, "tags"), Token: labels.Draw(t, "token"),
			}
			roundTrip(t, frame.AppendJoin(nil, j), frame.ParseJoin, j)
		})
	})
	t.Run("OWN", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			o := frame.OwnInfo{Epoch: numbers.Draw(t, "epoch"), Partitions: rapid.SliceOfN(numbers, 1, 20).Draw(t, "partitions")}
			roundTrip(t, frame.AppendOwn(nil, o), frame.ParseOwn, o)
		})
	})
}

func TestAWorkerThatOwnsNothingSaysSo(t *testing.T) {
	f, err := frame.Parse(frame.AppendOwn(nil, frame.OwnInfo{Epoch: 4}), nil)
	if err != nil {
		t.Fatal(err)
	}
	if o, err := frame.ParseOwn(&f); err != nil || o.Epoch != 4 || len(o.Partitions) != 0 {
		t.Errorf("OWN of no partitions: %+v, %v", o, err)
	}
}

func TestUnknownKeysArePassedOver(t *testing.T) {
	extra := map[string]any{
		"x": nil, "y": []any{1, map[string]any{"a": 1.5}}, "z": map[string]any{"limits": 7},
		"name": "w", "router": "r", "epoch": 9,
	}
	head := func(typ byte) []byte { return slices.Concat([]byte{0x94, typ, 0, 0}, msg(extra)) }

	f, err := frame.Parse(head(64), nil)
	if err != nil {
		t.Fatal(err)
	}
	if w, err := frame.ParseWelcome(&f); err != nil || !reflect.DeepEqual(w, frame.WelcomeInfo{Router: "r"}) {
		t.Errorf("WELCOME: %+v, %v", w, err)
	}
	if f, err = frame.Parse(head(65), nil); err != nil {
		t.Fatal(err)
	}
	if j, err := frame.ParseJoin(&f); err != nil || !reflect.DeepEqual(j, frame.JoinInfo{Name: "w"}) {
		t.Errorf("JOIN: %+v, %v", j, err)
	}
	if f, err = frame.Parse(head(66), nil); err != nil {
		t.Fatal(err)
	}
	if o, err := frame.ParseOwn(&f); err != nil || !reflect.DeepEqual(o, frame.OwnInfo{Epoch: 9}) {
		t.Errorf("OWN: %+v, %v", o, err)
	}
}

func TestTagsGoOutSorted(t *testing.T) {
	j := frame.JoinInfo{Tags: map[string]string{}}
	for _, key := range []string{"f", "b", "a", "e", "d", "c"} {
		j.Tags[key] = key
	}
	first := frame.AppendJoin(nil, j)
	for range 20 {
		if again := frame.AppendJoin(nil, j); !slices.Equal(first, again) {
			t.Fatalf("one JOIN, two encodings:\n%x\n%x", first, again)
		}
	}
}

// A JOIN that came in goes out again byte by byte, unknown keys and all.
func TestControlFramesSurviveParseAndAppend(t *testing.T) {
	head := slices.Concat([]byte{0x94, 65, 0, 0, 0x82}, msg("name"), msg("w"), msg("new"), msg([]int{1, 2}))
	f, err := frame.Parse(head, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Append(nil); !slices.Equal(got, head) {
		t.Errorf("%x came out as %x", head, got)
	}
}
