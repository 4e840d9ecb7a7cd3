package main

import (
	"bytes"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

const (
	outletSize  = 1 << 20     // bytes of lines that wait; as many may be about to be written
	outletFlush = time.Second // for what waits at the end
)

// outlet writes lines to a file in the order in which they come, and has nobody wait for whoever reads it: when
// outletSize bytes wait, further lines are dropped. How many, the file is told once it takes lines again.
type outlet struct {
	file    *os.File
	writing sync.WaitGroup
	done    chan struct{} // closed when all is written

	mu      sync.Mutex
	changed sync.Cond
	lines   []byte // that wait
	dropped int    // after these
	tell    func(dropped int) []byte
	closed  bool
}

func newOutlet(f *os.File) *outlet {
	o := &outlet{file: f, done: make(chan struct{})}
	o.changed.L = &o.mu
	o.writing.Go(o.write)
	return o
}

// Write takes whole lines, all or none of them. It does not wait, and does not fail.
func (o *outlet) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.dropped > 0 || len(o.lines)+len(p) > outletSize {
		o.dropped++
	} else {
		o.lines = append(o.lines, p...)
		o.changed.Signal()
	}
	return len(p), nil
}

// telling sets how the line reads that says how many were dropped. Before, none does.
func (o *outlet) telling(tell func(dropped int) []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tell = tell
}

func (o *outlet) write() {
	defer close(o.done)
	var batch []byte
	for {
		o.mu.Lock()
		for len(o.lines) == 0 && !o.closed {
			o.changed.Wait()
		}
		if len(o.lines) == 0 {
			o.mu.Unlock()
			return
		}
		batch, o.lines = o.lines, batch[:0]
		dropped, tell := o.dropped, o.tell
		o.dropped = 0
		o.mu.Unlock()
		if dropped > 0 && tell != nil {
			batch = append(batch, tell(dropped)...)
		}
		for line := range bytes.Lines(batch) { // each at once: others may write to the same file
			_, _ = o.file.Write(line) // a full disk, or a reader that has gone, is no reason to end
		}
	}
}

// close writes what waits, for outletFlush at most: if the file takes no more, the rest and its writer are left behind.
func (o *outlet) close() {
	o.mu.Lock()
	o.closed = true
	o.changed.Signal()
	o.mu.Unlock()
	limit := time.NewTimer(outletFlush)
	defer limit.Stop()
	select {
	case <-o.done:
		o.writing.Wait()
	case <-limit.C:
	}
}

// outliveReaders has writes to stdout and stderr fail when their reader has gone, where Go would end the process. The signal is
// caught rather than ignored, as children would inherit that.
func outliveReaders() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// isTerminal looks through an outlet.
func isTerminal(w io.Writer) bool {
	if o, is := w.(*outlet); is {
		w = o.file
	}
	f, is := w.(*os.File)
	if !is {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
