package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// producer is what keeps a transaction open: a backend, or a prepared transaction.
type producer struct {
	PID         int        `json:"pid,omitempty"`
	State       string     `json:"state,omitempty"` // as pg_stat_activity has it, such as idle in transaction
	Since       *time.Time `json:"since,omitempty"` // of the state, or of the PREPARE
	Application string     `json:"application_name,omitempty"`
	Client      string     `json:"client,omitempty"`   // address and port; empty on a Unix socket
	Prepared    string     `json:"prepared,omitempty"` // the gid of a prepared transaction
	Owner       string     `json:"owner,omitempty"`
}

// pg_stat_activity and pg_prepared_xacts show the low 32 bits of the xid. That is enough: of those
// that run at one time no two share them. The sessions of other roles show no backend_xid without
// pg_read_all_stats.
const producersSQL = `
SELECT t.xid::text, coalesce(a.pid, 0) AS pid, coalesce(a.state, '') AS state,
	coalesce(p.prepared, a.state_change) AS since, coalesce(a.application_name, '') AS application,
	coalesce(host(a.client_addr) || ':' || a.client_port, '') AS client,
	coalesce(p.gid, '') AS gid, coalesce(p.owner, a.usename, '')::text AS owner
FROM unnest($1::text[]::xid8[]) AS t(xid)
LEFT JOIN pg_stat_activity a ON a.backend_xid = t.xid::xid
LEFT JOIN pg_prepared_xacts p ON p.transaction = t.xid::xid
WHERE a.pid IS NOT NULL OR p.gid IS NOT NULL`

// findProducers looks up who runs the transactions. Those that have ended meanwhile, or that the
// role may not see, are missing in the result.
func findProducers(ctx context.Context, pool *pgxpool.Pool, xids []uint64) (map[uint64]producer, error) {
	producers := map[uint64]producer{}
	if len(xids) == 0 {
		return producers, nil
	}
	texts := make([]string, len(xids))
	for i, xid := range xids {
		texts[i] = strconv.FormatUint(xid, 10)
	}
	rows, err := pool.Query(ctx, producersSQL, texts)
	if err != nil {
		return nil, wire.Explain("look up the producers", err)
	}
	var text string
	var p producer
	_, err = pgx.ForEachRow(rows, []any{&text, &p.PID, &p.State, &p.Since, &p.Application, &p.Client, &p.Prepared, &p.Owner}, func() error {
		xid, err := strconv.ParseUint(text, 10, 64)
		producers[xid] = p
		return err
	})
	if err != nil {
		return nil, wire.Explain("look up the producers", err)
	}
	return producers, nil
}

func (p *producer) String() string {
	if p == nil {
		return "producer not seen: it has just ended, or the role lacks pg_read_all_stats"
	}
	var b strings.Builder
	since := ""
	if p.Since != nil {
		since = " for " + age(time.Since(*p.Since))
	}
	if p.Prepared != "" {
		fmt.Fprintf(&b, "prepared transaction %q%s, owner %s", p.Prepared, since, p.Owner)
		return b.String()
	}
	fmt.Fprintf(&b, "producer pid %d, %s%s", p.PID, p.State, since)
	if p.Application != "" {
		fmt.Fprintf(&b, ", application %q", p.Application)
	}
	if p.Client != "" {
		fmt.Fprintf(&b, ", client %s", p.Client)
	} else {
		b.WriteString(", client on a local socket")
	}
	return b.String()
}
