package main

import (
	"context"
	"fmt"

	"github.com/pgbarrier/pgbarrier"
)

type explainCommand struct {
	database
	Token string `arg:"" help:"A token, or what should be one."`
	JSON  bool   `name:"json" help:"Print the result as JSON."`
}

func (c *explainCommand) Help() string {
	return `Says why a token has its outcome: what proves it and, while it is pending, which session or prepared transaction keeps it open, for how long, with which statement, and who blocks that; then what to do next. It shows of other roles' sessions what the role may see, which is more with pg_read_all_stats, and says what it could not see. The role needs EXECUTE on pgbarrier.explain(text) and pgbarrier.proof(text).

` + exitCodes
}

func (c *explainCommand) Run(ctx context.Context, std streams) error {
	pool, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	e, err := pgbarrier.Explain(ctx, pool, c.Token)
	if err != nil {
		return err
	}
	if c.JSON {
		err = writeJSON(std.out, struct {
			Outcome string             `json:"outcome"`
			Token   string             `json:"token"`
			Reasons []pgbarrier.Reason `json:"reasons"`
		}{e.Status.String(), c.Token, e.Reasons})
	} else {
		_, err = fmt.Fprint(std.out, e)
	}
	if err != nil {
		return err
	}
	return exit(codeOfStatus(e.Status))
}
