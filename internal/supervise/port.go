package supervise

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Ports are taken from below those that systems give to whoever asks for any: another program that asks, or just
// connects, does not get one between our choice and the command's start.
const (
	firstPort = 20000
	lastPort  = 29999
)

// ports are on 127.0.0.1, and nobody listens there.
type ports struct {
	mu   sync.Mutex
	held map[int]struct{} // by instances
}

// take returns one that is free, as a number and with its host.
func (p *ports) take() (int, string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		if _, held := p.held[port]; held {
			continue
		}
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		_ = l.Close()
		p.held[port] = struct{}{}
		return port, address, nil
	}
	return 0, "", errors.New("no port is free from 20000 to 29999 on 127.0.0.1; end what listens there")
}

func (p *ports) giveBack(port int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.held, port)
}
