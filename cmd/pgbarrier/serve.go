package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/pgbarrier/pgbarrier/cmd/pgbarrier/internal/serve"
)

// serveCommand has its defaults where the manifests in deploy/ can be compared with them.
type serveCommand struct {
	Databases []string `name:"database" short:"d" env:"DATABASE_URL" sep:"none" placeholder:"URL" help:"Connection URL or key=value string of a database, on its primary. Several times, or several URLs with spaces between, for several databases."`
	PollOnly  bool     `help:"Do not LISTEN, only check: for databases behind a pooler in transaction mode."`
	Retention string   `env:"PGBARRIER_RETENTION" placeholder:"7d" help:"Purge barriers that were created longer ago. Needs a grant, see README. Default: do not purge."`

	NATS       string `name:"nats" env:"PGBARRIER_NATS" placeholder:"URL" help:"Serve over NATS: the URL of a server, several with commas between, or embedded for one in this process, without a password."`
	NATSListen string `name:"nats-listen" default:"127.0.0.1:4222" help:"Address of the embedded NATS server."`
	NATSCreds  string `name:"nats-creds" env:"PGBARRIER_NATS_CREDS" placeholder:"FILE" help:"NATS credentials."`
	NATSCA     string `name:"nats-ca" env:"PGBARRIER_NATS_CA" placeholder:"FILE" help:"Authority of the NATS servers' certificates."`

	HTTP              string        `name:"http" env:"PGBARRIER_HTTP" placeholder:"ADDRESS" help:"Serve over HTTP, with /healthz, /readyz and /metrics, such as :8080. Port 0 is a free one, which is printed."`
	TLSCert           string        `name:"tls-cert" env:"PGBARRIER_TLS_CERT" placeholder:"FILE" help:"Serve HTTPS with this certificate."`
	TLSKey            string        `name:"tls-key" env:"PGBARRIER_TLS_KEY" placeholder:"FILE" help:"Its key."`
	BearerFile        string        `name:"bearer-file" env:"PGBARRIER_BEARER_FILE" placeholder:"FILE" help:"Answer over HTTP who sends one of these secrets as a bearer token: one a line."`
	ClientCA          string        `name:"client-ca" env:"PGBARRIER_CLIENT_CA" placeholder:"FILE" help:"Answer over HTTPS who has a certificate of this authority."`
	ClientNames       []string      `name:"client-name" placeholder:"NAME" help:"Of those only who has one of these names."`
	MaxWait           time.Duration `default:"1m" help:"The longest wait of one HTTP request (default ${default})."`
	MaxRequests       int           `default:"10000" help:"HTTP requests at the same time (default ${default})."`
	MaxClientRequests int           `default:"1000" help:"HTTP requests of one client at the same time (default ${default})."`
	MaxTokens         int           `default:"1000000" help:"Tokens that are waited for at the same time, of all clients (default ${default})."`

	Linger  time.Duration `env:"PGBARRIER_LINGER" default:"0s" help:"After SIGTERM, go on answering probes with not ready for so long, until load balancers know (default ${default})."`
	Grace   time.Duration `env:"PGBARRIER_GRACE" default:"10s" help:"After that, wait so long for clients to leave (default ${default})."`
	LogJSON bool          `name:"log-json" env:"PGBARRIER_LOG_JSON" help:"Log JSON."`
	Verbose bool          `short:"v" help:"Log requests that are refused as well."`
}

func (c *serveCommand) Help() string {
	return `The relay: it listens in the databases, and answers waits of any number of workers, who need no database session. Run two or more; workers find another one when one ends. docs/fleet.md tells how, and which permissions NATS needs.

    pgbarrier serve -nats embedded -http 127.0.0.1:0      # to see it, with a throwaway database
    curl --fail --retry 100 http://127.0.0.1:PORT/v1/barriers/$TOKEN?wait=30s && run-the-work

It does not migrate: do that first. Without --database, DATABASE_URL or libpq's variables, and only where nothing is served to other machines, it starts a throwaway PostgreSQL.

SIGTERM drains: clients leave for another relay, and notice nothing. Exit codes: 0 drained, 1 error, 2 usage error.`
}

func (c *serveCommand) Run(ctx context.Context, std streams) error {
	config, err := c.config()
	if err != nil {
		return usageError{err}
	}
	level := slog.LevelInfo
	if c.Verbose {
		level = slog.LevelDebug
	}
	var handler slog.Handler = slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: level})
	if c.LogJSON {
		handler = slog.NewJSONHandler(std.err, &slog.HandlerOptions{Level: level})
	}
	config.Log, config.Out = slog.New(handler), std.out
	return serve.Run(ctx, config)
}

func (c *serveCommand) config() (serve.Config, error) {
	config := serve.Config{
		Databases: databases(c.Databases),
		PollOnly:  c.PollOnly,
		NATS:      serve.NATSConfig{URL: c.NATS, Listen: c.NATSListen, Credentials: c.NATSCreds, CA: c.NATSCA},
		HTTP: serve.HTTPConfig{Address: c.HTTP, Certificate: c.TLSCert, Key: c.TLSKey, ClientCA: c.ClientCA, ClientNames: c.ClientNames,
			MaxRequests: c.MaxRequests, MaxClientRequests: c.MaxClientRequests, MaxWait: c.MaxWait},
		MaxTokens: c.MaxTokens, Linger: c.Linger, Grace: c.Grace,
	}
	if c.NATS == "" && c.HTTP == "" {
		return config, errors.New("nothing is to be served: set --nats, --http, or both")
	}
	if (c.TLSCert == "") != (c.TLSKey == "") || c.ClientCA != "" && c.TLSCert == "" {
		return config, errors.New("--tls-cert, --tls-key and --client-ca belong together: the first two, or all")
	}
	if c.MaxWait <= 0 || c.MaxRequests < 1 || c.MaxClientRequests < 1 || c.MaxTokens < 1 || c.Linger < 0 || c.Grace < 0 {
		return config, errors.New("--max-wait, --max-requests, --max-client-requests and --max-tokens must be positive, --linger and --grace not negative")
	}
	if c.Retention != "" {
		var r retention
		if err := r.UnmarshalText([]byte(c.Retention)); err != nil {
			return config, fmt.Errorf("--retention: %w", err)
		}
		config.Retention = r.Duration
	}
	if c.BearerFile != "" {
		text, err := os.ReadFile(c.BearerFile)
		if err != nil {
			return config, fmt.Errorf("--bearer-file: %w", err)
		}
		if config.HTTP.Secrets = strings.Fields(string(text)); len(config.HTTP.Secrets) == 0 {
			return config, fmt.Errorf("--bearer-file: %s is empty", c.BearerFile)
		}
	}
	if len(config.Databases) == 0 && libpqNamesOne() {
		config.Databases = []string{""}
	}
	// A relay in production that has lost its DATABASE_URL must not be ready, with an empty database of its own.
	try := (c.NATS == "" || c.NATS == serve.Embedded && serve.Loopback(c.NATSListen)) && (c.HTTP == "" || serve.Loopback(c.HTTP))
	if len(config.Databases) == 0 && !try {
		return config, errors.New("no database: set --database or DATABASE_URL (a throwaway one is only started where nothing is served to other machines)")
	}
	return config, nil
}

// databases takes apart what an environment variable holds: several URLs with white space between, which a connection
// string of the form key=value has as well.
func databases(texts []string) []string {
	var all []string
	for _, text := range texts {
		words := strings.Fields(text)
		urls := !slices.ContainsFunc(words, func(w string) bool {
			return !strings.HasPrefix(w, "postgres://") && !strings.HasPrefix(w, "postgresql://")
		})
		switch {
		case len(words) == 0:
		case urls:
			all = append(all, words...)
		default:
			all = append(all, text)
		}
	}
	return all
}

// libpqNamesOne reports whether libpq's variables name a server.
func libpqNamesOne() bool {
	return os.Getenv("PGHOST") != "" || os.Getenv("PGHOSTADDR") != "" || os.Getenv("PGSERVICE") != ""
}
