package router_test

import (
	"math"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/dialmux/dialmux/frame"
)

// packed is v in msgpack.
func packed(v any) []byte {
	b, err := msgpack.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// Whatever msgpack can say in the place of a status costs that stream alone.
func TestW2StatusesOfAnotherType(t *testing.T) {
	for name, status := range map[string]any{
		"a float": 200.0, "half": 200.5, "no number": math.NaN(), "infinite": math.Inf(1), "negative": -200, "beyond 2^63": uint64(math.MaxUint64),
		"text": "0200", "true": true, "nil": nil, "a list": []int{200}, "a map": map[string]int{"200": 200}, "a time": time.Unix(200, 0),
	} {
		row{
			name: name, status: 502,
			native: func(c *call) { c.send(packed([]any{frame.Headers, c.Stream, 1, []any{":status", status}, 0})) },
			rep:    func(j *task) { j.reply(string(packed(map[string]any{"status": status})), "injected") },
		}.play(t)
	}
}
