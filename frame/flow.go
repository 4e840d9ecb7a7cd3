package frame

const (
	// RequestWindow is what the router may send of a request's body before
	// the worker has given any credit.
	RequestWindow = 64 << 10
	// ResponseWindow is the same for a worker and a response's body.
	ResponseWindow = 256 << 10
	// MinCost is the least that a payload with anything in it costs, so that
	// a flood of tiny frames runs out of window as a flood of bytes does.
	MinCost = 1 << 10
)

// Cost is what a payload of n bytes takes from its stream's window.
func Cost(n int) int64 {
	if n == 0 {
		return 0
	}
	return max(MinCost, int64(n))
}

// Fit is how many of n bytes may go out in one payload under a window: 0 if
// the window does not allow any.
func Fit(window int64, n int) int {
	if window < MinCost {
		return 0
	}
	return int(min(window, int64(n), MaxPayload))
}
