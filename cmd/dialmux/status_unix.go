//go:build unix

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// terminalSize is in characters, or 0 if f does not say.
func terminalSize(f *os.File) (height, width int) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, 0
	}
	_ = raw.Control(func(fd uintptr) {
		if size, err := unix.IoctlGetWinsize(int(fd), unix.TIOCGWINSZ); err == nil {
			height, width = int(size.Row), int(size.Col)
		}
	})
	return height, width
}
