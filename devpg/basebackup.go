package devpg

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// baseBackup hands a tar archive of the server's data directory, with the WAL
// it needs, to the function, part by part. This is what pg_basebackup does;
// the messages are described under "Streaming Replication Protocol" in the
// PostgreSQL manual.
func baseBackup(ctx context.Context, url string, major int, to func(part []byte) error) error {
	c, err := pgconn.ParseConfig(url)
	if err != nil {
		return err
	}
	c.RuntimeParams["replication"] = "true"
	conn, err := pgconn.ConnectConfig(ctx, c)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	// From here on the connection is read by hand; this makes a cancelled ctx
	// end a read.
	stop := context.AfterFunc(ctx, func() { conn.Conn().Close() })
	defer stop()

	command := "BASE_BACKUP (LABEL 'devpg', CHECKPOINT 'fast', WAL, WAIT false)"
	if major < 15 {
		command = "BASE_BACKUP LABEL 'devpg' FAST WAL NOWAIT"
	}
	frontend := conn.Frontend()
	frontend.SendQuery(&pgproto3.Query{String: command})
	if err := frontend.Flush(); err != nil {
		return backupError(ctx, err)
	}
	archives := 0
	begins := func() error {
		if archives++; archives > 1 {
			return errors.New("tablespaces are not supported")
		}
		return nil
	}
	for {
		m, err := frontend.Receive()
		if err != nil {
			return backupError(ctx, err)
		}
		switch m := m.(type) {
		case *pgproto3.CopyOutResponse:
			if major < 15 { // one COPY for each tablespace, of bare tar
				err = begins()
			}
		case *pgproto3.CopyData:
			switch {
			case major < 15:
				err = to(m.Data)
			case len(m.Data) == 0:
				err = errors.New("an empty CopyData message")
			case m.Data[0] == 'n': // one COPY for all, of messages: a new archive begins
				err = begins()
			case m.Data[0] == 'd':
				err = to(m.Data[1:])
			}
		case *pgproto3.ErrorResponse:
			err = pgconn.ErrorResponseToPgError(m)
		case *pgproto3.ReadyForQuery:
			return nil
		}
		if err != nil {
			return backupError(ctx, err)
		}
	}
}

func backupError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("BASE_BACKUP: %w", err)
}
