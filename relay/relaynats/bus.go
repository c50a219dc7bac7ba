package relaynats

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// A bus is what the protocol needs of NATS. Tests have one that loses, doubles and delays messages in fake time.
type bus interface {
	// publish sends a message. One that cannot be sent now is an error, and is not sent later.
	publish(subject, reply string, data []byte) error
	// subscribe calls f for each message, one at a time, until stop has returned.
	subscribe(subject string, f func(message)) (stop func(), err error)
	// maxPayload is the largest message in bytes.
	maxPayload() int
	// watch calls f when the connection is up again, and when it is closed for good, until stop has returned.
	watch(f func(closed bool)) (stop func())
	// flush returns when what was published has reached the server, or soon.
	flush()
	// lastError returns what the server said last: of permissions, say.
	lastError() error
}

// A message is one that was received. nobody: it is the server's word that nobody subscribes to what was published
// with this reply subject.
type message struct {
	subject, reply string
	data           []byte
	nobody         bool
}

var (
	errDisconnected = errors.New("pgbarrier: relaynats: there is no connection to NATS")
	errGivesUp      = errors.New("pgbarrier: relaynats: the NATS connection would give up: connect with nats.MaxReconnects(-1)")
)

// natsBus is a connection to NATS, which its user closes.
type natsBus struct{ nc *nats.Conn }

func newBus(nc *nats.Conn) (bus, error) {
	switch {
	case nc == nil:
		return nil, errors.New("pgbarrier: relaynats: the NATS connection is nil")
	case !nc.Opts.AllowReconnect || nc.Opts.MaxReconnect >= 0:
		return nil, errGivesUp
	}
	return natsBus{nc}, nil
}

func (b natsBus) publish(subject, reply string, data []byte) error {
	// While it reconnects, nats.go would keep the message and send it when it is stale.
	if !b.nc.IsConnected() {
		return errDisconnected
	}
	if reply == "" { // PublishRequest refuses it
		return b.nc.Publish(subject, data)
	}
	return b.nc.PublishRequest(subject, reply, data)
}

func (b natsBus) subscribe(subject string, f func(message)) (stop func(), err error) {
	sub, err := b.nc.Subscribe(subject, func(m *nats.Msg) {
		nobody := len(m.Data) == 0 && m.Header.Get("Status") == "503"
		f(message{m.Subject, m.Reply, m.Data, nobody})
	})
	if err != nil {
		return nil, fmt.Errorf("pgbarrier: relaynats: cannot subscribe to %s: %w", subject, err)
	}
	ended := make(chan struct{})
	sub.SetClosedHandler(func(string) { close(ended) })
	return func() {
		if sub.Unsubscribe() == nil {
			<-ended
			return
		}
		select { // the connection was closed, perhaps before the handler was set
		case <-ended:
		case <-time.After(flushTimeout):
		}
	}, nil
}

func (b natsBus) maxPayload() int {
	if n := b.nc.MaxPayload(); n > 0 {
		return int(n)
	}
	return maxMessage // never connected yet
}

func (b natsBus) watch(f func(closed bool)) (stop func()) {
	statuses := b.nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	var watching sync.WaitGroup
	watching.Go(func() {
		if b.nc.IsClosed() {
			f(true)
		}
		for status := range statuses {
			f(status == nats.CLOSED)
		}
	})
	return func() {
		b.nc.RemoveStatusListener(statuses)
		watching.Wait()
	}
}

const flushTimeout = time.Second

func (b natsBus) lastError() error { return b.nc.LastError() }

func (b natsBus) flush() { _ = b.nc.FlushTimeout(flushTimeout) }
