package frame_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/dialmux/dialmux/frame"
)

func fieldsOf(pairs ...string) (f frame.Fields) {
	for i := 0; i < len(pairs); i += 2 {
		f.Add(pairs[i], pairs[i+1])
	}
	return f
}

func pairsOf(f frame.Fields) (pairs []string) {
	for name, value := range f.All() {
		pairs = append(pairs, string(name), string(value))
	}
	return pairs
}

func TestRepRequest(t *testing.T) {
	head := frame.AppendRepRequest([]byte("before"), fieldsOf(
		":method", "POST", ":scheme", "https", ":authority", "example.com", ":path", "/a?b=c",
		"cookie", "a=1", "cookie", "b=2", "x-latin", "caf\xe9"))
	if string(head[:6]) != "before" {
		t.Fatalf("wrote over what was there: %q", head[:6])
	}
	want := map[string]any{
		"method": "POST", "scheme": "https", "authority": "example.com", "path": "/a?b=c",
		"headers": []any{
			[]any{"cookie", "a=1"},
			[]any{"cookie", "b=2"},
			[]any{"x-latin", []byte("caf\xe9")},
		},
	}
	if got := peer(t, head[6:]); !reflect.DeepEqual(got, any(want)) {
		t.Errorf("a REP worker reads %v, want %v", got, want)
	}
}

func TestRepRequestWithoutFields(t *testing.T) {
	head := frame.AppendRepRequest(nil, fieldsOf(":method", "GET", ":scheme", "http", ":authority", "", ":path", "/"))
	want := map[string]any{"method": "GET", "scheme": "http", "authority": "", "path": "/", "headers": []any{}}
	if got := peer(t, head); !reflect.DeepEqual(got, any(want)) {
		t.Errorf("a REP worker reads %v, want %v", got, want)
	}
}

func TestRepReply(t *testing.T) {
	type object = map[string]any
	for name, tc := range map[string]struct {
		head   []byte
		status uint64
		fields []string
	}{
		"no head":           {nil, 200, nil},
		"an empty map":      {msg(object{}), 200, nil},
		"a status":          {msg(object{"status": 404}), 404, nil},
		"a status in uint8": {[]byte{0x81, 0xa6, 's', 't', 'a', 't', 'u', 's', 0xcc, 204}, 204, nil},
		"a map":             {msg(object{"headers": object{"X-Case": "Kept"}}), 200, []string{"x-case", "Kept"}},
		"a map of lists":    {msg(object{"headers": object{"Set-Cookie": []string{"a=1", "b=2"}}}), 200, []string{"set-cookie", "a=1", "set-cookie", "b=2"}},
		"an empty list":     {msg(object{"headers": object{"x": []string{}}}), 200, nil},
		"pairs": {
			msg(object{"status": 201, "headers": [][]string{{"A", "1"}, {"b", "2"}, {"a", "3"}}}), 201,
			[]string{"a", "1", "b", "2", "a", "3"},
		},
		"no pairs":         {msg(object{"headers": []any{}}), 200, nil},
		"headers of nil":   {msg(object{"headers": nil}), 200, nil},
		"values of bin":    {msg(object{"headers": object{"x": []byte("caf\xe9")}}), 200, []string{"x", "caf\xe9"}},
		"keys of bin":      {slices.Concat([]byte{0x81}, msg([]byte("status")), msg(500)), 500, nil},
		"names of bin":     {slices.Concat([]byte{0x81}, msg("headers"), []byte{0x81}, msg([]byte("X")), msg("y")), 200, []string{"x", "y"}},
		"an unknown key":   {msg(object{"reason": object{"x": []any{1, nil}}, "status": 203}), 203, nil},
		"the largest head": {msg(object{"headers": object{"x": strings.Repeat("y", 65_000)}}), 200, []string{"x", strings.Repeat("y", 65_000)}},
		"a status too large": {
			msg(object{"status": uint64(frame.MaxNumber)}), frame.MaxNumber, nil, // for the router to refuse
		},
	} {
		t.Run(name, func(t *testing.T) {
			fields := fieldsOf("there", "before")
			status, err := frame.ParseRepReply(tc.head, &fields)
			if err != nil {
				t.Fatal(err)
			}
			if status != tc.status {
				t.Errorf("status %d, want %d", status, tc.status)
			}
			if got, want := pairsOf(fields), append([]string{"there", "before"}, tc.fields...); !slices.Equal(got, want) {
				t.Errorf("fields %.60q, want %.60q", got, want)
			}
		})
	}
}

func TestRepReplyErrorsNameTheKey(t *testing.T) {
	for want, head := range map[string][]byte{
		`"status"`:           msg(map[string]any{"status": "200"}),
		`"headers": headers`: msg(map[string]any{"headers": "x: y"}),
		`"headers": "x"`:     msg(map[string]any{"headers": map[string]any{"x": 5}}),
		"more bytes":         append(msg(map[string]any{"status": 200}), 0),
		"65,536":             msg(map[string]any{"headers": map[string]string{"x": strings.Repeat("y", frame.MaxHead)}}),
	} {
		err := reply(head)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40x: %v, want an error with %s", head, err, want)
		}
	}
}
