package zmtp

import (
	"encoding/binary"
	"fmt"
)

// Bits of a frame's first byte.
const (
	flagMore    = 1
	flagLong    = 2
	flagCommand = 4
)

const (
	smallBuffer = 16 << 10
	largeBuffer = 256 << 10
	maxCommand  = 256      // bytes of one command in traffic
	besidePart  = 64 << 10 // bytes of a message beyond the limit of a part: a head has room beside the largest body
	besideAll   = 512      // more than a part's header and a command, that may stand behind a message's parts
)

type event uint8

const (
	isIncomplete event = iota // more must be read
	isMessage                 // in parts
	isCommand                 // in command
)

// reader cuts what was read into messages and commands, in place. Its buffer grows only as bytes really arrive,
// whatever a length claims.
type reader struct {
	maxPart, maxParts int

	buf      []byte
	pos, end int      // what lies between has been read and not yet been cut
	parts    [][]byte // of the current message, within buf
	held     int      // bytes of parts
	command  []byte
}

func newReader(maxPart, maxParts int) reader {
	return reader{maxPart: maxPart, maxParts: maxParts, buf: make([]byte, smallBuffer)}
}

// next cuts one frame after the other until a message or command is whole. After isMessage comes release.
func (r *reader) next() (event, error) {
	for {
		flags, start, size, err := r.header()
		if err != nil {
			return isIncomplete, err
		}
		if start == 0 || r.end-start < size {
			return isIncomplete, nil
		}
		body := r.buf[start : start+size : start+size]
		r.pos = start + size
		if flags&flagCommand != 0 {
			r.command = body
			return isCommand, nil
		}
		r.parts = append(r.parts, body)
		r.held += size
		if flags&flagMore == 0 {
			return isMessage, nil
		}
	}
}

// header judges the frame at pos. start is where its body will be, 0 if too little is there to tell.
func (r *reader) header() (flags byte, start, size int, err error) {
	head := r.buf[r.pos:r.end]
	if len(head) == 0 {
		return 0, 0, 0, nil
	}
	flags = head[0]
	if flags&^(flagMore|flagLong|flagCommand) != 0 || flags&(flagMore|flagCommand) == flagMore|flagCommand {
		return 0, 0, 0, fmt.Errorf("zmtp: malformed frame: flags %#02x", flags)
	}
	var length uint64
	switch {
	case flags&flagLong == 0 && len(head) >= 2:
		start, length = r.pos+2, uint64(head[1])
	case flags&flagLong != 0 && len(head) >= 9:
		start, length = r.pos+9, binary.BigEndian.Uint64(head[1:])
	default:
		return flags, 0, 0, nil
	}
	switch {
	case flags&flagCommand != 0 && length > maxCommand:
		err = fmt.Errorf("zmtp: a command of %d bytes: at most %d are taken", length, maxCommand)
	case flags&flagCommand == 0 && length > uint64(r.maxPart):
		err = fmt.Errorf("zmtp: a part of %d bytes: at most %d are taken", length, r.maxPart)
	case flags&flagCommand == 0 && uint64(r.held)+length > uint64(r.maxPart)+besidePart:
		err = fmt.Errorf("zmtp: a message of more than %d bytes", uint64(r.maxPart)+besidePart)
	case flags&flagCommand == 0 && len(r.parts) == r.maxParts:
		err = fmt.Errorf("zmtp: a message of more than %d parts", r.maxParts)
	}
	if err != nil {
		return 0, 0, 0, err
	}
	return flags, start, int(length), nil
}

// release forgets the message that next returned.
func (r *reader) release() {
	clear(r.parts)
	r.parts, r.held = r.parts[:0], 0
}

// empty reports whether nothing waits for the rest of it.
func (r *reader) empty() bool { return r.pos == r.end && len(r.parts) == 0 }

// most is how large the buffer ever gets: the largest message, and a third of it, so that there are few moves.
func (r *reader) most() int { return (r.maxPart + besidePart + besideAll) / 3 * 4 }

// space returns where the next read goes, after making room for it. A move costs no more than a constant times
// the bytes read since the last one, whatever stands between the parts of a message.
func (r *reader) space() []byte {
	if r.empty() {
		r.pos, r.end = 0, 0
		if len(r.buf) > largeBuffer {
			r.buf = make([]byte, smallBuffer)
		}
	}
	enough, most := len(r.buf)/4, r.most()
	if len(r.buf) >= most {
		enough /= 2 // a move leaves a quarter at least
	}
	if len(r.buf)-r.end > enough {
		return r.buf[r.end:]
	}
	to := r.buf
	if len(r.buf) < most && r.held+r.end-r.pos > len(r.buf)/2 {
		size := 2 * len(r.buf)
		if size > most/3*2 {
			size = most // the two that are there while one is copied are never two large ones
		}
		to = make([]byte, size)
	}
	n := 0
	for i, part := range r.parts {
		end := n + copy(to[n:], part)
		r.parts[i] = to[n:end:end]
		n = end
	}
	n += copy(to[n:], r.buf[r.pos:r.end])
	r.buf, r.pos, r.end = to, r.held, n
	return r.buf[r.end:]
}

// grew counts n bytes that were read into space.
func (r *reader) grew(n int) { r.end += n }

// shrink gives the buffer back if a quiet connection does not need it.
func (r *reader) shrink() {
	if r.empty() && len(r.buf) > smallBuffer {
		r.buf, r.pos, r.end = make([]byte, smallBuffer), 0, 0
	}
}
