package main_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// On a terminal, the table is drawn in place, no larger than that, and what stood there comes back.
func TestStatusWatchOnATerminal(t *testing.T) {
	r := startRouter(t)
	r.worker("worker-1")
	r.awaitReady(1)
	master, terminal := openTerminal(t, unix.Winsize{Row: 7, Col: 20})
	cmd := exec.Command("dialmux", "status", "--admin", r.admin, "--watch")
	cmd.Stdout = terminal
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = terminal.Close()
	var out buffer
	var reading sync.WaitGroup
	reading.Go(func() { _, _ = io.Copy(&out, master) })
	eventually(t, "three tables", func() bool { return strings.Count(out.String(), "\x1b[H") >= 3 })
	_ = cmd.Process.Signal(syscall.SIGINT)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	reading.Wait() // the end of the terminal is an error
	got := out.String()
	if !strings.HasPrefix(got, "\x1b[?1049h\x1b[?25l") || !strings.HasSuffix(got, "\x1b[?25h\x1b[?1049l") {
		t.Errorf("the terminal is not left as it was: %q", got)
	}
	for _, table := range strings.Split(got, "\x1b[H")[1:] {
		table, _, _ = strings.Cut(table, "\x1b[J")
		lines := strings.Split(table, "\x1b[K\r\n")
		if len(lines) != 7 || lines[6] != "worker-1   -       \x1b[K" {
			t.Errorf("there is room for 7 lines of 20 characters, drawn was %q", lines)
		}
	}
}

func openTerminal(t *testing.T, size unix.Winsize) (master, terminal *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	fd := int(master.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &size)
	}
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, terminal
}
