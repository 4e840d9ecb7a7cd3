package worker

import (
	"errors"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
)

// What a handler may panic with, beside http.ErrAbortHandler, to give its request away. Neither is logged.
var (
	// ErrRefused says that the handler has not begun: the router sends the request to another worker, whatever its method is. It holds
	// only before the handler has read the body or written anything; after that it is ErrLost.
	ErrRefused = errors.New("worker: the handler refused the request before it began")

	// ErrLost says that what the handler answers from has died amid the request. To the router it is as if this worker had, for this one
	// request: it goes to another worker if it is safe to repeat and its answer has not begun. Else the client gets 502, or an answer
	// that breaks off visibly.
	ErrLost = errors.New("worker: what answers here was lost amid the request")
)

// giveAway ends the stream as the handler wants it, if panicked is one of those.
func (x *exchange) giveAway(panicked error) bool {
	refused := errors.Is(panicked, ErrRefused)
	if !refused && !errors.Is(panicked, ErrLost) {
		return false
	}
	code := frame.Code(http2.ErrCodeConnect)
	if x.stream.mu.Lock(); refused && !x.body.touched && !x.response.spoken {
		code = http2.ErrCodeRefusedStream
	}
	x.stream.mu.Unlock()
	x.abort(panicked, code, panicked.Error())
	return true
}
