package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v3"
)

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:         "version",
		Usage:        "print the version, Go's version and the platform",
		Description:  "Example: dialmux version",
		OnUsageError: usageError,
		ArgValidator: noArguments,
		Action:       func(_ context.Context, cmd *cli.Command) error { return printVersion(cmd) },
	}
}

func printVersion(cmd *cli.Command) error {
	_, err := fmt.Fprintf(cmd.Root().Writer, "dialmux %s %s %s/%s\n", moduleVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// moduleVersion is what the go command stamped into the binary: a tag, or the
// commit that it was built from.
func moduleVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
