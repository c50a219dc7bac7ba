package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/pgbarrier/pgbarrier/relay"
	"github.com/pgbarrier/pgbarrier/relay/relaynats"
)

// Embedded, as NATSConfig.URL, starts a NATS server in this process, without a password, for a look.
const Embedded = "embedded"

// NATSConfig says where NATS is.
type NATSConfig struct {
	URL         string // or several, with commas between; or Embedded; empty: do not serve over NATS
	Listen      string // the address of the embedded server
	Credentials string // file, as nats.UserCredentials has it
	CA          string // file, for TLS
}

type overNATS struct {
	conn     *nats.Conn
	embedded *natsserver.Server
	grace    time.Duration
}

func openNATS(config Config) (n *overNATS, err error) {
	n = &overNATS{grace: config.Grace}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	servers := config.NATS.URL
	options := append(relaynats.Options(), nats.Name("pgbarrier serve"),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { config.Log.Warn("pgbarrier: NATS is not connected", "error", err) }),
		nats.ReconnectHandler(func(c *nats.Conn) { config.Log.Info("pgbarrier: NATS is connected", "url", c.ConnectedUrlRedacted()) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { config.Log.Warn("pgbarrier: NATS", "error", err) }))
	if config.NATS.Credentials != "" {
		options = append(options, nats.UserCredentials(config.NATS.Credentials))
	}
	if config.NATS.CA != "" {
		options = append(options, nats.RootCAs(config.NATS.CA))
	}
	if servers == Embedded {
		n.grace = time.Millisecond // no other relay is there for its clients
		if n.embedded, err = startNATS(config.NATS.Listen); err != nil {
			return n, err
		}
		servers = n.embedded.ClientURL()
		fmt.Fprintf(config.Out, "NATS      %s   (embedded, without a password: for a look)\n", servers)
		options = append(options, nats.InProcessServer(n.embedded))
	}
	if n.conn, err = nats.Connect(servers, options...); err != nil {
		return n, fmt.Errorf("connect to NATS: %w", err)
	}
	if n.embedded == nil {
		fmt.Fprintf(config.Out, "NATS      %s\n", config.NATS.redacted())
	}
	return n, nil
}

// redacted is the URLs without their passwords.
func (c NATSConfig) redacted() string {
	var shown []string
	for text := range strings.SplitSeq(c.URL, ",") {
		if u, err := url.Parse(strings.TrimSpace(text)); err == nil {
			shown = append(shown, u.Redacted())
		}
	}
	return strings.Join(shown, ",")
}

// startNATS starts a NATS server and waits until it takes connections.
func startNATS(address string) (*natsserver.Server, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("--nats-listen: %w", err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("--nats-listen: the port of %q is not a number", address)
	}
	if number == 0 {
		number = natsserver.RANDOM_PORT
	} else if l, err := net.Listen("tcp", address); err != nil { // the server would only log that
		return nil, fmt.Errorf("the embedded NATS server: %w: choose another address with --nats-listen", err)
	} else {
		_ = l.Close()
	}
	s, err := natsserver.NewServer(&natsserver.Options{ServerName: "pgbarrier-embedded", Host: host, Port: number, NoSigs: true, NoLog: true})
	if err != nil {
		return nil, fmt.Errorf("the embedded NATS server: %w", err)
	}
	go s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		s.Shutdown()
		return nil, errors.New("the embedded NATS server does not start")
	}
	return s, nil
}

func (n *overNATS) serve(ctx context.Context, r *relay.Relay, log *slog.Logger) error {
	err := relaynats.Serve(ctx, n.conn, r, relaynats.ServerConfig{Grace: n.grace, Logger: log})
	if err == nil {
		select {
		case <-r.Draining():
		default:
			err = errEnded
		}
	}
	return err
}

func (n *overNATS) close() {
	if n.conn != nil {
		n.conn.Close()
	}
	if n.embedded != nil {
		n.embedded.Shutdown()
		n.embedded.WaitForShutdown()
	}
}
