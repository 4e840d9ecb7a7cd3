package interop

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"strconv"
)

// What a request asks for follows from its nonce, so an answer to another
// request, or a part of one, cannot pass for the right one.

func newNonce() string { return rand.Text() }

// proof is the answer to /nonce?n=NONCE.
func proof(nonce string) []byte {
	sum := sha256.Sum256([]byte(nonce))
	return []byte(hex.EncodeToString(sum[:]) + "\n")
}

// longLines is the number of lines of /long?n=NONCE.
const longLines = 40

func longLine(nonce string, i int) []byte { return proof(nonce + ":" + strconv.Itoa(i)) }

func longAnswer(nonce string) (b []byte) {
	for i := range longLines {
		b = append(b, longLine(nonce, i)...)
	}
	return b
}

// bodyOf is a request's body of n bytes.
func bodyOf(nonce string, n int) []byte {
	p := append(proof(nonce), proof(nonce+"'")...)
	return bytes.Repeat(p, n/len(p)+1)[:n]
}

// flood is an endless body in blocks, each other than the last.
type flood struct {
	block []byte
	n     uint64
	sum   uint32
}

const floodBlock = 1 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func newFlood() *flood { return &flood{block: bodyOf("flood", floodBlock)} }

// next is valid until it is called again.
func (f *flood) next() []byte {
	copy(f.block, fmt.Sprintf("%020d", f.n))
	f.n++
	f.sum = crc32.Update(f.sum, castagnoli, f.block)
	return f.block
}
