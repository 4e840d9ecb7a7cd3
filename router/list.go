package router

// list is a doubly linked list through its elements: no allocation, and
// removal from anywhere at once.
type list[T any, P linker[T]] struct {
	head, tail P
}

// links is what an element embeds; it is in one list at most.
type links[T any] struct {
	before, after *T
}

type linker[T any] interface {
	*T
	node() *links[T]
}

func (l *links[T]) node() *links[T] { return l }

func (l *list[T, P]) pushBack(e P) {
	e.node().before, e.node().after = l.tail, nil
	if l.tail != nil {
		l.tail.node().after = e
	} else {
		l.head = e
	}
	l.tail = e
}

func (l *list[T, P]) pushFront(e P) { l.insert(e, l.head) }

// insert puts e before another element, at the end if that is nil.
func (l *list[T, P]) insert(e, next P) {
	if next == nil {
		l.pushBack(e)
		return
	}
	k := next.node()
	e.node().before, e.node().after = k.before, next
	if k.before != nil {
		P(k.before).node().after = e
	} else {
		l.head = e
	}
	k.before = e
}

func (l *list[T, P]) remove(e P) {
	k := e.node()
	if k.before != nil {
		P(k.before).node().after = k.after
	} else {
		l.head = k.after
	}
	if k.after != nil {
		P(k.after).node().before = k.before
	} else {
		l.tail = k.before
	}
	k.before, k.after = nil, nil
}
