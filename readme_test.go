package house_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestREADME does what the README tells a reader to do: it runs each console block in order, in one shell and in a network
// namespace of its own, where the default ports are free, and compares what the commands print. The one that wants docker is TestCompose's.
func TestREADME(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := codeBlocks(string(readme), "console")
	if len(blocks) < 4 {
		t.Fatalf("%d console blocks in README.md: the demo alone has more", len(blocks))
	}
	dir := t.TempDir()
	python := filepath.Join(dir, "worker.py")
	write(t, python, codeBlocks(string(readme), "python")[0])

	script, workers := prelude, 0
	var routers []string // their admin ports
	var want []string
	for _, block := range blocks {
		commands := parseConsole(block)
		if commands[0].run == "make up" {
			continue
		}
		if commands[0].startsRouter() {
			script += "stop\n"
			routers, workers = nil, 0
		}
		for _, c := range commands {
			switch {
			case c.run == "make demo":
				script += fmt.Sprintf("start %s\nawait 2\nstart /usr/bin/python3 %s\nawait 3\ncurl -sS http://127.0.0.1:9000/ http://127.0.0.1:9000/ http://127.0.0.1:9000/ | grep Python\nstop_last\nawait 2\n", quoted(c.run), python)
				want = append(want, "Hello from Python")
			case c.background():
				script += fmt.Sprintf("start bash -c %s\n", quoted(strings.TrimSuffix(c.run, "&")))
				if c.startsRouter() {
					routers = append(routers, c.flag("--admin", "127.0.0.1:9901"))
				} else if startsWorker.MatchString(c.run) {
					n, err := strconv.Atoi(c.flag("-n", "1"))
					if err != nil {
						t.Fatalf("%s: %v", c.run, err)
					}
					workers += n
				}
			case c.prints != nil:
				script += c.run + "\n"
				want = append(want, c.prints...)
			default:
				script += fmt.Sprintf("{ %s; } >/dev/null\n", c.run)
			}
		}
		if commands[0].background() && commands[0].run != "make demo" {
			for _, admin := range routers {
				script += fmt.Sprintf("await %d %s\n", workers, admin)
			}
		}
	}
	shell := filepath.Join(dir, "readme.sh")
	write(t, shell, script)

	cmd := exec.Command("unshare", "--net", "bash", shell)
	if os.Geteuid() != 0 {
		cmd = exec.Command("unshare", "--user", "--map-root-user", "--net", "bash", shell)
	}
	var log strings.Builder
	cmd.Stderr = &log
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s\nstandard output:\n%s", err, &log, out)
	}
	got := strings.Split(strings.TrimSpace(string(out)), "\n")
	slices.Sort(got) // whose turn is first is nobody's promise
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("README's commands print\n%s\nand README says\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestREADMECode builds the Go program of the README.
func TestREADMECode(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	main := filepath.Join(t.TempDir(), "main.go")
	write(t, main, codeBlocks(string(readme), "go")[0])
	if out, err := exec.Command("go", "build", "-o", os.DevNull, main).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestLinks: what the documents link to in this repository is there.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#\s]*)(#[^)\s]*)?\)`)
	var docs []string
	for _, depth := range []string{"", "*/", "*/*/"} {
		found, err := filepath.Glob(depth + "*.md")
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, found...)
	}
	if !slices.Contains(docs, filepath.Join("frame", "SPEC.md")) {
		t.Errorf("the documents: %v", docs)
	}
	for _, doc := range docs {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(found[1], "://") {
				continue
			}
			to := doc
			if found[1] != "" {
				to = filepath.Join(filepath.Dir(doc), found[1])
			}
			target, err := os.ReadFile(to)
			if info, statErr := os.Stat(to); statErr == nil && info.IsDir() {
				continue
			}
			if err != nil {
				t.Errorf("%s links to %s: %v", doc, found[1], err)
				continue
			}
			if anchor := strings.TrimPrefix(found[2], "#"); anchor != "" && !slices.Contains(anchors(string(target)), anchor) {
				t.Errorf("%s links to %s%s, and no heading is called that", doc, found[1], found[2])
			}
		}
	}
}

// anchors are what headings can be linked by.
func anchors(text string) (all []string) {
	for line := range strings.Lines(text) {
		title := strings.TrimLeft(line, "#")
		if title == line || !strings.HasPrefix(title, " ") {
			continue
		}
		kept := regexp.MustCompile("[^a-z0-9 _-]").ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), "")
		all = append(all, strings.ReplaceAll(kept, " ", "-"))
	}
	return all
}

// prelude starts programs in process groups of their own, and ends just those.
const prelude = `set -euo pipefail
/usr/bin/python3 -c 'import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh", b"lo", 1))' # lo up
jobs=()
start() { setsid "$@" >&2 & jobs+=($!); }
stop_last() { kill -TERM -- -"${jobs[-1]}"; wait "${jobs[-1]}" || true; unset 'jobs[-1]'; }
stop() { while (( ${#jobs[@]} )); do stop_last; done; }
trap stop EXIT
# await N [ADMIN]: until N workers are ready, or nothing can come of it any more
await() {
	for (( i = 0; i < 600; i++ )); do
		n=$(curl -s "http://${2:-127.0.0.1:9901}/workers" | grep -c '"state": "ready"') || true
		if [[ $n == "$1" ]]; then return; fi
		sleep 0.1
	done
	echo "there are $n workers ready, not $1" >&2
	exit 1
}
`

// startsWorker tells it from a router, and from an app that is to become one.
var startsWorker = regexp.MustCompile(`\bworker|\bdialmux run\b`)

type consoleCommand struct {
	run    string
	prints []string
}

func (c consoleCommand) background() bool {
	return c.run == "make demo" || strings.HasSuffix(c.run, "&")
}

func (c consoleCommand) startsRouter() bool {
	return c.run == "make demo" || c.background() && strings.HasPrefix(c.run, "bin/dialmux router")
}

// flag is what a flag of the command says.
func (c consoleCommand) flag(name, otherwise string) string {
	words := strings.Fields(c.run)
	if i := slices.Index(words, name); i >= 0 && i+1 < len(words) {
		return words[i+1]
	}
	return otherwise
}

func parseConsole(block string) (commands []consoleCommand) {
	for line := range strings.Lines(block) {
		line = strings.TrimRight(line, "\n")
		if run, ok := strings.CutPrefix(line, "$ "); ok {
			commands = append(commands, consoleCommand{run: run})
		} else if n := len(commands); n > 0 {
			commands[n-1].prints = append(commands[n-1].prints, line)
		}
	}
	return commands
}

func codeBlocks(markdown, language string) (blocks []string) {
	fence := regexp.MustCompile("(?ms)^```" + language + "\n(.*?)^```$")
	for _, m := range fence.FindAllStringSubmatch(markdown, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

func quoted(s string) string {
	if s == "make demo" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
