//go:build !unix

package conform

import (
	"os"
	"os/exec"
)

func ownGroup(*exec.Cmd) {}

func signalGroup(cmd *exec.Cmd, s os.Signal) error { return cmd.Process.Signal(s) }
