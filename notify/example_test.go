package notify_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/notify"
)

type message struct {
	Order   int64           `json:"order"`
	Barrier pgbarrier.Token `json:"barrier"`
}

// The examples that run, against a real server, are in integration_test/example_test.go.

func ExampleCreate() {
	ctx := context.Background()
	var pool *pgxpool.Pool // from pgxpool.New
	var publish func([]byte) error

	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO orders (id) VALUES (7)"); err != nil {
			return err
		}
		barrier, err := notify.Create(ctx, tx)
		if err != nil {
			return err
		}
		body, err := json.Marshal(message{Order: 7, Barrier: barrier})
		if err != nil {
			return err
		}
		return publish(body) // before COMMIT; if it fails, the transaction rolls back
	})
	fmt.Println(err)
}

// With gorm it is notify.CreateSQL(ctx, tx.Statement.ConnPool.(notify.SQLTx)), PrepareStmt or not.
func ExampleCreateSQL() {
	ctx := context.Background()
	var tx *sql.Tx // or sqlx's, or bun's

	barrier, err := notify.CreateSQL(ctx, tx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("barrier", barrier)
}

// Whatever runs a statement and scans its answer will do, if it does so in a transaction.
func ExampleSQL() {
	type dbtx interface { // as sqlc generates it
		QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	}
	ctx := context.Background()
	var db dbtx // a transaction

	var barrier pgbarrier.Token
	if err := db.QueryRow(ctx, notify.SQL()).Scan(&barrier); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("barrier", barrier)
}

// Where something else on the server notifies all the time, COMMIT need not take its turn with that.
func ExampleWithoutAnnouncement() {
	ctx := context.Background()
	var tx pgx.Tx

	barrier, err := notify.Create(ctx, tx, notify.WithoutAnnouncement())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("barrier", barrier)
}

func ExampleQueue() {
	ctx := context.Background()
	var pool *pgxpool.Pool // from pgxpool.New
	tx, err := pool.Begin(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}

	var barrier pgbarrier.Token
	batch := &pgx.Batch{}
	batch.Queue("INSERT INTO orders (id) VALUES (7)")
	notify.Queue(batch, &barrier)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil { // one round trip for both
		fmt.Println(err)
		return
	}
	fmt.Println("barrier", barrier)
}
