package router

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// tally counts the connections of a port, in all and from each address.
type tally struct {
	most, mostOf int            // 0 and below: any number
	exempt       []netip.Prefix // many come through these: they count in all only

	mu sync.Mutex
	n  int
	of map[netip.Addr]int // only with mostOf
}

// crowding is what there is too much of.
type crowding int

const (
	noCrowd crowding = iota
	crowdInAll
	crowdOfAddress
)

// enter counts a connection, unless it is one too many and need not be let in.
func (t *tally) enter(a net.Addr, must bool) crowding {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !must && t.most > 0 && t.n >= t.most {
		return crowdInAll
	}
	if !t.add(addressOf(a), must) {
		return crowdOfAddress
	}
	t.n++
	return noCrowd
}

// named counts a connection for its address, which became known after it was let in.
func (t *tally) named(a net.Addr) crowding {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.add(addressOf(a), false) {
		return crowdOfAddress
	}
	return noCrowd
}

// add counts for an address. t.mu is held.
func (t *tally) add(a netip.Addr, must bool) bool {
	if t.mostOf <= 0 || !a.IsValid() || contains(t.exempt, a) {
		return true
	}
	if t.of[a] >= t.mostOf && !must {
		return false
	}
	if t.of == nil {
		t.of = map[netip.Addr]int{}
	}
	t.of[a]++
	return true
}

// leave undoes enter, and named, for the address that was counted.
func (t *tally) leave(a net.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n--
	addr := addressOf(a)
	if t.mostOf <= 0 || !addr.IsValid() || contains(t.exempt, addr) {
		return
	}
	if t.of[addr]--; t.of[addr] <= 0 {
		delete(t.of, addr)
	}
}

// addressOf is what is counted as one: an IPv4 address, or the /64 that an IPv6
// network gives to one customer. Invalid: a is of another kind.
func addressOf(a net.Addr) netip.Addr {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	addr := ap.Addr().Unmap().WithZone("")
	if addr.Is6() {
		p, _ := addr.Prefix(64) // every IPv6 address has one
		return p.Addr()
	}
	return addr
}

func contains(networks []netip.Prefix, a netip.Addr) bool {
	for _, p := range networks {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// partOf is one part of most, and not too few; 0 if most is no limit.
func partOf(most, part int) int {
	if most <= 0 {
		return 0
	}
	return max(most/part, 8)
}

// newcomers are connections that have yet to show who they are: by a handshake
// and a JOIN, or by TLS. With one too many of them, the oldest is closed: those
// that do show it are soon counted out, while refusing the newest would let
// silent ones keep everybody else away.
type newcomers struct {
	most, mostOf int // in all, and from one address; 0 and below: any number

	mu  sync.Mutex
	n   int
	of  map[netip.Addr]int
	all list[newcomer, *newcomer] // the oldest first
}

type newcomer struct {
	links[newcomer]
	nc     net.Conn
	addr   netip.Addr
	in     bool        // among them still
	closed atomic.Bool // to make room
}

func (n *newcomers) add(nc net.Conn) *newcomer {
	c := &newcomer{nc: nc, addr: addressOf(nc.RemoteAddr()), in: true}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.mostOf > 0 && c.addr.IsValid() && n.of[c.addr] >= n.mostOf:
		n.closeOldest(c.addr)
	case n.most > 0 && n.n >= n.most:
		n.closeOldest(netip.Addr{})
	}
	if n.of == nil {
		n.of = map[netip.Addr]int{}
	}
	n.n++
	n.of[c.addr]++
	n.all.pushBack(c)
	return c
}

// makeRoom closes the oldest, of this address if that is where it is crowded.
// It is not ok if there is none.
func (n *newcomers) makeRoom(why crowding, a net.Addr) (ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if why == crowdOfAddress {
		return n.closeOldest(addressOf(a))
	}
	return n.closeOldest(netip.Addr{})
}

// closeOldest is called with n.mu held. No address means any.
func (n *newcomers) closeOldest(of netip.Addr) bool {
	for c := n.all.head; c != nil; c = c.after {
		if !of.IsValid() || c.addr == of {
			n.remove(c)
			c.closed.Store(true)
			_ = c.nc.Close()
			return true
		}
	}
	return false
}

// known takes c out, which has shown who it is, or has ended.
func (n *newcomers) known(c *newcomer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.in {
		n.remove(c)
	}
}

func (n *newcomers) remove(c *newcomer) {
	c.in = false
	n.n--
	if n.of[c.addr]--; n.of[c.addr] == 0 {
		delete(n.of, c.addr)
	}
	n.all.remove(c)
}
