package interop

import (
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// startStopper runs a native worker of one slot, in a process of its own, that
// stops within the phase which a request's query names, and says so on a line.
func startStopper(t testing.TB, name, endpoint string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return start(t, name, []string{roleVariable + "=stopper"}, self, name, endpoint)
}

func (p *process) awaitLine(t testing.TB, line string) {
	t.Helper()
	eventually(t, p.name+" says "+line, func() bool { return strings.Contains("\n"+p.log.String(), "\n"+line+"\n") })
}

// stoppedBody is the whole of what a stopper would answer.
const stoppedBody = "the whole body\n"

func stopperMain(args []string) int {
	err := stop(args[0], args[1])
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func stop(name, endpoint string) error {
	nc, err := zmtp.Dial(context.Background(), endpoint)
	if err != nil {
		return err
	}
	conn, err := zmtp.Connect(nc, zmtp.Options{})
	if err != nil {
		return err
	}
	s := stopper{nc: nc}
	return conn.Run(func(parts [][]byte) error {
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
			s.send(frame.AppendJoin(nil, frame.JoinInfo{Protocol: 1, Connection: w.Connection, Instance: rand.Text(), Name: name, Concurrency: 1}))
		case frame.Headers:
			s.stream = f.Stream
			accept := sha1.Sum(append(f.Fields.Get("sec-websocket-key"), "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"...))
			s.accept = base64.StdEncoding.EncodeToString(accept[:])
			_, query, _ := strings.Cut(string(f.Fields.Get(":path")), "?")
			values, err := url.ParseQuery(query)
			if err != nil {
				return err
			}
			s.serve(values.Get("phase"))
			fmt.Println(values.Get("phase"))
		case frame.RSTStream:
			s.send(frame.AppendRSTStream(nil, f.Stream, http2.ErrCodeCancel, ""))
		}
		return nil
	})
}

// stopper writes by itself, so that what it has sent has left when it says so.
type stopper struct {
	nc     net.Conn
	stream uint64
	accept string // of a WebSocket
}

func (s *stopper) send(parts ...[]byte) { _, _ = s.nc.Write(onTheWire(parts...)) }

// onTheWire is a message as ZMTP has it, of parts below 256 bytes.
func onTheWire(parts ...[]byte) (b []byte) {
	for i, part := range parts {
		more := byte(1)
		if i == len(parts)-1 {
			more = 0
		}
		b = append(append(b, more, byte(len(part))), part...)
	}
	return b
}

func (s *stopper) head(body string, pairs ...string) {
	var fields frame.Fields
	for i := 0; i < len(pairs); i += 2 {
		fields.Add(pairs[i], pairs[i+1])
	}
	s.send(frame.AppendHeaders(nil, s.stream, fields, false, 0), []byte(body))
}

// serve goes as far as the phase.
func (s *stopper) serve(phase string) {
	body := []byte(stoppedBody)
	half := body[:len(body)/2]
	switch phase {
	case "dispatched":
	case "acknowledged":
		s.send(frame.AppendWindowUpdate(nil, s.stream, 1<<20))
	case "informed":
		s.head("", ":status", "103", "link", "</a>")
	case "head":
		s.head("", ":status", "200")
	case "head with length":
		s.head("", ":status", "200", "content-length", fmt.Sprint(len(body)))
	case "mid-body":
		s.head(string(half), ":status", "200")
	case "mid-body with length":
		s.head(string(half), ":status", "200", "content-length", fmt.Sprint(len(body)))
	case "before the end":
		s.head(string(half), ":status", "200")
		s.send(frame.AppendData(nil, s.stream, false, 0), body[len(half):])
	case "amid the trailers": // half of their frame leaves
		s.head(stoppedBody, ":status", "200", "trailer", "x-sum")
		var fields frame.Fields
		fields.Add("x-sum", "1")
		whole := frame.AppendHeaders(nil, s.stream, fields, true, uint64(len(body)))
		_, _ = s.nc.Write(onTheWire(whole)[:len(whole)/2])
	case "WebSocket":
		s.head("\x82\x05hello", ":status", "101", "sec-websocket-accept", s.accept)
	default:
		panic("no phase " + phase)
	}
}
