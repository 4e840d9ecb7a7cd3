package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/urfave/cli/v3"
	"golang.org/x/sync/errgroup"

	"github.com/dialmux/dialmux/internal/zmtp"
	"github.com/dialmux/dialmux/worker"
)

func demoCommand() *cli.Command {
	var s settings
	return &cli.Command{
		Name:         "demo",
		Usage:        "a router and two workers in one process, and the curl to try",
		Description:  "Example: dialmux demo -p 9000",
		Flags:        s.flags("warn"),
		OnUsageError: usageError,
		ArgValidator: noArguments,
		Action: func(ctx context.Context, cmd *cli.Command) error {
			v, err := s.open(cmd)
			if err != nil {
				return err
			}
			return demo(ctx, v, s.firstToken(), cmd.Root().Writer)
		},
	}
}

// demoWorkers are who answers.
var demoWorkers = [...]string{"worker-1", "worker-2"}

// demo runs v, and two workers that dial it as any other would. They outlive
// it, so that what it has is answered; its log tells that they come and go.
func demo(ctx context.Context, v *service, token string, out io.Writer) error {
	g, failed := errgroup.WithContext(context.WithoutCancel(ctx))
	working, stop := context.WithCancel(failed)
	defer stop()
	serving, end := context.WithCancel(ctx)
	defer end()
	g.Go(func() error {
		defer stop()
		return v.run(serving)
	})
	for _, name := range demoWorkers {
		w := worker.Worker{
			Name: name, Routers: []string{dialable(v.workers[0])}, Token: token,
			Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/plain; charset=utf-8")
				_, _ = fmt.Fprintf(w, "Hello from %s\n", name) // the client may have gone
			}),
		}
		g.Go(func() error {
			defer end()
			return w.Run(working)
		})
	}
	if v.awaitWorkers(serving, len(demoWorkers)) {
		v.explain(out)
	}
	return g.Wait()
}

// awaitWorkers returns true once n workers are ready.
func (v *service) awaitWorkers(ctx context.Context, n int) bool {
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		ready := 0
		for _, w := range v.router.Workers() {
			if w.State == "ready" {
				ready++
			}
		}
		if ready >= n {
			return true
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return false
		}
	}
}

func (v *service) explain(out io.Writer) {
	web := v.scheme + "://" + reachable(v.public.Addr().(*net.TCPAddr))
	text := fmt.Sprintf("A router and two workers are running. In another terminal, try\n\n    curl %s/\n\n", web) +
		"again and again: worker-1 and worker-2 take turns. More workers may dial in, as in\n\n" +
		fmt.Sprintf("    go run ./examples/hello worker-3 %s\n\n", dialable(v.workers[0]))
	if v.admin != nil {
		text += fmt.Sprintf("and `curl http://%s/workers` shows who has. ", reachable(v.adminAt.Addr().(*net.TCPAddr)))
	}
	_, _ = io.WriteString(out, text+"Ctrl-C ends it.\n") // the demo goes on without a reader
}

// dialable is an endpoint at which this machine reaches l.
func dialable(l net.Listener) string {
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		return "tcp://" + reachable(a)
	}
	return zmtp.Bound(l)
}

func reachable(a *net.TCPAddr) string {
	if a.IP.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(a.Port))
	}
	return a.String()
}
