package zmtp

import (
	"errors"
	"fmt"
	"io"

	"github.com/go-zeromq/zmq4"
)

// plainServer is the server's side of ZMTP-PLAIN (RFC 24). It keeps what the peer says and never judges it: an
// ERROR would make libzmq give up for ever, so whoever is refused is refused later, by the caller.
type plainServer struct {
	user, password string
}

// Type names the mechanism.
func (*plainServer) Type() zmq4.SecurityType { return zmq4.PlainSecurity }

// Handshake takes HELLO and INITIATE and answers WELCOME and READY.
func (s *plainServer) Handshake(conn *zmq4.Conn, _ bool) error {
	hello, err := receiveCommand(conn, zmq4.CmdHello)
	if err != nil {
		return err
	}
	if s.user, s.password, err = parseHello(hello); err != nil {
		return err
	}
	if err := conn.SendCmd(zmq4.CmdWelcome, nil); err != nil {
		return err
	}
	initiate, err := receiveCommand(conn, zmq4.CmdInitiate)
	if err != nil {
		return err
	}
	if err := conn.Peer.Meta.UnmarshalZMTP(initiate); err != nil {
		return fmt.Errorf("malformed metadata: %w", err)
	}
	ours, err := conn.Meta.MarshalZMTP()
	if err != nil {
		return err
	}
	return conn.SendCmd(zmq4.CmdReady, ours)
}

func receiveCommand(conn *zmq4.Conn, name string) ([]byte, error) {
	cmd, err := conn.RecvCmd()
	if err != nil {
		return nil, err
	}
	if cmd.Name != name {
		return nil, fmt.Errorf("command %.32q where %s belongs", cmd.Name, name)
	}
	return cmd.Body, nil
}

// parseHello reads a length byte and the user name, and the password in the same way.
func parseHello(b []byte) (user, password string, err error) {
	user, b, err = shortString(b)
	if err == nil {
		password, b, err = shortString(b)
	}
	if err != nil || len(b) > 0 {
		return "", "", errors.New("malformed HELLO")
	}
	return user, password, nil
}

// shortString reads a length byte and so many bytes.
func shortString(b []byte) (s string, rest []byte, err error) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return "", nil, io.ErrUnexpectedEOF
	}
	end := 1 + int(b[0])
	return string(b[1:end]), b[end:], nil
}

// Encrypt is the identity: PLAIN protects nothing.
func (*plainServer) Encrypt(w io.Writer, p []byte) (int, error) { return w.Write(p) }

// Decrypt is the identity.
func (*plainServer) Decrypt(w io.Writer, p []byte) (int, error) { return w.Write(p) }
