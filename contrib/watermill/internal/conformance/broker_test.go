package conformance

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	"github.com/nats-io/nats.go"

	"github.com/pgbarrier/pgbarrier/internal/devbroker"
)

// startBroker starts a server, which is gone when the test ends.
func startBroker(t testing.TB, k *devbroker.Kind) *devbroker.Server {
	t.Helper()
	s, err := devbroker.Start(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("the end of the broker's log: ", s.Log())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// A natsServer is a nats-server of one test.
type natsServer struct{ server *devbroker.Server }

func startNATS(t testing.TB) *natsServer { return &natsServer{startBroker(t, devbroker.NATS)} }

// connect opens a connection that outlasts a restart.
func (b *natsServer) connect() (*nats.Conn, error) {
	return nats.Connect(b.server.URL, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
}

// A rabbit is a RabbitMQ server of one test.
type rabbit struct {
	server *devbroker.Server

	mu        sync.Mutex
	publisher *amqp.Publisher // nil: not connected
}

func startRabbit(t *testing.T) *rabbit {
	b := &rabbit{server: startBroker(t, devbroker.RabbitMQ)}
	t.Cleanup(b.disconnect)
	return b
}

// restart stops the server and starts it again.
func (b *rabbit) restart(ctx context.Context) error {
	b.disconnect()
	return b.server.Restart(ctx)
}
