package relayhttp

import (
	"errors"
	"sync"
	"sync/atomic"
)

var errTooMany = errors.New("pgbarrier: relayhttp: too many requests at the same time: ask again later")

// load counts the requests that are being answered, of each client.
type load struct {
	max, maxClient int
	refused        atomic.Uint64

	mu  sync.Mutex
	all int
	of  map[string]int // by client
}

// enter takes a place for a request of client's, or says that there is none.
func (l *load) enter(client string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= l.max || l.of[client] >= l.maxClient {
		return errTooMany
	}
	l.all++
	l.of[client]++
	return nil
}

func (l *load) leave(client string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.of[client]--; l.of[client] == 0 {
		delete(l.of, client)
	}
}

func (l *load) now() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all
}
