package zmtp

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/go-zeromq/zmq4"
	"github.com/go-zeromq/zmq4/security/null"
	"github.com/go-zeromq/zmq4/security/plain"
)

// Peer is what the other side showed of itself in the handshake.
type Peer struct {
	Socket    string // "REP", "DEALER" or "ROUTER"
	Identity  []byte // at most 255 bytes, often empty
	Mechanism string // "NULL" or "PLAIN"
	User      string // what it said under PLAIN: the caller judges
	Password  string
	Addr      string // "127.0.0.1:40123"; of ipc "ipc:" and a number that no other open connection of this process has
}

// HandshakeError is a connection that never came to carry messages.
type HandshakeError struct {
	Addr string // of the peer, as in Peer
	Err  error
}

func (e *HandshakeError) Error() string {
	return fmt.Sprintf("zmtp: handshake with %s: %v", e.Addr, e.Err)
}

func (e *HandshakeError) Unwrap() error { return e.Err }

// Accept runs the server's side of the handshake on nc, as a DEALER with an empty identity, under NULL or PLAIN as
// the peer chooses. The peer is a REP, a DEALER or a ROUTER. On error, a *HandshakeError, nc is closed.
func Accept(nc net.Conn, o Options) (*Conn, error) {
	f := &fence{Conn: nc}
	hello := new(plainServer)
	c, err := shake(f, o, func() (zmq4.Security, error) {
		if err := f.open(); err != nil {
			return nil, err
		}
		switch f.mechanism {
		case string(zmq4.NullSecurity):
			return null.Security(), nil
		case string(zmq4.PlainSecurity):
			return hello, nil
		}
		return nil, fmt.Errorf("mechanism %q is not offered: use NULL or PLAIN", f.mechanism)
	}, true)
	if err != nil {
		return nil, err
	}
	c.peer.User, c.peer.Password = hello.user, hello.password
	return c, nil
}

// Connect runs the client's side of the handshake on nc, as a DEALER with an empty identity: under PLAIN if o has a
// User or a Password, else under NULL. On error, a *HandshakeError, nc is closed.
func Connect(nc net.Conn, o Options) (*Conn, error) {
	f := &fence{Conn: nc}
	return shake(f, o, func() (zmq4.Security, error) {
		sec := null.Security()
		if o.User != "" || o.Password != "" {
			if len(o.User) > 255 || len(o.Password) > 255 {
				return nil, errors.New("user name and password have at most 255 bytes each under PLAIN")
			}
			sec = plain.Security(o.User, o.Password)
		}
		f.want = string(sec.Type())
		return sec, nil
	}, false)
}

// shake runs the whole handshake under one deadline.
func shake(f *fence, o Options, mechanism func() (zmq4.Security, error), server bool) (*Conn, error) {
	o = o.withDefaults()
	peer := Peer{Addr: peerAddr(f.Conn)}
	meta, err := func() (zmq4.Metadata, error) {
		if err := f.SetDeadline(time.Now().Add(o.HandshakeTimeout)); err != nil {
			return nil, err
		}
		sec, err := mechanism()
		if err != nil {
			return nil, err
		}
		meta, err := openZMQ(f, sec, server)
		if err != nil {
			return nil, err
		}
		if err := f.flush(); err != nil {
			return nil, err
		}
		if len(meta["Identity"]) > 255 {
			return nil, errors.New("the peer's identity is longer than 255 bytes")
		}
		return meta, f.SetDeadline(time.Time{})
	}()
	if err != nil {
		_ = f.Close()
		if f.err != nil {
			err = f.err // zmq4 tells the same story in more words
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("not finished after %v: %w", o.HandshakeTimeout, err)
		}
		return nil, &HandshakeError{Addr: peer.Addr, Err: err}
	}
	peer.Socket, peer.Mechanism = meta["Socket-Type"], f.mechanism
	peer.Identity = []byte(meta["Identity"])
	return newConn(f.Conn, peer, o), nil
}

// openZMQ lets zmq4 shake hands through the fence. Malformed metadata makes zmq4 panic.
func openZMQ(f *fence, sec zmq4.Security, server bool) (meta zmq4.Metadata, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("malformed metadata: %v", p)
		}
	}()
	c, err := zmq4.Open(f, peerChecked{sec}, zmq4.Dealer, nil, server, nil)
	if err != nil {
		return nil, innermost(err)
	}
	return c.Peer.Meta, nil
}

// innermost drops zmq4's account of where it was.
func innermost(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}

// peerChecked is a mechanism that also looks at what kind of socket the peer is.
type peerChecked struct{ zmq4.Security }

func (s peerChecked) Handshake(conn *zmq4.Conn, server bool) error {
	if err := s.Security.Handshake(conn, server); err != nil {
		return err
	}
	switch socket := conn.Peer.Meta["Socket-Type"]; socket {
	case "REP", "DEALER", "ROUTER":
		return nil
	default:
		return fmt.Errorf("the peer's socket is a %.16q: use REP, DEALER or ROUTER", socket)
	}
}

// peerAddr names the other end. A dialling unix socket has no name, but our file descriptor for it is one.
func peerAddr(nc net.Conn) string {
	if _, unix := nc.RemoteAddr().(*net.UnixAddr); !unix {
		return nc.RemoteAddr().String()
	}
	addr := "ipc"
	if s, ok := nc.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { addr = "ipc:" + strconv.FormatUint(uint64(fd), 10) })
		}
	}
	return addr
}
