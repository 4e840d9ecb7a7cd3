package main

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What each slow client does is seen from the other side of a pipe.
func TestSlowClientSendsByteByByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		ended := make(chan struct{})
		start := time.Now()
		go func() {
			defer close(ended)
			sendSlowly(t.Context(), client, "x")
		}()
		got := make([]byte, 3)
		if _, err := io.ReadFull(server, got); err != nil || string(got) != "xxx" {
			t.Errorf("got %q, %v", got, err)
		}
		if took := time.Since(start); took != 3*trickle {
			t.Errorf("three bytes took %v, want one every %v", took, trickle)
		}
		_, _ = server.Write([]byte("H")) // an answer, as 408 is
		<-ended                          // it comes back on another connection
		if took := time.Since(start); took != 3*trickle {
			t.Errorf("it noticed the answer after %v, want at once", took-3*trickle)
		}
	})
}

func TestSlowClientReadsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		ended := make(chan struct{})
		start := time.Now()
		go func() {
			defer close(ended)
			readSlowly(t.Context(), client, 512)
		}()
		if _, err := server.Write(make([]byte, 2048)); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != 4*trickle {
			t.Errorf("2,048 bytes took %v, want 512 every %v", took, trickle)
		}
		_ = server.Close()
		<-ended
	})
}

func TestCrowdThatIsGone(t *testing.T) {
	var c crowd
	if err := c.check(); err == nil || !strings.Contains(err.Error(), "only 0 of 2000") {
		t.Errorf("got %v, want an error: nobody was there", err)
	}
	c.connected[0].Store(slowClients)
	if err := c.check(); err != nil {
		t.Error(err)
	}
}

// The crowd connects to a server, and leaves it alone again.
func TestCrowdComesAndGoes(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	first := make(chan string)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range len(slownesses) {
			conn, err := listener.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			line := make([]byte, 6)
			_, _ = io.ReadFull(conn, line)
			first <- string(line)
			_ = conn.Close()
		}
	}()
	c := crowd{address: listener.Addr().String()}
	for i, want := range []string{"GET / ", "POST /", "GET /6"} {
		done := make(chan error)
		go func() { done <- c.connect(context.Background(), i) }()
		if got := <-first; got != want {
			t.Errorf("client %d began with %q, want %q", i, got, want)
		}
		if err := <-done; err != nil || c.total() != 0 {
			t.Errorf("client %d: %v, and %d count as connected after the server closed", i, err, c.total())
		}
	}
	<-ended
	_ = listener.Close()
	if err := c.connect(t.Context(), 0); err == nil {
		t.Error("nobody listens, and a client connected")
	}
}
