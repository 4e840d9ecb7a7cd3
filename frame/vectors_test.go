package frame_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"testing"
	"unicode/utf8"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/dialmux/dialmux/frame"
)

type vector struct {
	name          string
	head, payload []byte
	frame         []any // numbers as uint64, text as string, bin as []byte
}

func vectors(t testing.TB) []vector {
	t.Helper()
	file, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var entries []struct {
		Name, Head, Payload string
		Frame               json.RawMessage
	}
	if err := json.Unmarshal(file, &entries); err != nil {
		t.Fatal(err)
	}
	if len(entries) == 0 {
		t.Fatal("testdata/vectors.json holds no vector")
	}
	var all []vector
	for _, e := range entries {
		v := vector{name: e.Name, head: unhex(t, e.Head)}
		if e.Payload != "" {
			v.payload = unhex(t, e.Payload)
		}
		dec := json.NewDecoder(bytes.NewReader(e.Frame))
		dec.UseNumber()
		var decoded any
		if err := dec.Decode(&decoded); err != nil {
			t.Fatalf("%s: %v", e.Name, err)
		}
		v.frame = plain(t, decoded).([]any)
		all = append(all, v)
	}
	return all
}

// plain brings what JSON, msgpack and frame.Frame make of a value to one form.
func plain(t testing.TB, v any) any {
	t.Helper()
	switch v := v.(type) {
	case json.Number:
		var n uint64
		if _, err := fmt.Sscan(v.String(), &n); err != nil {
			t.Fatalf("%v is not a whole number", v)
		}
		return n
	case map[string]any:
		if bin, ok := v["bin"].(string); ok {
			return unhex(t, bin)
		}
		m := map[string]any{}
		for key, value := range v {
			m[key] = plain(t, value)
		}
		return m
	case []any:
		list := []any{}
		for _, item := range v {
			list = append(list, plain(t, item))
		}
		return list
	case int64:
		return uint64(v)
	case string:
		if !utf8.ValidString(v) {
			return []byte(v)
		}
	}
	return v
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return b
}

// peer decodes all of b with a decoder that is not ours.
func peer(t testing.TB, b []byte) any {
	t.Helper()
	r := bytes.NewReader(b)
	dec := msgpack.NewDecoder(r)
	dec.UseLooseInterfaceDecoding(true)
	v, err := dec.DecodeInterfaceLoose()
	if err != nil {
		t.Fatalf("the independent decoder: %v", err)
	}
	if r.Len() > 0 {
		t.Fatalf("the independent decoder left %d bytes", r.Len())
	}
	return plain(t, v)
}

func asMap(t testing.TB, v any) any {
	t.Helper()
	b, err := msgpack.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return peer(t, b)
}

// fromMap fills a struct from a decoded map, without our parser.
func fromMap[T any](t testing.TB, m any) (v T) {
	t.Helper()
	b, err := msgpack.Marshal(m)
	if err == nil {
		err = msgpack.Unmarshal(b, &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// array is the decoded array that f stands for.
func array(t testing.TB, f *frame.Frame) []any {
	t.Helper()
	a := []any{uint64(f.Type), f.Stream, uint64(f.Flags)}
	switch f.Type {
	case frame.Data:
	case frame.Headers:
		list := []any{}
		for name, value := range f.Fields.All() {
			list = append(list, plain(t, string(name)), plain(t, string(value)))
		}
		a = append(a, list)
	case frame.RSTStream:
		return append(a, uint64(f.Code), plain(t, string(f.Reason)))
	case frame.GoAway:
		return append(a, f.Last, uint64(f.Code), plain(t, string(f.Reason)))
	case frame.WindowUpdate:
		return append(a, f.Credit)
	case frame.Welcome:
		w, err := frame.ParseWelcome(f)
		return append(a, must(t, asMap(t, w), err))
	case frame.Join:
		j, err := frame.ParseJoin(f)
		return append(a, must(t, asMap(t, j), err))
	case frame.Own:
		o, err := frame.ParseOwn(f)
		return append(a, must(t, asMap(t, o), err))
	default:
		for r := bytes.NewReader(f.Rest); r.Len() > 0; {
			dec := msgpack.NewDecoder(r)
			v, err := dec.DecodeInterfaceLoose()
			a = append(a, must(t, plain(t, v), err))
		}
		return a
	}
	if f.End() {
		a = append(a, f.Total)
	}
	return a
}

func must(t testing.TB, v any, err error) any {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// encode writes the head of a decoded array with the Append functions; nil for
// a type that has none.
func encode(t testing.TB, a []any) []byte {
	t.Helper()
	typ, stream, end := frame.Type(a[0].(uint64)), a[1].(uint64), a[2].(uint64) == uint64(frame.EndStream)
	var total uint64
	if (typ == frame.Data || typ == frame.Headers) && end {
		total = a[len(a)-1].(uint64)
	}
	switch typ {
	case frame.Data:
		return frame.AppendData(nil, stream, end, total)
	case frame.Headers:
		var fields frame.Fields
		list := a[3].([]any)
		for i := 0; i < len(list); i += 2 {
			fields.AddBytes(octets(list[i]), octets(list[i+1]))
		}
		return frame.AppendHeaders(nil, stream, fields, end, total)
	case frame.RSTStream:
		return frame.AppendRSTStream(nil, stream, frame.Code(a[3].(uint64)), string(octets(a[4])))
	case frame.GoAway:
		return frame.AppendGoAway(nil, a[3].(uint64), frame.Code(a[4].(uint64)), string(octets(a[5])))
	case frame.WindowUpdate:
		return frame.AppendWindowUpdate(nil, stream, a[3].(uint64))
	case frame.Welcome:
		return frame.AppendWelcome(nil, fromMap[frame.WelcomeInfo](t, a[3]))
	case frame.Join:
		return frame.AppendJoin(nil, fromMap[frame.JoinInfo](t, a[3]))
	case frame.Own:
		return frame.AppendOwn(nil, fromMap[frame.OwnInfo](t, a[3]))
	}
	return nil
}

func octets(text any) []byte {
	if b, ok := text.([]byte); ok {
		return b
	}
	return []byte(text.(string))
}

func TestVectors(t *testing.T) {
	seen := map[frame.Type]bool{}
	for _, v := range vectors(t) {
		t.Run(v.name, func(t *testing.T) {
			if got := peer(t, v.head); !reflect.DeepEqual(got, any(v.frame)) {
				t.Errorf("the independent decoder reads %v, the vector says %v", got, v.frame)
			}
			f, err := frame.Parse(v.head, v.payload)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(f.Payload, v.payload) {
				t.Errorf("payload %x, want %x", f.Payload, v.payload)
			}
			if got := array(t, &f); !reflect.DeepEqual(got, v.frame) {
				t.Errorf("parsed: %v\n  want: %v", got, v.frame)
			}
			if got := f.Append([]byte("before")); string(got) != "before"+string(v.head) {
				t.Errorf("Append of what Parse read: %x, want %x after what was there", got[len("before"):], v.head)
			}
			if got := encode(t, v.frame); got != nil && !bytes.Equal(got, v.head) {
				t.Errorf("encoded from the decoded array: %x, want %x", got, v.head)
			}
			seen[f.Type] = true
		})
	}
	for _, typ := range []frame.Type{frame.Data, frame.Headers, frame.RSTStream, frame.GoAway, frame.WindowUpdate, frame.Welcome, frame.Join, frame.Own} {
		if !seen[typ] {
			t.Errorf("no vector shows %v", typ)
		}
	}
}

func TestEveryTruncatedPrefixIsAnError(t *testing.T) {
	for _, v := range vectors(t) {
		for n := range v.head {
			if f, err := frame.Parse(v.head[:n:n], v.payload); err == nil {
				t.Errorf("%s: the first %d of %d bytes pass for %v", v.name, n, len(v.head), f.Type)
			}
		}
	}
}

// A total, a reason or a map that is cut off leaves an array header that
// promises more; these promise less than what stands there.
func TestWhatFollowsTheHeadIsAnError(t *testing.T) {
	for _, v := range vectors(t) {
		if _, err := frame.Parse(append(bytes.Clone(v.head), 0xc0), v.payload); err == nil {
			t.Errorf("%s: passes with a byte after its end", v.name)
		}
	}
}
