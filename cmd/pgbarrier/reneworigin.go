package main

import (
	"context"
	"fmt"

	"github.com/pgbarrier/pgbarrier"
)

type renewOriginCommand struct {
	database
	JSON bool `name:"json" help:"Print the result as JSON."`
}

func (c *renewOriginCommand) Help() string {
	return `Run it once on a physical copy that lives on beside its original: a storage snapshot, a branch, a base backup that was started by itself. Its tokens and the original's can then be told from each other. Tokens of before are of a wrong database afterwards. The role must own schema pgbarrier. A restored dump does not need it.

Exit codes: 0 renewed, 1 error, 2 usage error.`
}

func (c *renewOriginCommand) Run(ctx context.Context, std streams) error {
	pool, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	origin, err := pgbarrier.RenewOrigin(ctx, pool)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%08x", origin)
	if c.JSON {
		return writeJSON(std.out, struct {
			Origin string `json:"origin"`
		}{text})
	}
	_, err = fmt.Fprintf(std.out, "the database's origin is %s now: tokens of before are of a wrong database\n", text)
	return err
}
