package main

import (
	"context"
	"fmt"
	"io"

	"github.com/pgbarrier/pgbarrier"
)

type migrateCommand struct {
	database
	Print bool `help:"Print the SQL instead of running it, for a migration tool or psql -v ON_ERROR_STOP=1."`
	JSON  bool `name:"json" help:"Print the result as JSON."`
}

func (c *migrateCommand) Help() string {
	return `It is idempotent: run it at every deployment, from any number of hosts at once. The role must own schema pgbarrier or, the first time, have CREATE on the database. The head of the SQL lists the grants that producers and workers need.

Exit codes: 0 installed, 1 error, 2 usage error.`
}

func (c *migrateCommand) Run(ctx context.Context, std streams) error {
	if c.Print {
		_, err := io.WriteString(std.out, pgbarrier.SQL)
		return err
	}
	pool, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := pgbarrier.Migrate(ctx, pool); err != nil {
		return err
	}
	if err := pgbarrier.CheckSchema(ctx, pool); err != nil {
		return err
	}
	result := struct {
		Database string `json:"database"`
		Version  int    `json:"schema_version"`
	}{}
	err = pool.QueryRow(ctx, "SELECT current_database(), pgbarrier.version()").Scan(&result.Database, &result.Version)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(std.out, result)
	}
	_, err = fmt.Fprintf(std.out, "schema pgbarrier, version %d, is installed in database %s\n", result.Version, result.Database)
	return err
}
