package conform

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

// mask is a worker's network. It makes another kind of socket out of the
// DEALER that Connect shows, and can be struck dumb.
type mask struct {
	net.Conn
	socket string
	dumb   atomic.Bool
}

const dealerType = "Socket-Type\x00\x00\x00\x06DEALER"

func (m *mask) Write(p []byte) (int, error) {
	if m.dumb.Load() {
		return len(p), nil
	}
	if m.socket == "DEALER" || !bytes.Contains(p, []byte(dealerType)) {
		return m.Conn.Write(p)
	}
	out := strings.Replace(string(p), dealerType, fmt.Sprintf("Socket-Type\x00\x00\x00%c%s", len(m.socket), m.socket), 1)
	for _, command := range []string{"\x05READY", "\x08INITIATE"} {
		if at := strings.Index(out, command); at > 0 { // the byte before is the size of the command
			out = out[:at-1] + string([]byte{out[at-1] - byte(len("DEALER")-len(m.socket))}) + out[at:]
		}
	}
	if _, err := m.Conn.Write([]byte(out)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// CloseWrite ends what the worker has to say, where the network can.
func (m *mask) CloseWrite() error {
	if half, ok := m.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return m.SetReadDeadline(time.Now())
}
