package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pgbarrier/pgbarrier/cmd/pgbarrier/internal/doctor"
)

type doctorCommand struct {
	database
	Retention retention     `placeholder:"7d" help:"After how long barriers should be purged, to see whether they are."`
	Timeout   time.Duration `default:"1m" help:"Give up after so long. It takes a second, and some more where something hangs."`
	JSON      bool          `name:"json" help:"Print one JSON object a line."`
}

func (c *doctorCommand) Help() string {
	return `Prints one line a finding: ok, warn or fail, what was found, and what to do. Run it with the connection string and the role of a worker or a producer, and once as a role with pg_monitor and pg_read_all_data, which sees the rest. It changes nothing, and sends one NOTIFY.

Exit codes:

    0    all is well
    1    error: no connection, or not in time
    2    usage error
    8    it works, but late or not for long, or was not all looked at
    9    producers, waits or purges fail`
}

func (c *doctorCommand) Run(ctx context.Context, std streams) error {
	if c.Timeout <= 0 {
		return usageError{fmt.Errorf("--timeout is %v, it must be longer than zero", c.Timeout)}
	}
	config, err := c.config()
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	patient, err := doctor.Open(limited, config.ConnConfig, c.Retention.Duration)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return connectError(c.database, err)
	}
	defer patient.Close()

	worst := exitOK
	for f := range patient.Findings(limited) {
		worst = max(worst, map[doctor.Level]int{doctor.Warn: exitWarned, doctor.Fail: exitFailed}[f.Level])
		if err := writeFinding(std.out, f, c.JSON); err != nil {
			return err
		}
	}
	if ctx.Err() == nil && limited.Err() != nil {
		return errors.New("not all was looked at in time: ask again with a longer --timeout")
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return exit(worst)
}

func writeFinding(w io.Writer, f doctor.Finding, asJSON bool) error {
	if asJSON {
		return writeJSON(w, f)
	}
	line := fmt.Sprintf("%-4s  %-19s  %s", f.Level, f.Name, f.Found)
	if f.Remedy != "" {
		line += "  to do: " + f.Remedy
	}
	_, err := fmt.Fprintln(w, line)
	return err
}
