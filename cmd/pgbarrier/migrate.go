package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
)

type migrateCommand struct {
	database
	SQL    bool `name:"sql" aliases:"print" xor:"what" help:"Print the SQL instead of running it, for a migration tool or psql -v ON_ERROR_STOP=1."`
	DryRun bool `xor:"what" help:"Say what would be done, in a read-only transaction, and do nothing."`
	Check  bool `xor:"what" help:"Only check that the schema is there and complete, for a start that must not change it: exit code 1 if it is not."`
	JSON   bool `name:"json" help:"Print the result as JSON."`
}

func (c *migrateCommand) Help() string {
	return `It is idempotent: run it at every deployment, from any number of hosts at once. The role must own schema pgbarrier or, the first time, have CREATE on the database. The head of the SQL lists the grants that producers and workers need.

Where a table has to be locked it waits for open transactions a moment at a time, so that producers go on, and says on stderr for whom. After some 25 s it gives up, has changed nothing, and names who was in the way. It can be interrupted at any time: it is one transaction.

Exit codes: 0 installed, 1 error, 2 usage error, 130 interrupted.`
}

// A migration is what --json prints.
type migration struct {
	Database string    `json:"database"`
	Version  int       `json:"schema_version,omitempty"`
	Plan     *[]string `json:"plan,omitempty"` // of --dry-run
}

func (c *migrateCommand) Run(ctx context.Context, std streams) error {
	if c.SQL {
		_, err := io.WriteString(std.out, pgbarrier.SQL)
		return err
	}
	pool, err := c.connect(ctx, func(config *pgxpool.Config) {
		config.ConnConfig.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
			if strings.HasPrefix(n.Message, "pgbarrier: ") {
				fmt.Fprintln(std.err, n.Message)
			}
		}
	})
	if err != nil {
		return err
	}
	defer pool.Close()
	result := migration{Database: pool.Config().ConnConfig.Database}
	if c.DryRun {
		plan, err := pgbarrier.Plan(ctx, pool)
		if err != nil {
			return err
		}
		if c.JSON {
			plan = append([]string{}, plan...) // [] and not null
			result.Plan = &plan
			return writeJSON(std.out, result)
		}
		if len(plan) == 0 {
			plan = []string{"nothing is to be done"}
		}
		_, err = fmt.Fprintln(std.out, strings.Join(plan, "\n"))
		return err
	}
	if !c.Check {
		if err := pgbarrier.Migrate(ctx, pool); err != nil {
			return err
		}
	}
	if err := pgbarrier.CheckSchema(ctx, pool); err != nil {
		return err
	}
	if err := pool.QueryRow(ctx, "SELECT pgbarrier.version()").Scan(&result.Version); err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(std.out, result)
	}
	_, err = fmt.Fprintf(std.out, "schema pgbarrier, version %d, is installed in database %s\n", result.Version, result.Database)
	return err
}
