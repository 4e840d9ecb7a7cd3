package main

import (
	"bufio"
	"encoding/binary"
	"io"
	"os"
	"time"
)

// A worker's record is a pipe, its descriptor 3, whose other end the harness
// holds: what was written survives kill -9. An entry has 16 bytes, little-endian: the
// event in the top byte of the first eight and the request's number below, then
// the time in nanoseconds since 1970.
const recordDescriptor = 3

type event uint8

const (
	began event = 1
	ended event = 2
)

type record struct{ to io.Writer }

func openRecord() record { return record{os.NewFile(recordDescriptor, "record")} }

// note is one write, of less than a pipe takes at once: entries never mix.
func (r record) note(what event, number uint32) error {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], uint64(what)<<56|uint64(number))
	binary.LittleEndian.PutUint64(b[8:], uint64(time.Now().UnixNano()))
	_, err := r.to.Write(b[:])
	return err
}

// readRecord calls each with every entry until the worker is gone.
func readRecord(from io.Reader, each func(what event, number uint32, at time.Time)) {
	in := bufio.NewReaderSize(from, 16<<10)
	for {
		var b [16]byte
		if _, err := io.ReadFull(in, b[:]); err != nil {
			return
		}
		first := binary.LittleEndian.Uint64(b[:])
		each(event(first>>56), uint32(first), time.Unix(0, int64(binary.LittleEndian.Uint64(b[8:]))))
	}
}
