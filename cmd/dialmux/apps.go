package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/dialmux/dialmux/worker"
)

// apps are the files of a directory, and a worker for each.
type apps struct {
	dir     string
	s       *workerSettings
	log     *slog.Logger
	process string // what workers' names begin with
	files   map[string]*appFile
	unread  string // what was wrong with the directory, when it was said
	workers sync.WaitGroup
}

// appFile is one of them.
type appFile struct {
	seen    fs.FileInfo // when it was read last
	read    string      // then: its text, or why there is none
	settled bool        // read was taken, or named
	workers succession
}

// largestFile bounds what one app may say of itself: 64 KiB is what a worker may
// announce.
const largestFile = 256 << 10

// serveApps runs a worker for each file until ctx ends.
func (s *workerSettings) serveApps(ctx context.Context, log *slog.Logger) error {
	if _, err := os.ReadDir(s.apps); err != nil {
		return fmt.Errorf("--apps-dir: %w; name a directory that this user may read", err)
	}
	a := &apps{dir: s.apps, s: s, log: log, process: cmp.Or(s.worker.Name, worker.DefaultName()), files: map[string]*appFile{}}
	// Files are looked at rather than watched: that holds for network file systems, bind mounts and links that are turned over, too.
	ticker := time.NewTicker(lookAgain)
	defer ticker.Stop()
	defer a.workers.Wait()
	for {
		a.look(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			for _, f := range a.files {
				f.workers.stop()
			}
			return nil
		}
	}
}

// look brings workers in line with the files.
func (a *apps) look(ctx context.Context) {
	entries, err := os.ReadDir(a.dir)
	if err != nil {
		if a.unread != err.Error() {
			a.unread = err.Error()
			a.log.Warn("the directory of apps cannot be read; what was there goes on", "err", err)
		}
		return
	}
	a.unread = ""
	there := map[string]bool{}
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") || strings.HasSuffix(name, ".tmp") || strings.HasSuffix(name, ".swp") {
			continue // editors' own
		}
		info, err := os.Stat(filepath.Join(a.dir, name))
		switch f := a.files[name]; {
		case errors.Is(err, fs.ErrNotExist) && f != nil && f.workers.any():
			continue
		case err != nil: // it leads nowhere, or where this user may not look: reading it says so
			if info, err = e.Info(); err != nil {
				continue
			}
		}
		there[name] = true
		a.refresh(ctx, name, info)
	}
	for name, f := range a.files {
		if !there[name] {
			f.workers.stop()
			delete(a.files, name)
			a.log.Info("an app's file is gone, and its worker leaves", "file", filepath.Join(a.dir, name))
		}
	}
}

// refresh takes what has changed. A file that is of no use is named when it is
// still so at the next look: it may have been half written.
func (a *apps) refresh(ctx context.Context, name string, info fs.FileInfo) {
	f := a.files[name]
	if f == nil {
		f = &appFile{}
		a.files[name] = f
	}
	same := f.seen != nil && os.SameFile(f.seen, info) && f.seen.ModTime().Equal(info.ModTime()) && f.seen.Size() == info.Size() && f.seen.Mode() == info.Mode()
	if same && f.settled {
		return
	}
	path := filepath.Join(a.dir, name)
	text, err := readApp(path, info)
	read := text
	if err != nil {
		read = err.Error()
	}
	steady := f.seen != nil && read == f.read
	f.seen, f.read, f.settled = info, read, steady && f.settled
	if f.settled { // touched
		return
	}
	if err == nil {
		err = a.start(ctx, f, path, text)
	}
	f.settled = err == nil || steady
	if err == nil || !steady {
		return
	}
	attrs := []any{"file", path, "err", err}
	if wrong, ok := errors.AsType[*lineError](err); ok {
		attrs = []any{"file", path, "line", wrong.line, "err", wrong.err}
	}
	if f.workers.any() {
		a.log.Warn("a changed app's file is of no use; the worker goes on as it was", attrs...)
	} else {
		a.log.Warn("an app's file is of no use", attrs...)
	}
}

func readApp(path string, info fs.FileInfo) (string, error) {
	if !info.Mode().IsRegular() && info.Mode()&fs.ModeSymlink == 0 { // a pipe's reader waits for ever
		return "", errors.New("it is no regular file: one in JSON is right")
	}
	if info.Size() > largestFile {
		return "", fmt.Errorf("it has %d bytes, at most %d are read: one file is one app", info.Size(), largestFile)
	}
	text, err := os.ReadFile(path) //nolint:gosec // the operator names the directory
	return string(text), err
}

// start has what a file says be announced, by a worker for its app.
func (a *apps) start(ctx context.Context, f *appFile, path, text string) error {
	said, err := parseApp([]byte(text), a.s.forwarding)
	if err != nil {
		return err
	}
	w := a.s.worker
	w.Service, w.Hosts, w.Paths = said.worker.Service, said.worker.Hosts, said.worker.Paths
	w.Weight, w.Balance = said.worker.Weight, said.worker.Balance
	w.Sticky = said.worker.Sticky
	if said.worker.Concurrency > 0 {
		w.Concurrency = said.worker.Concurrency
	}
	w.Name = nameOf(a.process, filepath.Base(path))
	log := a.log.With("file", path)
	one, err := said.app(w.Paths, log)
	if err != nil {
		return &lineError{1, err}
	}
	w.Handler = one
	working, withdraw := context.WithCancel(ctx)
	next := &appWorker{to: said.forwarding, concurrency: w.Concurrency, withdraw: withdraw}
	if said.strip {
		next.to.health.StripPrefix = w.Paths
	}
	fresh, err := f.workers.take(next, w)
	if err != nil {
		withdraw()
		return &lineError{1, err}
	}
	if fresh {
		a.workers.Go(func() {
			defer withdraw()
			if err := f.workers.run(working, next, one, w); err != nil {
				log.Error("the app's worker ended", "err", err)
			}
		})
	} else {
		withdraw()
	}
	a.log.Info("an app's file was read", "file", path, "to", said.to, "service", w.Service, "hosts", w.Hosts, "paths", w.Paths)
	return nil
}
