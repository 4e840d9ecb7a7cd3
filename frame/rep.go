package frame

import (
	"bytes"

	"github.com/tinylib/msgp/msgp"
)

// AppendRepRequest writes the head that a REP worker gets: a map of method,
// scheme, authority, path (with the query) and headers, a list of
// [name, value]. fields is the list of a request's HEADERS frame.
func AppendRepRequest(dst []byte, fields Fields) []byte {
	dst = msgp.AppendMapHeader(dst, 5)
	plain := fields
	pseudo := 0
	for name, value := range fields.All() {
		if len(name) == 0 || name[0] != ':' {
			break
		}
		_, _, plain = plain.Next()
		switch string(name) {
		case ":method", ":scheme", ":authority", ":path":
			dst = appendText(appendStr(dst, name[1:]), value)
			pseudo++
		}
	}
	for ; pseudo < 4; pseudo++ { // a request without one of them never gets here; the map stays well formed
		dst = appendStr(appendStr(dst, ""), "")
	}
	dst = msgp.AppendArrayHeader(appendStr(dst, "headers"), plain.pairs)
	for name, value := range plain.All() {
		dst = appendText(appendText(msgp.AppendArrayHeader(dst, 2), name), value)
	}
	return dst
}

// ParseRepReply reads the head of a REP worker's reply: empty, or a map of
// status (200 if left out) and headers (a map of name to value or list of
// values, or a list of [name, value]). The fields are appended to dst, names
// in lower case; they never grow it past MaxHead.
func ParseRepReply(head []byte, dst *Fields) (status uint64, err error) {
	status = 200
	if len(head) == 0 {
		return status, nil
	}
	if len(head) > MaxHead {
		return status, errTooLong
	}
	b, err := entries{
		{key: "status", read: num(&status)},
		{key: "headers", read: func(b []byte) ([]byte, error) { return repHeaders(b, dst) }},
	}.parse(head)
	if err == nil && len(b) > 0 {
		err = errTrailing
	}
	return status, err
}

func repHeaders(b []byte, dst *Fields) ([]byte, error) {
	switch msgp.NextType(b) {
	case msgp.MapType:
		return eachEntry(b, func(name, b []byte) ([]byte, error) {
			if msgp.NextType(b) != msgp.ArrayType {
				return repValue(b, name, dst)
			}
			return eachItem(b, func(b []byte) ([]byte, error) { return repValue(b, name, dst) })
		})
	case msgp.ArrayType:
		return eachItem(b, func(b []byte) ([]byte, error) {
			n, b, err := msgp.ReadArrayHeaderBytes(b)
			if err != nil || n != 2 {
				return b, errHeaders
			}
			name, b, err := text(b)
			if err != nil {
				return b, errHeaders
			}
			return repValue(b, name, dst)
		})
	case msgp.NilType:
		return msgp.ReadNilBytes(b)
	}
	return b, errHeaders
}

func repValue(b, name []byte, dst *Fields) ([]byte, error) {
	v, b, err := text(b)
	if err != nil {
		return b, errHeaders
	}
	if dst.Size()+len(name)+len(v) > MaxHead { // a name may stand for a list of a thousand values
		return b, errTooLong
	}
	dst.AddBytes(bytes.ToLower(name), v)
	return b, nil
}
