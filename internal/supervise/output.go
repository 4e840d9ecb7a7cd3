package supervise

import (
	"bufio"
	"errors"
	"io"
	"sync"
)

// maxLine is where a line is broken in two.
const maxLine = 64 << 10

// output is where lines of several instances meet: each is written whole.
type output struct {
	mu  sync.Mutex
	w   io.Writer
	buf []byte
}

// copy writes each line of r with name before it, until r ends.
func (o *output) copy(name string, r io.Reader) {
	lines := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := lines.ReadSlice('\n')
		if len(line) > 0 {
			o.write(name, line)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

func (o *output) write(name string, line []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf = append(append(append(o.buf[:0], name...), " | "...), line...)
	if line[len(line)-1] != '\n' {
		o.buf = append(o.buf, '\n')
	}
	_, _ = o.w.Write(o.buf) // the command goes on without a reader
}
