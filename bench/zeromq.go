package main

import (
	"context"
	_ "embed" // for the source
	"fmt"
	"os/exec"
	"path/filepath"
)

//go:embed zeromq/answer.c
var answerSource string

// zeromqAnswer starts the handler of the proxies that speak ZeroMQ. It is in C on libzmq, so that it holds nobody up.
func (s *stage) zeromqAnswer(ctx context.Context, args ...string) (*process, error) {
	dir, source, err := s.file("answer", "answer.c", answerSource)
	if err != nil {
		return nil, err
	}
	program := filepath.Join(dir, "answer")
	out, err := exec.CommandContext(ctx, "cc", "-O2", "-o", program, source, "-lzmq").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("compiling its handler, which wants gcc, libc6-dev and libzmq3-dev (make bench-deps): %w\n%s", err, out)
	}
	return s.launch(ctx, "answer-"+args[0], nil, program, args...)
}
