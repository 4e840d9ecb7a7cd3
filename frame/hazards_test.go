package frame_test

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/dialmux/dialmux/frame"
)

// bombs are msgpack values that promise, nest or lie; none is a value of a
// frame.
var bombs = map[string][]byte{
	"array32 of 2^32-1":  {0xdd, 0xff, 0xff, 0xff, 0xff},
	"map32 of 2^32-1":    {0xdf, 0xff, 0xff, 0xff, 0xff},
	"array16 of 65,535":  {0xdc, 0xff, 0xff},
	"map16 of 65,535":    {0xde, 0xff, 0xff},
	"bin32 of 2^32-1":    {0xc6, 0xff, 0xff, 0xff, 0xff},
	"str32 of 2^32-1":    {0xdb, 0xff, 0xff, 0xff, 0xff},
	"ext32 of 2^32-1":    {0xc9, 0xff, 0xff, 0xff, 0xff, 0x01},
	"the unused byte":    {0xc1},
	"nested, cut off":    bytes.Repeat([]byte{0x91}, 60_000),
	"maps, cut off":      bytes.Repeat([]byte{0x81, 0xa0}, 30_000),
	"widening, cut off":  bytes.Repeat([]byte{0xdd, 0xff, 0xff, 0xff, 0xff}, 12_000),
	"5 MB of 0x91":       bytes.Repeat([]byte{0x91}, 5<<20),
	"5 MB of empty text": append([]byte{0xdd, 0x00, 0x50, 0x00, 0x00}, bytes.Repeat([]byte{0xa0}, 5<<20)...),
}

// strangers are whole values of a kind that frames have no use for.
var strangers = map[string][]byte{
	"ext":          {0xd4, 0x05, 0x00},
	"timestamp":    {0xd6, 0xff, 0, 0, 0, 0},
	"NaN":          {0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0},
	"1.0":          {0xca, 0x3f, 0x80, 0, 0},
	"-1":           {0xff},
	"-2^63":        {0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0},
	"2^53":         {0xcf, 0x00, 0x20, 0, 0, 0, 0, 0, 0},
	"2^64-1":       {0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	"true":         {0xc3},
	"nested whole": append(bytes.Repeat([]byte{0x91}, 60_000), 0xc0),
}

// places put a value where each reader of the package would meet it.
var places = map[string]func(value []byte) error{
	"head":               func(v []byte) error { return parse(v) },
	"type":               func(v []byte) error { return parse([]byte{0x93}, v, []byte{7, 0}) },
	"stream":             func(v []byte) error { return parse([]byte{0x93, 0}, v, []byte{0}) },
	"flags":              func(v []byte) error { return parse([]byte{0x93, 0, 7}, v) },
	"DATA total":         func(v []byte) error { return parse([]byte{0x94, 0, 7, 1}, v) },
	"HEADERS list":       func(v []byte) error { return parse([]byte{0x94, 1, 7, 0}, v) },
	"HEADERS name":       func(v []byte) error { return parse([]byte{0x94, 1, 7, 0, 0x92}, v, []byte{0xa0}) },
	"HEADERS value":      func(v []byte) error { return parse([]byte{0x94, 1, 7, 0, 0x92, 0xa1, 'x'}, v) },
	"HEADERS total":      func(v []byte) error { return parse([]byte{0x95, 1, 7, 1, 0x90}, v) },
	"RST_STREAM code":    func(v []byte) error { return parse([]byte{0x95, 3, 7, 0}, v, []byte{0xa0}) },
	"RST_STREAM reason":  func(v []byte) error { return parse([]byte{0x95, 3, 7, 0, 8}, v) },
	"GOAWAY last":        func(v []byte) error { return parse([]byte{0x96, 7, 0, 0}, v, []byte{0, 0xa0}) },
	"credit":             func(v []byte) error { return parse([]byte{0x94, 8, 7, 0}, v) },
	"WELCOME":            func(v []byte) error { return parse([]byte{0x94, 64, 0, 0}, v) },
	"JOIN":               func(v []byte) error { return parse([]byte{0x94, 65, 0, 0}, v) },
	"OWN":                func(v []byte) error { return parse([]byte{0x94, 66, 0, 0}, v) },
	"WELCOME connection": func(v []byte) error { return parse([]byte{0x94, 64, 0, 0, 0x81}, msg("connection"), v) },
	"WELCOME limits":     func(v []byte) error { return parse([]byte{0x94, 64, 0, 0, 0x81}, msg("limits"), v) },
	"WELCOME windows":    func(v []byte) error { return parse([]byte{0x94, 64, 0, 0, 0x81}, msg("windows"), v) },
	"WELCOME routers":    func(v []byte) error { return parse([]byte{0x94, 64, 0, 0, 0x81}, msg("routers"), []byte{0x91}, v) },
	"JOIN key":           func(v []byte) error { return parse([]byte{0x94, 65, 0, 0, 0x81}, v, []byte{0}) },
	"JOIN name":          func(v []byte) error { return parse([]byte{0x94, 65, 0, 0, 0x81}, msg("name"), v) },
	"JOIN weight":        func(v []byte) error { return parse([]byte{0x94, 65, 0, 0, 0x81}, msg("weight"), v) },
	"JOIN hosts":         func(v []byte) error { return parse([]byte{0x94, 65, 0, 0, 0x81}, msg("hosts"), []byte{0x91}, v) },
	"JOIN tags":          func(v []byte) error { return parse([]byte{0x94, 65, 0, 0, 0x81}, msg("tags"), v) },
	"JOIN tag":           func(v []byte) error { return parse([]byte{0x94, 65, 0, 0, 0x81}, msg("tags"), []byte{0x81, 0xa0}, v) },
	"OWN partitions":     func(v []byte) error { return parse([]byte{0x94, 66, 0, 0, 0x81}, msg("partitions"), []byte{0x91}, v) },
	"REP reply":          func(v []byte) error { return reply(v) },
	"REP status":         func(v []byte) error { return reply([]byte{0x81}, msg("status"), v) },
	"REP headers":        func(v []byte) error { return reply([]byte{0x81}, msg("headers"), v) },
	"REP header name":    func(v []byte) error { return reply([]byte{0x81}, msg("headers"), []byte{0x81}, v, []byte{0xa0}) },
	"REP header value":   func(v []byte) error { return reply([]byte{0x81}, msg("headers"), []byte{0x81, 0xa1, 'x'}, v) },
	"REP header list":    func(v []byte) error { return reply([]byte{0x81}, msg("headers"), []byte{0x81, 0xa1, 'x', 0x91}, v) },
	"REP header pair":    func(v []byte) error { return reply([]byte{0x81}, msg("headers"), []byte{0x91, 0x92, 0xa1, 'x'}, v) },
}

// open are the places where every whole value is welcome, since nobody reads it.
var open = map[string]func(value []byte) error{
	"a type from the future": func(v []byte) error { return parse([]byte{0x94, 0xcc, 200, 7, 0}, v) },
	"WELCOME, unknown key":   func(v []byte) error { return parse([]byte{0x94, 64, 0, 0, 0x81}, msg("new"), v) },
	"JOIN, unknown key":      func(v []byte) error { return parse([]byte{0x94, 65, 0, 0, 0x81}, msg("new"), v) },
	"OWN, unknown key":       func(v []byte) error { return parse([]byte{0x94, 66, 0, 0, 0x81}, msg("new"), v) },
	"limits, unknown key": func(v []byte) error {
		return parse([]byte{0x94, 64, 0, 0, 0x81}, msg("limits"), []byte{0x81}, msg("new"), v)
	},
	"REP, unknown key": func(v []byte) error { return reply([]byte{0x81}, msg("new"), v) },
}

func msg(v any) []byte {
	b, err := msgpack.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// parse reads a head, and the map that it may hold, as the two ends do.
func parse(head ...[]byte) error {
	f, err := frame.Parse(slices.Concat(head...), nil)
	if err != nil {
		return err
	}
	switch f.Type {
	case frame.Welcome:
		_, err = frame.ParseWelcome(&f)
	case frame.Join:
		_, err = frame.ParseJoin(&f)
	case frame.Own:
		_, err = frame.ParseOwn(&f)
	}
	return err
}

func reply(head ...[]byte) error {
	var fields frame.Fields
	_, err := frame.ParseRepReply(slices.Concat(head...), &fields)
	return err
}

// allocated is how many bytes of heap and stack f took.
func allocated(f func()) uint64 {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection would shrink the stack again
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc + max(after.StackInuse, before.StackInuse) - before.StackInuse
}

// errorCost is what an error's text may cost beside the input, and the runtime's own growth of a stack.
const errorCost = 64 << 10

func TestW10BombsAreErrorsAndCostNothing(t *testing.T) {
	for _, set := range []map[string]func([]byte) error{places, open} {
		for place, try := range set {
			for bomb, value := range bombs {
				var err error
				// Joining the parts of the message is the one allocation of the input's size, and the test's own.
				most := 2*uint64(len(value)) + errorCost
				n := allocated(func() { err = try(value) })
				for tries := 0; n > most && tries < 5; tries++ { // the runtime takes some for itself now and then
					n = min(n, allocated(func() { err = try(value) }))
				}
				if n > most {
					t.Errorf("%s in %s: %d bytes allocated for %d", bomb, place, n, len(value))
				}
				if err == nil {
					t.Errorf("%s in %s passes", bomb, place)
				}
			}
		}
	}
}

func TestW10WrongKindsOfValueAreErrors(t *testing.T) {
	for place, try := range places {
		for kind, value := range strangers {
			var err error
			if n := allocated(func() { err = try(value) }); n > 2*uint64(len(value))+errorCost {
				t.Errorf("%s in %s: %d bytes allocated for %d", kind, place, n, len(value))
			}
			if err == nil {
				t.Errorf("%s in %s passes", kind, place)
			}
		}
	}
	for place, try := range open {
		for kind, value := range strangers {
			var err error
			if n := allocated(func() { err = try(value) }); n > 2*uint64(len(value))+errorCost {
				t.Errorf("%s in %s: %d bytes allocated for %d", kind, place, n, len(value))
			}
			if err != nil {
				t.Errorf("%s in %s: %v", kind, place, err)
			}
		}
	}
}

func TestW10WrongTypesAreErrors(t *testing.T) {
	one, text, list, object := msg(1), msg("x"), msg([]int{}), msg(map[string]int{})
	for place, wrong := range map[string][][]byte{
		"head":               {one, text, object},
		"type":               {text, list, object},
		"DATA total":         {text, list, object},
		"HEADERS list":       {one, text, object, msg([]string{"odd"})},
		"HEADERS name":       {one, list, object},
		"HEADERS value":      {one, list, object},
		"RST_STREAM code":    {text, list, object},
		"RST_STREAM reason":  {one, list, object},
		"WELCOME":            {one, text, list},
		"JOIN":               {one, text, list},
		"OWN":                {one, text, list},
		"WELCOME connection": {text, list, object},
		"WELCOME limits":     {one, text, list},
		"WELCOME routers":    {one, list, object},
		"JOIN key":           {one, list, object},
		"JOIN name":          {one, list, object},
		"JOIN weight":        {text, list, object},
		"JOIN hosts":         {one, list, object},
		"JOIN tags":          {one, text, list},
		"JOIN tag":           {one, list, object},
		"OWN partitions":     {text, list, object},
		"REP reply":          {one, text, list},
		"REP status":         {text, list, object},
		"REP headers":        {one, text, msg([]string{"x"}), msg([][]string{{"x"}}), msg([][]string{{"x", "y", "z"}})},
		"REP header name":    {one, list, object},
		"REP header value":   {one, object, msg([]int{1})},
		"REP header pair":    {one, list, object},
	} {
		for _, value := range wrong {
			if err := places[place](value); err == nil {
				t.Errorf("%x in %s passes", value, place)
			}
		}
	}
}

func TestW10AKnownKeyTwiceIsAnError(t *testing.T) {
	twice := func(key string, value any) []byte {
		return slices.Concat([]byte{0x82}, msg(key), msg(value), msg(key), msg(value))
	}
	for name, err := range map[string]error{
		"JOIN name":       parse([]byte{0x94, 65, 0, 0}, twice("name", "a")),
		"JOIN token":      parse([]byte{0x94, 65, 0, 0}, twice("token", "a")),
		"JOIN hosts":      parse([]byte{0x94, 65, 0, 0}, twice("hosts", []string{"a"})),
		"JOIN tags":       parse([]byte{0x94, 65, 0, 0, 0x81}, msg("tags"), twice("ring", "a")),
		"WELCOME limits":  parse([]byte{0x94, 64, 0, 0}, twice("limits", map[string]int{})),
		"WELCOME request": parse([]byte{0x94, 64, 0, 0, 0x81}, msg("windows"), twice("request", 1)),
		"OWN partitions":  parse([]byte{0x94, 66, 0, 0}, twice("partitions", []int{1})),
		"REP status":      reply(twice("status", 200)),
		"REP headers":     reply(twice("headers", map[string]string{"a": "b"})),
	} {
		if err == nil || !strings.Contains(err.Error(), "twice") {
			t.Errorf("%s: %v, want an error that says so", name, err)
		}
	}
}

// Labels of a worker end up in JSON and logs. Header values do not have to be
// UTF-8 in HTTP, so they pass as the bytes that they are, str or bin.
func TestW10TextThatIsNotUTF8(t *testing.T) {
	for _, value := range [][]byte{{0xa4, 'c', 'a', 'f', 0xe9}, {0xc4, 4, 'c', 'a', 'f', 0xe9}} {
		for _, place := range []string{"WELCOME routers", "JOIN name", "JOIN hosts", "JOIN tag"} {
			if err := places[place](value); err == nil {
				t.Errorf("%x in %s passes", value, place)
			}
		}
		if err := parse([]byte{0x94, 65, 0, 0, 0x81}, msg("tags"), []byte{0x81}, value, msg("x")); err == nil {
			t.Errorf("%x passes for the name of a tag", value)
		}
		f, err := frame.Parse(slices.Concat([]byte{0x94, 1, 7, 0, 0x92}, msg("x-latin"), value), nil)
		if got := string(f.Fields.Get("x-latin")); err != nil || got != "caf\xe9" {
			t.Errorf("%x in HEADERS: %q, %v", value, got, err)
		}
	}
}

func TestW10NumbersUpTo2To53PassInEveryEncoding(t *testing.T) {
	for _, credit := range [][]byte{
		{0x01},
		{0xcc, 0x01},
		{0xcd, 0, 1},
		{0xce, 0, 0, 0, 1},
		{0xcf, 0, 0, 0, 0, 0, 0, 0, 1},
		{0xd0, 0x01},
		{0xd1, 0, 1},
		{0xd2, 0, 0, 0, 1},
		{0xd3, 0, 0, 0, 0, 0, 0, 0, 1},
	} {
		f, err := frame.Parse(append([]byte{0x94, 8, 7, 0}, credit...), nil)
		if err != nil || f.Credit != 1 {
			t.Errorf("%x: credit %d, %v", credit, f.Credit, err)
		}
	}
}

// A head of 64 KiB that is legal and means harm must not cost what it could
// cost in a map of strings to anything.
// legalGreed is how many bytes of memory a byte may cost: an empty string is one on the wire.
const legalGreed = 128

func TestW10LegalGreedIsBounded(t *testing.T) {
	const n = 60_000
	many := func(item ...byte) []byte {
		return append([]byte{0xdd, 0, 0, n >> 8, n & 0xff}, bytes.Repeat(item, n/len(item)*len(item))...)
	}
	for name, try := range map[string]func() error{
		"partitions": func() error { return parse([]byte{0x94, 66, 0, 0, 0x81}, msg("partitions"), many(0)) },
		"hosts":      func() error { return parse([]byte{0x94, 65, 0, 0, 0x81}, msg("hosts"), many(0xa0)) },
	} {
		var err error
		if got := allocated(func() { err = try() }); got > legalGreed*n {
			t.Errorf("%s: %d bytes allocated for %d (%v)", name, got, n, err)
		}
	}

	// One long name for a list of many values: each becomes a field of its own.
	greedy := slices.Concat([]byte{0x81}, msg("headers"), []byte{0x81}, msg(strings.Repeat("x", 30_000)),
		[]byte{0xdc, 30_000 >> 8, 30_000 & 0xff}, bytes.Repeat([]byte{0xa0}, 30_000))
	var err error
	if got := allocated(func() { err = reply(greedy) }); err == nil || got > 8*uint64(len(greedy)) {
		t.Errorf("a name of 30,000 bytes with 30,000 values: %d bytes allocated, error %v", got, err)
	}
}

func TestWrongSizesAreErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		head    []byte
		payload int
		want    error // its type and, for a stream's error, its stream
	}{
		"empty":                         {nil, 0, frame.ConnError{}},
		"an empty array":                {[]byte{0x90}, 0, frame.ConnError{}},
		"two elements":                  {[]byte{0x92, 0, 7}, 0, frame.ConnError{}},
		"a type above 255":              {[]byte{0x93, 0xcd, 1, 0, 7, 0}, 0, frame.ConnError{}},
		"flags above 255":               {[]byte{0x93, 0, 7, 0xcd, 1, 0}, 0, frame.ConnError{}},
		"DATA with a total, no end":     {[]byte{0x94, 0, 7, 0, 1}, 0, frame.StreamError{Stream: 7}},
		"DATA with end, no total":       {[]byte{0x93, 0, 7, 1}, 0, frame.StreamError{Stream: 7}},
		"DATA on stream 0":              {[]byte{0x93, 0, 0, 0}, 0, frame.ConnError{}},
		"HEADERS with end, no total":    {[]byte{0x94, 1, 7, 1, 0x90}, 0, frame.StreamError{Stream: 7}},
		"HEADERS without fields":        {[]byte{0x93, 1, 7, 0}, 0, frame.StreamError{Stream: 7}},
		"RST_STREAM without reason":     {[]byte{0x94, 3, 7, 0, 8}, 0, frame.StreamError{Stream: 7}},
		"RST_STREAM on stream 0":        {[]byte{0x95, 3, 0, 0, 8, 0xa0}, 0, frame.ConnError{}},
		"GOAWAY on a stream":            {[]byte{0x96, 7, 7, 0, 0, 0, 0xa0}, 0, frame.ConnError{}},
		"GOAWAY without reason":         {[]byte{0x95, 7, 0, 0, 0, 0}, 0, frame.ConnError{}},
		"WINDOW_UPDATE without credit":  {[]byte{0x93, 8, 7, 0}, 0, frame.StreamError{Stream: 7}},
		"WELCOME on a stream":           {[]byte{0x94, 64, 7, 0, 0x80}, 0, frame.ConnError{}},
		"JOIN without its map":          {[]byte{0x93, 65, 0, 0}, 0, frame.ConnError{}},
		"JOIN with two maps":            {[]byte{0x95, 65, 0, 0, 0x80, 0x80}, 0, frame.ConnError{}},
		"a head of 64 KiB and a byte":   {append([]byte{0x93, 0, 7, 0}, make([]byte, frame.MaxHead-3)...), 0, frame.StreamError{Stream: 7}},
		"a payload of 64 KiB + a byte":  {[]byte{0x93, 0, 7, 0}, frame.MaxPayload + 1, frame.StreamError{Stream: 7}},
		"the same beside a JOIN":        {[]byte{0x94, 65, 0, 0, 0x80}, frame.MaxPayload + 1, frame.ConnError{}},
		"the same, type of the future":  {[]byte{0x93, 0xcc, 200, 9, 0}, frame.MaxPayload + 1, frame.StreamError{Stream: 9}},
		"a payload of 64 KiB is right":  {[]byte{0x93, 0, 7, 0}, frame.MaxPayload, nil},
		"flags of the future are right": {[]byte{0x93, 0, 7, 0xcc, 0xfe}, 0, nil},
	} {
		_, err := frame.Parse(tc.head, make([]byte, tc.payload))
		got, want := reach(err), reach(tc.want)
		if got != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}

// reach is how far an error reaches.
func reach(err error) string {
	var stream frame.StreamError
	var conn frame.ConnError
	switch {
	case err == nil:
		return "no error"
	case errors.As(err, &stream):
		return fmt.Sprintf("an error of stream %d", stream.Stream)
	case errors.As(err, &conn):
		return "an error of the connection"
	}
	return "an error that does not say how far it reaches"
}
