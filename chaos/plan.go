package main

import (
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// kind is what a request does, and what a proxy may do with it.
type kind uint8

const (
	getSmall   kind = iota
	getLong         // an answer of many pieces
	put             // with a body of at most 64 KiB
	post            // not to be repeated
	postKeyed       // with Idempotency-Key: safe to repeat
	uploadPut       // more than 64 KiB: idempotent, but more than a proxy keeps for a second try
	uploadPost      // more than 64 KiB, not to be repeated
	slowReader      // GET, and the answer is read in sips
	slowWriter      // PUT, and the body is sent in drips
	kinds
)

var methods = [kinds]string{
	http.MethodGet, http.MethodGet, http.MethodPut, http.MethodPost, http.MethodPost,
	http.MethodPut, http.MethodPost, http.MethodGet, http.MethodPut,
}

// shares are parts of 100.
var shares = [kinds]int{40, 12, 14, 14, 11, 3, 2, 2, 2}

func (k kind) method() string { return methods[k] }

// repeatable tells whether a request may be carried out twice.
func (k kind) repeatable() bool { return k != post && k != uploadPost }

// kept tells whether a proxy can send it again: its whole body is at hand.
func (k kind) kept() bool { return k != uploadPut && k != uploadPost }

// phase is where in its work a handler lingers.
type phase uint8

const (
	nowhere    phase = iota
	beforeHead       // begun, no head sent
	midBody
	beforeEnd // the body has left, its end has not
	trailing  // the same, and trailers end it
	phases
)

// plan is all of a request. It follows from the run's seed, its number, and
// what the load was told at that time.
type plan struct {
	number   uint32
	kind     kind
	phase    phase
	linger   time.Duration
	size     int  // of the answer's body
	upload   int  // of the request's body
	sized    bool // the answer has a Content-Length
	http2    bool
	key      int           // that its worker is chosen by; 0: it has none
	patience time.Duration // that its Request-Timeout says; 0: it has none
}

// mood is what a load is told at a time.
type mood struct {
	factor    float64       // on the rate; 0: 1
	slow      kind          // a slow one, which every sixteenth request is then
	linger    time.Duration // how long every handler takes; 0: as it comes
	impatient bool          // every eighth request has a Request-Timeout
	hasty     bool          // so have others, which is over while their handlers linger
}

// makePlan draws a plan.
func makePlan(seed uint64, number uint32, m mood) plan {
	draw := rand.New(rand.NewPCG(seed, uint64(number)))
	p := plan{number: number, size: 16 + draw.IntN(2048), sized: draw.IntN(2) == 0}
	for at := draw.IntN(100); at >= shares[p.kind]; p.kind++ {
		at -= shares[p.kind]
	}
	if (m.slow == slowReader || m.slow == slowWriter) && draw.IntN(16) == 0 {
		p.kind = m.slow
	}
	switch p.kind {
	case getLong:
		p.size = 32<<10 + draw.IntN(224<<10)
	case put, post, postKeyed:
		p.upload = 1 + draw.IntN(8<<10)
		if draw.IntN(16) == 0 {
			p.upload = 32<<10 + draw.IntN(32<<10)
		}
	case uploadPut, uploadPost:
		p.upload = 96<<10 + draw.IntN(160<<10)
	case slowReader:
		p.size = 256<<10 + draw.IntN(256<<10)
	case slowWriter:
		p.upload = 16<<10 + draw.IntN(32<<10)
	}
	if draw.IntN(10) >= 3 {
		p.phase = beforeHead + phase(draw.IntN(int(phases-beforeHead)))
		p.linger = time.Duration(10+draw.IntN(71)) * time.Millisecond
	}
	if m.linger > 0 {
		p.phase, p.linger = max(p.phase, beforeHead), m.linger
	}
	if m.impatient && draw.IntN(8) == 0 && p.kind != slowReader && p.kind != slowWriter {
		p.patience = time.Second
	}
	if m.hasty && p.patience == 0 && p.linger > 0 && p.kind.kept() && p.kind != slowReader && p.kind != slowWriter && draw.IntN(32) == 0 {
		p.patience = (p.linger/2 + 5*time.Millisecond).Truncate(time.Millisecond)
	}
	p.sized = p.sized && p.phase != trailing
	p.http2 = p.kind != slowReader && p.kind != slowWriter && draw.IntN(10) == 0
	if draw.IntN(4) == 0 {
		p.key = 1 + draw.IntN(keys)
	}
	return p
}

// Every fourth request has one of so many keys, and where its worker is chosen by them they go in keyField.
const (
	keys     = 64
	keyField = "X-Chaos-Key"
)

// deadline is when the request must have had its end. A client that says when it
// loses patience is told so a little later at the most.
func (p *plan) deadline() time.Duration {
	if p.patience > 0 {
		return p.patience + 5*time.Second
	}
	return deadline
}

// target tells a worker all that it has to know.
func (p *plan) target() string {
	sized := 0
	if p.sized {
		sized = 1
	}
	return fmt.Sprintf("/chaos?n=%d&phase=%d&ms=%d&size=%d&sized=%d", p.number, p.phase, p.linger.Milliseconds(), p.size, sized)
}

// parseTarget is target's inverse, as far as a worker needs it.
func parseTarget(query url.Values) (p plan, err error) {
	read := func(name string, bits int) uint64 {
		n, e := strconv.ParseUint(query.Get(name), 10, bits)
		if e != nil && err == nil {
			err = fmt.Errorf("%s: %w", name, e)
		}
		return n
	}
	p.number, p.phase = uint32(read("n", 32)), phase(read("phase", 8))
	p.linger = time.Duration(read("ms", 20)) * time.Millisecond
	p.size, p.sized = int(read("size", 24)), read("sized", 1) == 1
	return p, err
}

// Bodies, of both directions, tell whose they are in each sixteen bytes: the
// request's number and that of the kilobyte, in hexadecimal.
const (
	cell  = 16
	block = 1 << 10
)

// fill writes the body of a request of this number, from offset on.
func fill(p []byte, number uint32, offset int) {
	var text [cell]byte
	for len(p) > 0 {
		copy(text[:], fmt.Appendf(text[:0], "%08x%08x", number, offset/block))
		part := p[:min(len(p), block-offset%block)]
		n := copy(part, text[offset%cell:])
		for n < len(part) {
			n += copy(part[n:], text[:])
		}
		p, offset = p[len(part):], offset+len(part)
	}
}

func bodyOf(number uint32, size int) []byte {
	b := make([]byte, size)
	fill(b, number, 0)
	return b
}

// sumOf is what a worker says of the body that it got.
func sumOf(b []byte) string { return fmt.Sprintf("%08x", crc32.ChecksumIEEE(b)) }
