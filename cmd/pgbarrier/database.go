package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// connectTimeout applies unless the connection string or PGCONNECT_TIMEOUT sets one.
const connectTimeout = 10 * time.Second

// database is the flag of every command that needs one.
type database struct {
	URL string `name:"database" short:"d" env:"DATABASE_URL" placeholder:"URL" help:"Connection URL or key=value string of the database, on the primary. Without it libpq's variables count (PGHOST, …)."`
}

// config returns what the connection string says, with our defaults.
func (d database) config() (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(d.URL)
	if err != nil {
		return nil, usageError{fmt.Errorf("the connection string is not one: %s", oneLine(err))}
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectTimeout
	}
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = "pgbarrier"
	}
	return config, nil
}

// connect returns a pool that has reached the server.
func (d database) connect(ctx context.Context, change ...func(*pgxpool.Config)) (*pgxpool.Pool, error) {
	config, err := d.config()
	if err != nil {
		return nil, err
	}
	for _, c := range change {
		c(config)
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, connectError(d, err)
	}
	return pool, nil
}

// connectError says where to look: most often it is the wrong server that was asked.
func connectError(d database, err error) error {
	hint := "check --database or DATABASE_URL"
	if d.URL == "" {
		hint = "set --database, DATABASE_URL or PGHOST and its like"
	}
	var connectErr *pgconn.ConnectError
	if errors.As(err, &connectErr) {
		return fmt.Errorf("%s (%s)", oneLine(err), hint) // "failed to connect to …"
	}
	return fmt.Errorf("cannot reach the database: %s (%s)", oneLine(err), hint)
}
