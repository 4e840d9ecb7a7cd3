package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// testapp is a web app that knows nothing of Dialmux. It is called with its port and, perhaps, what is odd about it: stubborn does
// not end on SIGTERM, parent starts a process, which holds its output open. It ends gently on SIGTERM, and prints signals.
func testapp() {
	odd := ""
	if len(os.Args) > 2 {
		odd = os.Args[2]
	}
	released := make(chan os.Signal, 1)
	signal.Notify(released, syscall.SIGUSR1)
	printed := make(chan os.Signal, 1)
	signal.Notify(printed, syscall.SIGUSR2, syscall.SIGWINCH)
	go func() {
		for s := range printed {
			fmt.Println("got", s)
		}
	}()
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)

	mux := http.NewServeMux()
	mux.Handle("/", testHandler("app", released))
	mux.HandleFunc("/pid", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, os.Getpid()) })
	mux.HandleFunc("/env", func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, os.Getenv(r.URL.Query().Get("of"))) })
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if odd == "sick" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	if odd == "parent" {
		child := exec.Command("sleep", "1000")
		child.Stdout = os.Stdout
		if err := child.Start(); err != nil {
			panic(err)
		}
		fmt.Println("child", child.Process.Pid)
	}
	fmt.Println("listening on", os.Args[1])
	fmt.Fprintln(os.Stderr, "logging to stderr")
	srv := &http.Server{Addr: "127.0.0.1:" + os.Args[1], Handler: mux}
	go func() {
		for range asked {
			if odd != "stubborn" {
				break
			}
		}
		fmt.Println("bye")
		_ = srv.Shutdown(context.Background())
		os.Exit(0)
	}()
	if err := srv.ListenAndServe(); err != http.ErrServerClosed {
		fmt.Println(err)
		os.Exit(1)
	}
	select {}
}
