// Command dialmux is a reverse proxy whose backends dial in, in one binary.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/urfave/cli/v3"

	_ "github.com/dialmux/dialmux/cmd/dialmux/extended" // before net/http
)

func main() {
	stderr := newOutlet(os.Stderr, 0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	root := command()
	root.ErrWriter = stderr
	err := root.Run(ctx, os.Args)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "dialmux:", err) // after what is logged
	}
	stderr.close()
	stop()
	if err != nil {
		os.Exit(1)
	}
}

func command() *cli.Command {
	var version bool
	return completes(&cli.Command{
		Name:        "dialmux",
		Usage:       "a reverse proxy whose backends dial in",
		Description: "Example: dialmux demo",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "version", Usage: "print the version, and end", Local: true, HideDefault: true, Destination: &version},
		},
		Commands:                        []*cli.Command{routerCommand(), workerCommand(), runCommand(), statusCommand(), ownerCommand(), ringCommand(), demoCommand(), conformCommand(), versionCommand()},
		EnableShellCompletion:           true,
		ConfigureShellCompletionCommand: ownBash,
		HideVersion:                     true, // ours prints the line that `dialmux version` does
		OnUsageError:                    usageError,
		Action: func(_ context.Context, cmd *cli.Command) error {
			switch {
			case version:
				return printVersion(cmd)
			case cmd.Args().Present():
				return unknownCommand(cmd)
			}
			return cli.ShowRootCommandHelp(cmd)
		},
	})
}

func unknownCommand(cmd *cli.Command) error {
	name := cmd.Args().First()
	return fmt.Errorf("there is no command %q; did you mean %q? `%s --help` lists them", name, cli.SuggestCommand(cmd.Commands, name), cmd.FullName())
}

// noArguments is for commands that have flags only.
func noArguments(_ context.Context, cmd *cli.Command) error {
	if cmd.Args().Present() {
		return fmt.Errorf("%s takes flags only, not %q; `%s --help` lists them", cmd.FullName(), cmd.Args().First(), cmd.FullName())
	}
	return nil
}

// usageError puts what the command line gets wrong into one line. The library
// has no type for a flag that does not exist, so its words are what there is
// to go by.
func usageError(_ context.Context, cmd *cli.Command, err error, _ bool) error {
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !unknown {
		return err
	}
	line := fmt.Sprintf("%s has no flag %s;", cmd.FullName(), dashed(name))
	if near := cli.SuggestFlag(cmd.Flags, name, false); near != "" {
		line += fmt.Sprintf(" did you mean %s?", near)
	}
	return errors.New(line + fmt.Sprintf(" `%s --help` lists them", cmd.FullName()))
}
