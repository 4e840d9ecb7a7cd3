package http1

// Error is what is wrong with a request: the status that says so (RFC 9110 section 15.5), and the reason. The connection
// closes after it: where such a request ends is anybody's guess.
type Error struct {
	Status int
	Reason string
}

func (e *Error) Error() string { return e.Reason }

var (
	errHeadSize     = &Error{431, "the request's head is too large"}
	errFieldCount   = &Error{431, "the request has too many fields"}
	errTargetSize   = &Error{414, "the request's target is too long"}
	errHeadLate     = &Error{408, "the request's head did not come in time"}
	errBodyLate     = &Error{408, "the request's body stopped coming"}
	errBodyCut      = &Error{400, "the connection ended within the request's body"}
	errHeadCut      = &Error{400, "the connection ended within the request's head"}
	errChunkSize    = &Error{400, "a chunk's size is malformed: 1 to 15 hexadecimal digits and CRLF are right (RFC 9112 section 7.1)"}
	errChunkEnd     = &Error{400, "a chunk's data does not end in CRLF (RFC 9112 section 7.1)"}
	errChunkExt     = &Error{400, "chunk extensions are malformed or too long (RFC 9112 section 7.1.1)"}
	errChunkFlood   = &Error{400, "the chunks are mostly framing: larger ones are right"}
	errTrailerSize  = &Error{431, "the request's trailers are too large"}
	errBareLF       = &Error{400, "a line ends in LF alone: CRLF is right (RFC 9112 section 2.2)"}
	errBareCR       = &Error{400, "a CR stands without LF (RFC 9112 section 2.2)"}
	errFold         = &Error{400, "a field is folded over lines (RFC 9112 section 5.2)"}
	errRequestLine  = &Error{400, "the request line is malformed: method SP target SP version is right (RFC 9112 section 3)"}
	errVersion      = &Error{505, "HTTP/1.1 and HTTP/1.0 are spoken here"}
	errTarget       = &Error{400, "the request's target is malformed (RFC 9112 section 3.2)"}
	errAsterisk     = &Error{400, "the target * is for OPTIONS"}
	errAuthority    = &Error{400, "only CONNECT has a target without a path (RFC 9112 section 3.2.3)"}
	errConnect      = &Error{400, "CONNECT wants host:port as its target (RFC 9112 section 3.2.3)"}
	errHost         = &Error{400, "the host is malformed (RFC 9110 section 7.2)"}
	errHosts        = &Error{400, "one Host field is right (RFC 9112 section 3.2)"}
	errTwoLengths   = &Error{400, "Content-Length stands beside Transfer-Encoding (RFC 9112 section 6.1)"}
	errLength       = &Error{400, "Content-Length is malformed: one number is right (RFC 9112 section 6.3)"}
	errCodingOf10   = &Error{400, "Transfer-Encoding in HTTP/1.0 (RFC 9112 section 6.1)"}
	errCoding       = &Error{400, "Transfer-Encoding does not end in chunked once (RFC 9112 section 6.3)"}
	errCodingOther  = &Error{501, "chunked is the only transfer coding understood here (RFC 9112 section 6.1)"}
	errExpectation  = &Error{417, "100-continue is the only expectation met here (RFC 9110 section 10.1.1)"}
	errFieldName    = &Error{400, "a field's name is malformed: a token and a colon are right (RFC 9112 section 5.1)"}
	errFieldValue   = &Error{400, "a field's value has a control character (RFC 9110 section 5.5)"}
	errNoFieldColon = &Error{400, "a field has no colon (RFC 9112 section 5)"}
)
