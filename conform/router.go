package conform

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"time"
)

// RouterKit plays workers and clients to one router: workers that do as they
// should, and workers that do not. It judges by the bytes that clients got and
// by the frames that workers got. No other worker should be there.
type RouterKit struct {
	// HTTP is where clients connect, http://127.0.0.1:9000 if empty.
	HTTP string
	// Workers is the endpoint of the worker port, tcp://127.0.0.1:8000 if empty.
	Workers string
	// Token is what the router wants of workers. Without one the cases about
	// tokens are skipped.
	Token string
	// Only runs the cases that it says true to. Default: all.
	Only func(name string) bool

	patience   time.Duration
	address    string // of HTTP, for net.Dial
	transcript transcript
	scenes     int
	id         string // in every path: what an earlier case or kit left behind is told apart
}

// routerCase is one case. The kit gives it a scene of its own.
type routerCase struct {
	name   string
	checks string // a sentence of SPEC.md
	may    bool   // the router may do otherwise
	run    func(s *scene)
}

// Run runs every case and calls each with its result. The error is why the kit
// itself could not work.
func (k *RouterKit) Run(ctx context.Context, each func(Result)) error {
	if k.patience == 0 {
		k.patience = patience
	}
	k.id = fmt.Sprintf("%x", newConnection())
	if k.Workers == "" {
		k.Workers = "tcp://127.0.0.1:8000"
	}
	var err error
	if k.address, err = addressOf(k.HTTP); err != nil {
		return err
	}
	for _, c := range routerCases() {
		if k.Only != nil && !k.Only(c.name) {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		each(run(c.name, c.checks, !c.may, &k.transcript, func() {
			s := k.newScene(ctx)
			defer s.end()
			c.run(s)
		}))
	}
	return nil
}

func routerCases() (all []routerCase) {
	for _, cases := range [][]routerCase{mirrorCases, wrongFrames(), wrongFields(), wrongHeads(), mirrorREPCases} {
		all = append(all, cases...)
	}
	return all
}

func addressOf(text string) (string, error) {
	if text == "" {
		text = "http://127.0.0.1:9000"
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" || u.Hostname() == "" {
		return "", fmt.Errorf("the router's URL %q: write http://host:port", text)
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}
