package zmtp

import (
	"encoding/hex"
	"strings"
)

// What libzmq 4.3.4 sends, recorded: greeting and READY, or greeting, HELLO and INITIATE.
var (
	nullGreeting  = unhex("ff00000000000000017f0301 4e554c4c" + strings.Repeat("00", 48))
	plainGreeting = unhex("ff00000000000000017f0301 504c41494e" + strings.Repeat("00", 47))

	repReady      = unhex("0419 055245414459 0b536f636b65742d54797065 00000003 524550")
	dealerReady   = unhex("0429 055245414459 0b536f636b65742d54797065 00000006 4445414c4552 084964656e74697479 00000000")
	dealerMeReady = unhex("042b 055245414459 0b536f636b65742d54797065 00000006 4445414c4552 084964656e74697479 00000002 6d65")
	routerReady   = unhex("0429 055245414459 0b536f636b65742d54797065 00000006 524f55544552 084964656e74697479 00000000")
	reqReady      = unhex("0426 055245414459 0b536f636b65742d54797065 00000003 524551 084964656e74697479 00000000")

	plainHello    = unhex("0418 0548454c4c4f 0a7376632f776f726b6572 06736563726574")
	plainInitiate = unhex("042c 08494e495449415445 0b536f636b65742d54797065 00000006 4445414c4552 084964656e74697479 00000000")

	nullREP     = concat(nullGreeting, repReady)
	nullDealer  = concat(nullGreeting, dealerReady)
	nullRouter  = concat(nullGreeting, routerReady)
	plainDealer = concat(plainGreeting, plainHello, plainInitiate)

	// Ours, in the other order just as often.
	ourReady = dealerReady
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

func concat(parts ...[]byte) (b []byte) {
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// ready is a READY command around metadata.
func ready(metadata []byte) []byte {
	return append([]byte{4, byte(6 + len(metadata))}, append([]byte("\x05READY"), metadata...)...)
}
