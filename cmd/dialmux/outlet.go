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

// outlet writes lines to a file in the order in which they come, and has nobody wait for whoever reads it, or only so long:
// when outletSize bytes wait, further lines are dropped. How many, is told once the file takes lines again.
type outlet struct {
	file    *os.File
	waits   time.Duration // how long Write may, for a reader that is slow
	writing sync.WaitGroup
	done    chan struct{} // closed when all is written

	mu      sync.Mutex
	changed sync.Cond
	lines   []byte // that wait
	dropped int    // after these
	tell    func(dropped int) []byte
	closed  bool
}

func newOutlet(f *os.File, waits time.Duration) *outlet {
	o := &outlet{file: f, waits: waits, done: make(chan struct{})}
	o.changed.L = &o.mu
	o.writing.Go(o.write)
	return o
}

// Write takes whole lines, all or none of them. It does not fail.
func (o *outlet) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.waits > 0 && o.dropped == 0 && o.full(p) {
		o.awaitRoom(p)
	}
	if o.dropped > 0 || o.full(p) {
		o.dropped++
	} else {
		o.lines = append(o.lines, p...)
		o.changed.Broadcast()
	}
	return len(p), nil
}

func (o *outlet) full(p []byte) bool { return len(o.lines)+len(p) > outletSize }

func (o *outlet) awaitRoom(p []byte) {
	late := false
	limit := time.AfterFunc(o.waits, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		late = true
		o.changed.Broadcast()
	})
	defer limit.Stop()
	for o.full(p) && o.dropped == 0 && !late {
		o.changed.Wait()
	}
}

// telling sets what says how many were dropped: a line that is put in their place, if it is one. Before, nothing does.
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
		o.changed.Broadcast()
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
	o.changed.Broadcast()
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
