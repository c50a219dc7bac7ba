package conformance

import (
	"net"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// A line is a subscriber's connections to a broker, which can be cut.
type line struct {
	mu    sync.Mutex
	conns []net.Conn
	whole chan struct{} // closed while it can be dialed
}

func newLine() *line {
	l := &line{whole: make(chan struct{})}
	close(l.whole)
	return l
}

// dial waits while the line is cut.
func (l *line) dial(network, address string) (net.Conn, error) {
	for {
		l.mu.Lock()
		whole := l.whole
		l.mu.Unlock()
		<-whole
		conn, err := amqp091.DefaultDial(10*time.Second)(network, address)
		if err != nil {
			return nil, err
		}
		l.mu.Lock()
		if l.whole == whole {
			l.conns = append(l.conns, conn)
			l.mu.Unlock()
			return conn, nil
		}
		l.mu.Unlock()
		_ = conn.Close()
	}
}

// cut ends the connections as the death of a process does.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.whole = make(chan struct{})
	for _, conn := range l.conns {
		_ = conn.Close()
	}
	l.conns = nil
}

// mend lets whoever dials get a connection.
func (l *line) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.whole:
	default:
		close(l.whole)
	}
}
