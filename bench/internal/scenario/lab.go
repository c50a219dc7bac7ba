package scenario

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier/bench/internal/contender"
	"github.com/pgbarrier/pgbarrier/bench/internal/report"
	"github.com/pgbarrier/pgbarrier/devpg"
)

// A Lab is a server and what is measured on it.
type Lab struct {
	Options
	Report *report.Report
	// Progress is told what is being done.
	Progress func(string)

	server    *devpg.Server
	admin     *pgxpool.Pool
	databases map[string]*Database
	lastID    atomic.Int64
}

// A Database has the application's table and what one contender needs.
type Database struct {
	URL  string
	Pool *pgxpool.Pool
}

// settings of the server. fsync stays on: the flush is what concurrent commits share. Nothing but
// room: 256 producers, a connection for each that waits by a lock, 128 listeners with two each.
var settings = map[string]string{
	"max_connections": "1000",
	"shared_buffers":  "256MB",
	"max_wal_size":    "4GB", // few checkpoints during a measurement
	"autovacuum":      "on",
}

// NewLab starts a throwaway server.
func NewLab(ctx context.Context, o Options, r *report.Report, progress func(string)) (*Lab, error) {
	l, err := newLab(ctx, o, progress, settings)
	if err != nil {
		return nil, err
	}
	l.Report = r
	if err := l.describe(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func newLab(ctx context.Context, o Options, progress func(string), settings map[string]string) (*Lab, error) {
	progress("starting a server")
	server, err := devpg.Start(ctx, devpg.Config{Settings: settings})
	if err != nil {
		return nil, err
	}
	admin, err := pgxpool.New(ctx, server.URL())
	if err != nil {
		return nil, errors.Join(err, server.Close())
	}
	return &Lab{Options: o, Progress: progress, server: server, admin: admin, databases: map[string]*Database{}}, nil
}

// describe fills in what the report tells of machine and server.
func (l *Lab) describe(ctx context.Context) error {
	m := report.Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), CPU: cpuModel(), Go: runtime.Version(), Source: l.server.Source()}
	if err := l.admin.QueryRow(ctx, "SHOW server_version").Scan(&m.Postgres); err != nil {
		return err
	}
	l.Report.Machine = m
	l.Report.Settings = map[string]string{}
	rows, err := l.admin.Query(ctx, `SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY($1)`,
		[]string{"fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "wal_level", "max_connections", "shared_buffers", "max_wal_size", "autovacuum"})
	if err != nil {
		return err
	}
	var name, value string
	_, err = pgx.ForEachRow(rows, []any{&name, &value}, func() error {
		l.Report.Settings[name] = value
		return nil
	})
	return err
}

// Close ends the server.
func (l *Lab) Close() error {
	for _, db := range l.databases {
		db.Pool.Close()
	}
	l.admin.Close()
	return l.server.Close()
}

// setFlush sets how long a flush takes, for sessions old and new.
func (l *Lab) setFlush(ctx context.Context, f flush) error {
	for name, value := range map[string]int{"commit_delay": f.delay, "commit_siblings": 0} {
		if _, err := l.admin.Exec(ctx, fmt.Sprintf("ALTER SYSTEM SET %s = %d", name, value)); err != nil {
			return err
		}
	}
	if _, err := l.admin.Exec(ctx, "SELECT pg_reload_conf()"); err != nil {
		return err
	}
	// The reload is a signal: wait until a new session shows it.
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		conn, err := pgx.Connect(ctx, l.server.URL())
		if err != nil {
			return err
		}
		var delay string
		err = conn.QueryRow(ctx, "SHOW commit_delay").Scan(&delay)
		_ = conn.Close(ctx) // only looked
		if err != nil {
			return err
		}
		if delay == strconv.Itoa(f.delay) {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return errors.New("the server did not take over commit_delay")
}

// flushTakes measures one WAL flush: the median commit of an insert, less that without waiting for the flush.
func (l *Lab) flushTakes(ctx context.Context, db *Database) (time.Duration, error) {
	conn, err := db.Pool.Acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Release()
	median := func(setting string) (time.Duration, error) {
		if _, err := conn.Exec(ctx, "SET synchronous_commit = "+setting); err != nil {
			return 0, err
		}
		var took []time.Duration
		for range 50 {
			begun := time.Now()
			if _, err := conn.Exec(ctx, contender.InsertRow, l.nextID()); err != nil {
				return 0, err
			}
			took = append(took, time.Since(begun))
		}
		return medianOf(took), nil
	}
	with, err := median("on")
	if err != nil {
		return 0, err
	}
	without, err := median("off")
	if err != nil {
		return 0, err
	}
	_, err = conn.Exec(ctx, "RESET synchronous_commit")
	return with - without, err
}

// database returns the contender's own, made at its first turn. Its pool's connections are the producers'.
func (l *Lab) database(ctx context.Context, c contender.Contender) (*Database, error) {
	if db := l.databases[c.Name]; db != nil {
		return db, nil
	}
	url, err := l.server.CreateDatabase(ctx)
	if err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = 300
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	db := &Database{URL: url, Pool: pool}
	if err = contender.InstallApp(ctx, pool); err == nil {
		err = c.Install(ctx, pool)
	}
	if err != nil {
		pool.Close()
		return nil, err
	}
	l.databases[c.Name] = db
	return db, nil
}

// settle leaves the database as a new one is: no rows of the last round, statistics, no dirty pages that a
// checkpoint would write during the next. Connections of the last round are closed.
func (l *Lab) settle(ctx context.Context, db *Database) error {
	db.Pool.Reset()
	if _, err := db.Pool.Exec(ctx, "TRUNCATE app"); err != nil {
		return err
	}
	_, err := db.Pool.Exec(ctx, "CHECKPOINT")
	return err
}

func (l *Lab) nextID() int64 { return l.lastID.Add(1) }
