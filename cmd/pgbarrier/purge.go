package main

import (
	"context"
	"fmt"

	"github.com/pgbarrier/pgbarrier"
)

type purgeCommand struct {
	database
	Retention retention `required:"" placeholder:"7d" help:"Delete barriers that were created longer ago: days and Go durations, such as 7d, 36h, 1d12h."`
	JSON      bool      `name:"json" help:"Print the result as JSON."`
}

func (c *purgeCommand) Help() string {
	return `A token whose barrier was purged is expired, so the retention must outlast the slowest redelivery of a message and the longest transaction. One session purges at a time: while another does, this one leaves it to that.

Exit codes: 0 purged, also if there was nothing to purge, 1 error, 2 usage error.`
}

func (c *purgeCommand) Run(ctx context.Context, std streams) error {
	pool, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	n, err := pgbarrier.Purge(ctx, pool, c.Retention.Duration)
	if err != nil {
		if n > 0 {
			return fmt.Errorf("%w (%d barriers had been purged before)", err, n)
		}
		return err
	}
	if c.JSON {
		return writeJSON(std.out, struct {
			Purged int64 `json:"purged"`
		}{n})
	}
	_, err = fmt.Fprintf(std.out, "purged %d barriers older than %v\n", n, c.Retention)
	return err
}
