package main

import (
	"os"
	"strings"
)

// screen is a terminal that is drawn on in place, on its other page: what stood
// there is back when leave returns.
type screen struct{ f *os.File }

func newScreen(f *os.File) screen {
	_, _ = f.WriteString("\x1b[?1049h\x1b[?25l") // if that fails, draw does
	return screen{f}
}

func (s screen) leave() { _, _ = s.f.WriteString("\x1b[?25h\x1b[?1049l") }

// draw overwrites, line by line, which does not flicker.
func (s screen) draw(text string) error {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if height, width := terminalSize(s.f); height > 0 {
		lines = lines[:min(len(lines), height)]
		for i, l := range lines {
			if r := []rune(l); len(r) >= width { // erasing after the last column takes that with it
				lines[i] = string(r[:max(width-1, 0)])
			}
		}
	}
	_, err := s.f.WriteString("\x1b[H" + strings.Join(lines, "\x1b[K\n") + "\x1b[K\x1b[J")
	return err
}
