package router

import (
	"encoding/binary"

	"github.com/dialmux/dialmux/frame"
	"github.com/dialmux/dialmux/internal/zmtp"
)

// queueREP queues a whole request in the envelope of a REP socket: a tag, which
// comes back with the reply, and an empty part. p.mu is held.
func (p *peer) queueREP(s *stream, id uint64) (wake bool, err error) {
	tag := p.tag(id)
	p.scratch = frame.AppendRepRequest(p.scratch[:0], s.request.fields)
	_, wake, err = p.conn.Queue(id, zmtp.Opener, tag[:], nil, p.scratch, s.upload.buf)
	return wake, err
}

// tag marks a request so that no reply of another connection, or to another
// request, is taken for its answer.
func (p *peer) tag(id uint64) (tag [16]byte) {
	copy(tag[:], p.key[:])
	binary.BigEndian.PutUint64(tag[8:], id)
	return tag
}

// receiveReply takes a reply. One whose tag is not that of the request that is
// running is dropped, and the worker stays busy.
func (p *peer) receiveReply(parts [][]byte) {
	if len(parts) == 0 || len(parts[0]) != 16 || [8]byte(parts[0]) != p.key {
		p.drop()
		return
	}
	id := binary.BigEndian.Uint64(parts[0][8:])
	s, open := p.find(id, true)
	if !open {
		return
	}
	good := s != nil && p.answer(s, id, parts)
	if s != nil && !good {
		p.r.pool.failed(p)
	}
	p.r.pool.release(p, good)
}

func (p *peer) answer(s *stream, id uint64, parts [][]byte) (good bool) {
	if len(parts) != 4 || len(parts[1]) != 0 {
		p.r.log.Warn("REP worker's reply wants two parts, head and body", "worker", p.name(), "parts", max(len(parts)-2, 0))
		s.fail(id, errBroken)
		return false
	}
	p.reply.Reset()
	status, err := frame.ParseRepReply(parts[2], &p.reply)
	if err != nil || status < 200 || status > 599 {
		p.r.log.Warn("REP worker's reply: its head wants to be empty or a map of status (200 to 599) and headers", "worker", p.name(), "status", status, "err", err)
		s.fail(id, errBroken)
		return false
	}
	p.r.memory.relieve()
	s.arriveReply(id, int(status), p.reply, parts[3])
	return true
}
