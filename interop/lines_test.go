package interop

import (
	"encoding/json"
	"io"
	"net"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// TestO3NobodyWritesTheLogsLines: whatever clients and workers choose, each
// record stays one line and does nothing to a terminal; in JSON, as text, and
// as text on a terminal, in colours.
func TestO3NobodyWritesTheLogsLines(t *testing.T) {
	t.Parallel()
	need(t, "bsdutils", "which", "script")
	// Begins as a line of a log's would, and ends what a terminal may be told.
	const evil = "\r\n{\"level\":\"ERROR\",\"msg\":\"forged\"}\n\x1b[2J\x1b]0;forged\x07\u009b2J\u2028"
	for _, form := range []string{"json", "text", "terminal"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			flags := []string{"--log-level", "debug", "--queue-wait", "100ms", "--log-format", "text"}
			if form == "json" {
				flags[5] = form
			}
			r := startRouter(t, flags...)
			log := r.log
			if form == "terminal" {
				r.kill()
				log = restartOnATerminal(t, r)
			}
			for _, words := range []string{
				"GET /%0d%0a%1b[2J?x HTTP/1.1\r\nHost: h\r\nUser-Agent: \xc2\x9b2J\xff\r\n\r\n", "GET /\xc2\x9b2J\xff\xe2\x80\xa8 HTTP/1.1\r\nHost: h\r\n\r\n",
				"GET / HTTP/1.1\r\nHost: \x1b[2J\r\n\r\n", "GET /" + evil + " HTTP/1.1\r\nHost: h\r\n\r\n", evil, "\x1b[2J / HTTP/1.1\r\n\r\n",
			} {
				nc, err := net.Dial("tcp", r.addr)
				if err != nil {
					t.Fatal(err)
				}
				_ = nc.SetDeadline(time.Now().Add(patience))
				_, _ = io.WriteString(nc, words)
				_ = nc.(*net.TCPConn).CloseWrite()
				_, _ = io.ReadAll(nc)
				_ = nc.Close()
				time.Sleep(1100 * time.Millisecond) // such lines come once a second
			}
			// Workers: of evil names, and one that gives requests up for evil reasons, and leaves with one.
			for _, info := range []frame.JoinInfo{{Name: evil}, {Name: "w", Service: evil}, {Name: "w2", AppVersion: evil, Zone: evil, Hosts: []string{evil}, Tags: map[string]string{evil: evil}}} {
				conn, err := zmtp.Connect(stranger(t, r), zmtp.Options{User: "u" + evil, Password: evil})
				if err != nil {
					t.Fatal(err)
				}
				info.Concurrency, info.Protocol, info.Instance = 1, 1, evil
				said := false
				_ = conn.Run(func(parts [][]byte) error {
					f, err := frame.Parse(parts[0], nil)
					if err != nil {
						return err
					}
					switch f.Type {
					case frame.Welcome:
						w, err := frame.ParseWelcome(&f)
						if err != nil {
							return err
						}
						info.Connection = w.Connection
						_, _ = conn.Send(0, zmtp.Ordinary, frame.AppendJoin(nil, info))
						_, _ = conn.Send(0, zmtp.Ordinary, frame.AppendRSTStream(nil, 1, 2, evil))
						_, _ = conn.Send(0, zmtp.Ordinary, frame.AppendGoAway(nil, 0, 2, evil))
						_, _ = conn.Send(0, zmtp.Ordinary, []byte("\x94\x41\x00\x00\x81\xa3"+evil[:3]+"\xc1"))
						said = true
					}
					return nil
				})
				if !said {
					t.Error("no WELCOME came")
				}
			}
			eventually(t, "workers are in the log", func() bool { return strings.Contains(log.String(), "worker") })
			time.Sleep(200 * time.Millisecond)
			text := log.String()
			if form == "terminal" {
				text = strings.ReplaceAll(colour.ReplaceAllString(text, ""), "\r\n", "\n")
			}
			n := 0
			for line := range strings.Lines(text) {
				n++
				line = strings.TrimSuffix(line, "\n")
				if strings.ContainsFunc(line, func(c rune) bool { return unicode.IsControl(c) || c == '\u2028' && form != "json" }) || !utf8.ValidString(line) {
					t.Errorf("a line with control characters: %q", line)
				}
				if form == "json" && !json.Valid([]byte(line)) || form != "json" && !begins.MatchString(line) {
					t.Errorf("no line of a log: %q", line)
				}
			}
			if n < 8 {
				t.Errorf("%d lines are too few to show anything:\n%s", n, text)
			}
		})
	}
}

var (
	colour = regexp.MustCompile("\x1b\\[[0-9;]*m")
	begins = regexp.MustCompile(`^\w{3} +\d+ [0-9:.]+ (DBG|INF|WRN|ERR) |^[0-9:.TZ+-]+ (DBG|INF|WRN|ERR) |^[A-Z][a-z]{2} [^ ]+ (DBG|INF|WRN|ERR) `)
)

// restartOnATerminal is r again, under script(1), which gives it one.
func restartOnATerminal(t *testing.T, r *routerProcess) *book {
	path, err := dialmux()
	if err != nil {
		t.Fatal(err)
	}
	script, err := exec.LookPath("script")
	if err != nil {
		t.Fatal(err)
	}
	command := strings.Join([]string{"exec", path, "router", "--listen", r.addr, "--workers", r.endpoint(), "--admin", r.admin, "--log-level debug --queue-wait 100ms"}, " ")
	r.process = start(t, "router", []string{"TERM=xterm"}, script, "-qefc", command, "/dev/null")
	eventually(t, "the router serves", func() bool { return r.ask("/healthz", nil) == nil })
	return r.log
}
