//go:build unix

package worker

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dialmux/dialmux/internal/zmtp"
)

// BenchmarkProcess is what a request costs the worker's process alone: the router is another one. Run it with -cpu 1,
// as make bench runs workers. Beside the time of CPU it counts what the worker asks of its connection, and how often a goroutine was
// put to work (of which the runtime counts every eighth).
func BenchmarkProcess(b *testing.B) {
	mux := http.NewServeMux()
	mux.HandleFunc("/", benchHandler)
	b.Run("write", func(b *testing.B) {
		benchmarkProcess(b, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello, hello, hello\n") }))
	})
	b.Run("mux", func(b *testing.B) { benchmarkProcess(b, mux) })
}

func benchmarkProcess(b *testing.B, h http.Handler) {
	router := exec.CommandContext(b.Context(), os.Args[0])
	router.Env = append(os.Environ(), benchRouter+"=1", "GOMAXPROCS=1")
	router.Stderr = os.Stderr
	orders, err := router.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	printed, err := router.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := router.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = orders.Close()
		_ = router.Wait()
	}()
	reports := bufio.NewScanner(printed)
	if !reports.Scan() {
		b.Fatal("the router's process printed no endpoint")
	}
	var calls calls
	w := Worker{Routers: []string{reports.Text()}, Handler: h, Dial: calls.dial}
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		if err := w.Run(ctx); err != nil {
			b.Error(err)
		}
	})
	order := func(n int) {
		_, _ = fmt.Fprintln(orders, n)
		if !reports.Scan() {
			b.Fatal("the router's process ended")
		}
	}
	order(1000)
	b.ReportAllocs()
	b.ResetTimer()
	reads, writes, cpu, switches := calls.reads.Load(), calls.writes.Load(), cpuTime(b), switchCount()
	order(b.N)
	b.StopTimer()
	n := float64(b.N)
	b.ReportMetric(float64(cpuTime(b)-cpu)/n, "cpu-ns/op")
	b.ReportMetric(float64(calls.reads.Load()-reads)/n, "reads/op")
	b.ReportMetric(float64(calls.writes.Load()-writes)/n, "writes/op")
	b.ReportMetric(float64(switchCount()-switches)/n, "switches/op")
}

// cpuTime is what this process has used, in user and system mode.
func cpuTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// switchCount is how often a goroutine began to run after it had waited to.
func switchCount() (n uint64) {
	sample := []metrics.Sample{{Name: "/sched/latencies:seconds"}}
	metrics.Read(sample)
	for _, count := range sample[0].Value.Float64Histogram().Counts {
		n += count
	}
	return 8 * n
}

// calls counts what is asked of a connection.
type calls struct{ reads, writes atomic.Int64 }

func (c *calls) dial(ctx context.Context, endpoint string) (net.Conn, error) {
	nc, err := zmtp.Dial(ctx, endpoint)
	return &countedConn{nc, c}, err
}

type countedConn struct {
	net.Conn
	calls *calls
}

func (c *countedConn) Read(p []byte) (int, error) {
	c.calls.reads.Add(1)
	return c.Conn.Read(p)
}

func (c *countedConn) Write(p []byte) (int, error) {
	c.calls.writes.Add(1)
	return c.Conn.Write(p)
}
