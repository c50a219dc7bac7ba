package listener

// A list is a doubly linked list of elements that carry their own node. The zero list is empty.
type list[T any] struct {
	first *node[T]
	size  int
}

// A node is an element's membership of at most one list. The element sets it once.
type node[T any] struct {
	element    T
	in         *list[T]
	prev, next *node[T]
}

// push moves n to the front of l.
func (l *list[T]) push(n *node[T]) {
	n.leave()
	n.in, n.next = l, l.first
	if l.first != nil {
		l.first.prev = n
	}
	l.first = n
	l.size++
}

// leave takes n out of its list, if it is in one.
func (n *node[T]) leave() {
	if n.in == nil {
		return
	}
	if n.prev == nil {
		n.in.first = n.next
	} else {
		n.prev.next = n.next
	}
	if n.next != nil {
		n.next.prev = n.prev
	}
	n.in.size--
	n.in, n.prev, n.next = nil, nil, nil
}

// all yields the elements. The one just yielded may leave or move during the iteration.
func (l *list[T]) all(yield func(T) bool) {
	for n := l.first; n != nil; {
		next := n.next
		if !yield(n.element) {
			return
		}
		n = next
	}
}
