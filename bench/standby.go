package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/sync/errgroup"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// runStandby keeps so many workers connected to the router at endpoint that take no requests, until ctx ends: each joins
// and at once says that it drains, and is never done with that.
func runStandby(ctx context.Context, endpoint string, count int) error {
	group, ctx := errgroup.WithContext(ctx)
	coming := make(chan struct{}, 100) // a router pushes the oldest of too many newcomers out, and these dial once
	for i := range count {
		group.Go(func() error { return standBy(ctx, endpoint, fmt.Sprintf("standby-%d", i), coming) })
	}
	return group.Wait()
}

func standBy(ctx context.Context, endpoint, name string, coming chan struct{}) error {
	coming <- struct{}{}
	come := sync.OnceFunc(func() { <-coming })
	defer come()
	nc, err := zmtp.Dial(ctx, endpoint)
	if err != nil {
		return err
	}
	conn, err := zmtp.Connect(nc, zmtp.Options{})
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	err = conn.Run(func(parts [][]byte) error {
		f, err := frame.Parse(parts[0], nil)
		if err != nil || f.Type != frame.Welcome {
			return err
		}
		welcome, err := frame.ParseWelcome(&f)
		if err != nil {
			return err
		}
		join := frame.AppendJoin(nil, frame.JoinInfo{Protocol: frame.Protocol, Connection: welcome.Connection, Instance: name, Name: name})
		_, err = conn.Send(0, zmtp.Urgent, join)
		if err == nil {
			_, err = conn.Send(0, zmtp.Urgent, frame.AppendGoAway(nil, 0, http2.ErrCodeNo, "standing by"))
		}
		come()
		return err
	})
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("%s: %w", name, errors.Join(err, errors.New("the router hung up on a worker that stands by")))
}
