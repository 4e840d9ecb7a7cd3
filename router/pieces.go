package router

import "sync"

// pieces is a body that has arrived and waits for its client, in blocks of two
// sizes that all streams share: a stream that is over, or keeps up, holds none.
type pieces struct {
	list [][]byte
	size int64 // of the blocks
}

const (
	smallBlock = 4 << 10
	largeBlock = 64 << 10 // a frame's largest payload
)

var (
	smallBlocks = sync.Pool{New: func() any { return new([smallBlock]byte) }}
	largeBlocks = sync.Pool{New: func() any { return new([largeBlock]byte) }}
)

// add copies b.
func (p *pieces) add(b []byte) {
	for len(b) > 0 {
		last := len(p.list) - 1
		if last < 0 || len(p.list[last]) == cap(p.list[last]) {
			p.list = append(p.list, newBlock(len(b)))
			last++
			p.size += int64(cap(p.list[last]))
		}
		tail := p.list[last]
		n := copy(tail[len(tail):cap(tail)], b)
		p.list[last] = tail[:len(tail)+n]
		b = b[n:]
	}
}

func newBlock(size int) []byte {
	if size <= smallBlock {
		return smallBlocks.Get().(*[smallBlock]byte)[:0]
	}
	return largeBlocks.Get().(*[largeBlock]byte)[:0]
}

// take returns the first piece, which freeBlock gets back; nil: there is none.
func (p *pieces) take() (b []byte) {
	if len(p.list) == 0 {
		return nil
	}
	b = p.list[0]
	n := copy(p.list, p.list[1:])
	p.list[n] = nil
	p.list = p.list[:n]
	p.size -= int64(cap(b))
	return b
}

func (p *pieces) empty() bool { return len(p.list) == 0 }

// drop gives all blocks back.
func (p *pieces) drop() {
	for b := p.take(); b != nil; b = p.take() {
		freeBlock(b)
	}
}

func freeBlock(b []byte) {
	switch cap(b) {
	case smallBlock:
		smallBlocks.Put((*[smallBlock]byte)(b[:smallBlock]))
	case largeBlock:
		largeBlocks.Put((*[largeBlock]byte)(b[:largeBlock]))
	}
}
