package main_test

import (
	"net"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// Each script in testdata/script is a story of the command line. $HTTP,
// $WORKERS and $ADMIN are free ports on loopback, and $BUSY is one that
// somebody listens on. a-cert.pem and a-key.pem belong together, and so do those
// of b.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			busy, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			env.Defer(func() { _ = busy.Close() })
			env.Setenv("BUSY", port(busy))
			for _, name := range []string{"a", "b"} {
				if _, _, err := writeCertificate(env.WorkDir, name); err != nil {
					return err
				}
			}
			for _, name := range []string{"HTTP", "WORKERS", "ADMIN"} {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					return err
				}
				defer l.Close()
				env.Setenv(name, port(l))
			}
			return nil
		},
	})
}

func port(l net.Listener) string {
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}
