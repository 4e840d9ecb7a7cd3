package sidecar

import (
	"bytes"
	"io"
	"net/http"
	"sync"
)

const tunnelBuffer = 8 << 10

// tunnel carries an upgraded connection until both sides have ended theirs, or one has broken off.
func (x *exchange) tunnel(res *http.Response) error {
	h := x.w.Header()
	setFields(h, res.Header)
	delete(h, "Content-Length")
	h["Connection"], h["Upgrade"] = []string{"Upgrade"}, res.Header["Upgrade"]
	x.begun = true
	x.w.WriteHeader(http.StatusSwitchingProtocols)
	client, buffered, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	early, _ := buffered.Peek(buffered.Reader.Buffered()) // all is there
	var up sync.WaitGroup
	up.Go(func() {
		if pipe(x.c, io.MultiReader(bytes.NewReader(early), client)) == nil {
			_ = x.c.CloseWrite() // the app may have more to say
		} else {
			_ = x.c.Close()
		}
	})
	_ = pipe(client, x.c.answers) // however it ends: a worker ends a stream both ways
	_ = client.Close()
	_ = x.c.Close()
	up.Wait()
	return nil
}

// pipe is io.Copy without the buffers that io.Copy would choose.
func pipe(to io.Writer, from io.Reader) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, tunnelBuffer))
	return err
}
