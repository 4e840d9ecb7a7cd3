package router

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/net/http2"

	"github.com/dialmux/dialmux/frame"
)

const (
	// maxParked bounds the connections that are refused and kept: closing them at
	// once would make libzmq dial again seven times a second.
	maxParked = 256
	// maxNewcomers bounds those that have neither joined nor been refused.
	maxNewcomers = 1024
)

// join takes a native worker's JOIN.
func (p *peer) join(f *frame.Frame) error {
	info, err := frame.ParseJoin(f)
	if err != nil {
		return err
	}
	if info.Connection != p.connection {
		p.r.dropped.Add(1) // meant for an earlier connection: libzmq kept it
		return nil
	}
	peer := p.conn.Peer()
	service, name := splitUser(peer.User)
	if info.Name == "" {
		info.Name = name
	}
	if info.Service == "" {
		info.Service = service
	}
	if info.Token == "" {
		info.Token = peer.Password
	}
	p.r.letJoin(p, info)
	return nil
}

// joinREP makes a REP worker of what its handshake said: it sends no JOIN.
func (r *Router) joinREP(p *peer) {
	peer := p.conn.Peer()
	info := frame.JoinInfo{Protocol: frame.Protocol, Concurrency: 1, Token: peer.Password}
	info.Service, info.Name = splitUser(peer.User)
	r.letJoin(p, info)
}

// letJoin makes p a worker, or refuses it.
func (r *Router) letJoin(p *peer, info frame.JoinInfo) {
	said := &claim{info, proofOf(info.Token)}
	said.info.Token, info.Token = "", ""
	code, why := http2.ErrCodeInadequateSecurity, r.allow(&info, said.proof)
	var at []place
	if why == "" {
		at, code, why = r.judge(&info)
		p.aimless.spend(len(at))
	}
	if why != "" {
		p.refuse(code, why)
		return
	}
	p.admit()
	before := r.pool.claims(p, said)
	if err := r.enroll(p, info, at); errors.Is(err, errTooManyRoutes) {
		r.pool.claims(p, before)
		p.refuse(http2.ErrCodeEnhanceYourCalm, err.Error())
	}
}

// admit makes frames count. A part may be as large as zmtp takes, so that one
// over frame.MaxPayload costs its stream and not the connection.
func (p *peer) admit() {
	p.admitted = true
	p.r.newcomers.known(p.newcomer)
	if p.rep == rep {
		p.conn.SetMaxPart(MaxGather)
	} else {
		p.conn.SetMaxPart(1 << 20)
	}
}

// judge says why a worker cannot join, or what it serves.
func (r *Router) judge(info *frame.JoinInfo) (at []place, code frame.Code, why string) {
	switch {
	case info.Protocol != frame.Protocol:
		return nil, http2.ErrCodeProtocol, fmt.Sprintf("protocol %d is not spoken here, %d is", info.Protocol, frame.Protocol)
	case info.Name != "" && !ValidName(info.Name):
		return nil, http2.ErrCodeProtocol, fmt.Sprintf("the name %.140q: 1 to 128 letters, digits, '.', '_' and '-' make one", info.Name)
	case info.Service != "" && !ValidName(info.Service):
		return nil, http2.ErrCodeProtocol, fmt.Sprintf("the service %.140q: 1 to 128 letters, digits, '.', '_' and '-' make one", info.Service)
	}
	if b := Balance(info.Balance); b != "" && b != RoundRobin && b != Least {
		return nil, http2.ErrCodeProtocol, fmt.Sprintf("the balance %.140q: %s or %s is right", info.Balance, RoundRobin, Least)
	}
	by, err := frame.ParseSticky(info.Sticky)
	if err != nil {
		return nil, http2.ErrCodeProtocol, fmt.Sprintf("sticky %.140q: %v", info.Sticky, err)
	}
	info.Sticky = by.String() // one policy has one text from here on
	at, err = places(info.Hosts, info.Paths)
	if err != nil {
		return nil, http2.ErrCodeProtocol, err.Error()
	}
	return at, http2.ErrCodeNo, ""
}

// splitUser reads a PLAIN user name: NAME or SERVICE/NAME.
func splitUser(user string) (service, name string) {
	if service, name, ok := strings.Cut(user, "/"); ok {
		return service, name
	}
	return "", user
}

// ValidName tells whether s can name a worker or a service: 1 to 128 letters,
// digits, '.', '_' and '-'.
func ValidName(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 128
}

// enroll makes p a worker with this state, in place of any earlier one. With an error p is
// what it was.
func (r *Router) enroll(p *peer, info frame.JoinInfo, at []place) error {
	if info.Name == "" {
		info.Name = labelOf(p.addr)
	}
	again := r.pool.known(p, info)
	old, err := r.pool.join(p, info, at)
	if err != nil {
		return err
	}
	if old != nil {
		r.log.Info("worker has a new connection", "worker", old.name(), "addr", p.addr)
		_ = old.conn.Close()
	}
	r.sayPassing(p)
	if !again {
		r.log.Info("worker joined", "worker", p.name(), "kind", p.kind(), "addr", p.addr, "service", info.Service, "concurrency", info.Concurrency)
	}
	return nil
}

// sayPassing says once that cookies which p's routes issue end with this router.
func (r *Router) sayPassing(p *peer) {
	if !r.pool.keeper.cookies.passing {
		return
	}
	if text := r.pool.issues(p); text != "" {
		r.passing.Do(func() {
			r.log.Warn("sticky cookies are signed with a secret that ends with this process: clients lose their worker when it restarts, and other routers do not know its cookies",
				"sticky", text, "remedy", "--sticky-secret FILE, the same for all routers")
		})
	}
}

// labelOf makes a name of an address.
func labelOf(addr string) string {
	b := []byte(addr)
	for i, c := range b {
		if c == ':' || c == '/' || !ValidName(string(c)) {
			b[i] = '-'
		}
	}
	return strings.Trim(string(b), "-")
}

func (p *peer) kind() string {
	if p.rep == rep {
		return "REP"
	}
	return p.conn.Peer().Socket
}

// refuse turns down what p announces. What it announced before stays.
func (p *peer) refuse(code frame.Code, why string) {
	if !p.r.pool.deny(p) {
		p.park(code, why, false)
		return
	}
	p.welcome(why)
	p.r.refusals.warn(p.r.log, "worker's announcement refused, what it announced before stays", "worker", p.name(), "addr", p.addr, "why", why)
}

// park refuses p and keeps its connection, so that it does not dial again. late
// says that it has not joined in time.
func (p *peer) park(code frame.Code, why string, late bool) {
	oldest, ok := p.r.pool.park(p, why, late)
	if !ok {
		return
	}
	if oldest != nil {
		_ = oldest.conn.Close()
	}
	p.r.newcomers.known(p.newcomer)
	p.goAway(code, why)
	p.r.refusals.warn(p.r.log, "worker refused", "worker", p.name(), "addr", p.addr, "kind", p.kind(), "why", why)
}
