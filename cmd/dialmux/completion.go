package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v3"
)

// ownBash puts a script of ours in place of the library's for bash, which needs
// the package bash-completion, and runs what $( ) holds on the command line.
func ownBash(completion *cli.Command) {
	completion.Hidden = false
	completion.Usage = "print a script that has a shell complete commands and flags"
	completion.Description = `Example: source <(dialmux completion bash)

In .bashrc that completes from now on, as does, in .zshrc,

    source <(dialmux completion zsh)

For fish, write it to ~/.config/fish/completions/dialmux.fish.`
	completion.OnUsageError = usageError
	completion.Action = func(_ context.Context, cmd *cli.Command) error {
		if cmd.Args().Present() {
			return unknownCommand(cmd)
		}
		return cli.ShowSubcommandHelp(cmd)
	}
	for _, shell := range completion.Commands {
		shell.Usage = "print the script for " + shell.Name
		shell.Description = "Example: dialmux completion " + shell.Name
		shell.OnUsageError = usageError
		shell.ArgValidator = noArguments
		if shell.Name == "bash" {
			shell.Action = func(_ context.Context, cmd *cli.Command) error {
				_, err := io.WriteString(cmd.Root().Writer, bashCompletion)
				return err
			}
		}
	}
}

// bashCompletion asks dialmux itself, which answers WORD:WHAT IT IS on each
// line, or nothing where files are to be completed. Flags are no value: it cannot
// tell a flag that is being typed from one before an empty word.
const bashCompletion = `_dialmux() {
  local cur=${COMP_WORDS[COMP_CWORD]} word
  local -a words=("${COMP_WORDS[@]:0:COMP_CWORD}")
  words[0]=${words[0]/#\~/$HOME}
  [[ $cur == -* ]] && words+=("$cur")
  COMPREPLY=()
  while IFS=: read -r word _; do
    [[ $word == -* && $cur != -* ]] && continue
    [[ -n $word && $word == "$cur"* ]] && COMPREPLY+=("$word")
  done < <("${words[@]}" --generate-shell-completion 2>/dev/null)
}
complete -o bashdefault -o default -F _dialmux dialmux
`

// completes sets how cmd and those below it are completed. The library's own way takes
// --h for -h, and stops at the first value that a flag does not take.
func completes(cmd *cli.Command) *cli.Command {
	cmd.ShellComplete = complete
	for _, sub := range cmd.Commands {
		completes(sub)
	}
	return cmd
}

// complete prints what may come next. The script's marker is the last argument.
func complete(_ context.Context, cmd *cli.Command) {
	out, before := cmd.Root().Writer, ""
	if n := len(os.Args); n >= 2 {
		before = os.Args[n-2]
	}
	if strings.HasPrefix(before, "-") {
		for _, f := range cmd.VisibleFlags() {
			usage := ""
			if d, ok := f.(cli.DocGenerationFlag); ok {
				usage = strings.ReplaceAll(d.GetUsage(), "`", "")
			}
			for _, name := range f.Names() {
				if name = dashed(name); strings.HasPrefix(name, before) && name != before {
					_, _ = fmt.Fprintf(out, "%s:%s\n", name, usage)
				}
			}
		}
		return
	}
	for _, c := range cmd.VisibleCommands() {
		if c.Name != "help" { // which every command has
			_, _ = fmt.Fprintf(out, "%s:%s\n", c.Name, c.Usage)
		}
	}
}

func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}
