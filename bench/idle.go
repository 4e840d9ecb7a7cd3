package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	idleClients  = 10_000
	portsPerHost = 5_000 // clients from one address of loopback, so that its ports do not run short
	settleTime   = 20 * time.Second
)

// idleMemory opens connections, sends one request on each, leaves them alone for a while, and sees what they have added
// to the proxy's resident memory. It wants a proxy that was started for it: memory that others left behind hides what is taken.
func idleMemory(ctx context.Context, _ *stage, on running, _ time.Duration) (turn, error) {
	if err := allowFiles(idleClients + 1000); err != nil {
		return turn{}, err
	}
	before, err := resident(on.proxy.cmd.Process.Pid)
	if err != nil {
		return turn{}, err
	}
	clients := make([]net.Conn, idleClients)
	defer func() {
		for _, c := range clients {
			if c != nil {
				_ = c.Close()
			}
		}
	}()
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(manyConnections)
	for i := range clients {
		group.Go(func() error {
			c, err := dialFrom(within, i/portsPerHost, on.address)
			if err != nil {
				return err
			}
			clients[i] = c
			return askOnce(c)
		})
	}
	if err := group.Wait(); err != nil {
		return turn{}, fmt.Errorf("idle clients: %w", err)
	}
	select {
	case <-ctx.Done():
		return turn{}, ctx.Err()
	case <-time.After(settleTime):
	}
	after, err := resident(on.proxy.cmd.Process.Pid)
	if err != nil {
		return turn{}, err
	}
	for _, c := range clients {
		if err := askOnce(c); err != nil {
			return turn{}, fmt.Errorf("a client that was idle for %v is not served any more, so its memory was not measured: %w", settleTime, err)
		}
	}
	return turn{idle: float64(after-before) / idleClients}, nil
}

// dialFrom connects from the host-th address of loopback after 127.0.0.1.
func dialFrom(ctx context.Context, host int, address string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+host))}}
	return d.DialContext(ctx, "tcp", address)
}

// askOnce sends a request on a connection that stays open, and reads the answer.
func askOnce(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(stopLimit)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: bench\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(c, 1024), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != answer {
		return fmt.Errorf("got %q, want %q: %w", body, answer, err)
	}
	return c.SetDeadline(time.Time{})
}

// resident is the memory that a process holds, in bytes.
func resident(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	return parseStatm(text, os.Getpagesize())
}

// parseStatm reads /proc/PID/statm, whose second field is the number of resident pages.
func parseStatm(text []byte, page int) (int, error) {
	fields := bytes.Fields(text)
	if len(fields) < 2 {
		return 0, fmt.Errorf("/proc/PID/statm: cannot read %q", text)
	}
	pages, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return 0, fmt.Errorf("/proc/PID/statm: cannot read %q", text)
	}
	return pages * page, nil
}

// allowFiles makes sure that this process, and those that it starts, may have so many files open. Go itself raises the
// soft limit to the hard one; only root can raise that.
func allowFiles(count uint64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if limit.Cur >= count {
		return nil
	}
	limit.Cur, limit.Max = count, max(limit.Max, count)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("the limit of open files is %d: raise it with ulimit -n %d: %w", limit.Max, count, err)
	}
	return nil
}
