package guardjetstream

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgbarrier/pgbarrier/internal/devbroker"
)

// A broker is a nats-server of one test.
type broker struct{ *devbroker.Server }

// startBroker starts a server with JetStream, which is gone when the test ends.
func startBroker(t testing.TB) broker {
	t.Helper()
	s, err := devbroker.Start(t.Context(), devbroker.NATS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return broker{s}
}

// connect opens a connection that outlasts a restart.
func (b broker) connect(t testing.TB) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, js, err := b.open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc, js
}

func (b broker) open() (*nats.Conn, jetstream.JetStream, error) {
	nc, err := nats.Connect(b.URL, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(nc)
	return nc, js, err
}

// stream makes a stream of subject name, and a consumer of it.
func stream(t testing.TB, js jetstream.JetStream, name string, config jetstream.ConsumerConfig) (jetstream.Stream, jetstream.Consumer) {
	t.Helper()
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{strings.ToLower(name)}})
	if err != nil {
		t.Fatal(err)
	}
	config.Durable = "workers"
	config.AckPolicy = jetstream.AckExplicitPolicy
	c, err := s.CreateOrUpdateConsumer(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}
