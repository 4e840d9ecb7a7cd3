package router

import (
	"time"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// What a worker may send that leads nowhere: frames for streams that are not
// open or that their clients have left, empty DATA, WINDOW_UPDATE, GOAWAY, JOIN, types of the
// future. A JOIN counts once more for each route that it names: all are told apart under the pool's
// lock. What was sent to it earns more of them: one for each message, as a
// WINDOW_UPDATE may return it, and one for each KiB.
const (
	// aimlessFrames may come at once: as many as can be on their way when the
	// clients of all its streams leave.
	aimlessFrames = MaxConcurrency * frame.ResponseWindow / 1024
	aimlessPause  = time.Millisecond // after which one more may
)

// aimless counts such frames.
type aimless struct {
	n      int
	looked time.Time
	sent   uint64 // to the worker, until then
}

func (a *aimless) spend(n int) { a.n += n }

// exhausted tells whether too many have come over conn.
func (a *aimless) exhausted(conn *zmtp.Conn) bool {
	if a.n <= aimlessFrames {
		return false
	}
	now := time.Now()
	messages, bytes := conn.Taken()
	sent := messages + bytes/1024
	a.n = max(a.n-int(now.Sub(a.looked)/aimlessPause)-int(sent-a.sent), 0)
	a.looked, a.sent = now, sent
	return a.n > aimlessFrames
}
