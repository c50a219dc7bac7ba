package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/cmd/pgbarrier/internal/statusline"
)

type purgeCommand struct {
	database
	Retention retention `required:"" placeholder:"7d" help:"Delete barriers that were created longer ago: days and Go durations, such as 7d, 36h, 1d12h."`
	JSON      bool      `name:"json" help:"Print the result as JSON."`
}

func (c *purgeCommand) Help() string {
	return `A token whose barrier was purged is expired, so the retention must outlast the slowest redelivery of a message and the longest transaction. One session purges at a time: while another does, this one leaves it to that. It can be interrupted at any time: each batch of 10000 is a transaction of its own, and the next purge goes on with the rest. On a terminal it shows how far it is.

Exit codes: 0 purged, also if there was nothing to purge, 1 error, 2 usage error, 130 interrupted.`
}

func (c *purgeCommand) Run(ctx context.Context, std streams) error {
	pool, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	line := statusline.New(std.err)
	var total int64
	for batch, batchErr := range pgbarrier.PurgeBatches(ctx, pool, c.Retention.Duration) {
		if err = batchErr; err != nil {
			break
		}
		total += batch.Purged
		line.Say(statusline.English.Sprintf("purged %d barriers, those created until %s", total, batch.Through.UTC().Format("2006-01-02 15:04:05Z07:00")))
	}
	line.End()
	switch {
	case errors.Is(err, context.Canceled):
		fmt.Fprintf(std.err, "pgbarrier: interrupted: %d barriers were purged, purge again for the rest\n", total)
		return exitCode(exitError)
	case err != nil && total > 0:
		return fmt.Errorf("%w (%d barriers had been purged before)", err, total)
	case err != nil:
		return err
	}
	if c.JSON {
		return writeJSON(std.out, struct {
			Purged int64 `json:"purged"`
		}{total})
	}
	_, err = fmt.Fprintf(std.out, "purged %d barriers older than %v\n", total, c.Retention)
	return err
}
