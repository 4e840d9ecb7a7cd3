package worker

import (
	"crypto/rand"
	"math"
	"sync"

	"github.com/dialmux/dialmux/frame"
)

// Announcement changes what workers announce while they run. Its zero value changes nothing. All its methods may be called at any time.
type Announcement struct {
	mu      sync.Mutex
	said    *frame.JoinInfo // nil: what each worker's own fields say
	changed chan struct{}   // closed by the next Replace
}

// Replace has workers announce w's Name, Token, Service, AppVersion, Zone, Hosts, Paths, Weight, Balance, Sticky and Tags instead of what they did: all
// of it, in one step, over the connections that they have. Requests that run go on. A worker whose Run is ended right after still
// says it, as its last word: what nobody announces any more is then forgotten by its routers at once. A router that refuses it, as the token does not
// allow it, goes on with what it took before: Worker.OnJoin and OnRefuse tell. Fields that Run would not take are an
// error, and nothing changes.
func (a *Announcement) Replace(w Worker) error {
	w, err := w.withDefaults()
	if err != nil {
		return err
	}
	join, err := w.join(instance(rand.Text(), math.MaxInt32))
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.said = &join
	if a.changed != nil {
		close(a.changed)
		a.changed = nil
	}
	return nil
}

// now returns what is to be announced, and what is closed when that changes.
func (a *Announcement) now() (said *frame.JoinInfo, changed <-chan struct{}) {
	if a == nil {
		return nil, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.changed == nil {
		a.changed = make(chan struct{})
	}
	return a.said, a.changed
}
