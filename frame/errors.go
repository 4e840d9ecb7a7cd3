package frame

import (
	"errors"
	"fmt"
)

// ConnError ends the connection that it came from.
type ConnError struct {
	Code   Code
	Reason string
}

func (e ConnError) Error() string { return fmt.Sprintf("%v: %s", e.Code, e.Reason) }

// StreamError ends one stream; the connection goes on.
type StreamError struct {
	Stream uint64
	Code   Code
	Reason string
}

func (e StreamError) Error() string {
	return fmt.Sprintf("stream %d: %v: %s", e.Stream, e.Code, e.Reason)
}

var (
	errNotMap   = errors.New("wants a map")
	errNotArray = errors.New("wants an array")
	errTwice    = errors.New("is there twice: send each key once")
	errUTF8     = errors.New("is not UTF-8")
	errTrailing = errors.New("more bytes follow the map")
	errTooLong  = errors.New("names and values come to more than a head of 65,536 bytes holds")
	errNumber   = errors.New("wants a whole number from 0 to 2^53-1")
	errText     = errors.New("wants a msgpack str or bin")
	errPairs    = errors.New("wants a flat array of name, value, name, value")
	errHeaders  = errors.New("headers want to be a map of name to value or list of values, or a list of [name, value]")
)

func connError(code Code, format string, args ...any) error {
	return ConnError{Code: code, Reason: fmt.Sprintf(format, args...)}
}
