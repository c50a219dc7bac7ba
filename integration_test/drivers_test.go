package integration_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/jmoiron/sqlx"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/notify"
)

// Behind a pooler an application may have to choose any of these.
func TestEveryQueryExecModeOfPgxWorks(t *testing.T) {
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
		pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			pool := open(t, emptyDatabase(t).Config().ConnString(), func(c *pgxpool.Config) {
				c.ConnConfig.DefaultQueryExecMode = mode
			})
			migrate(t, pool)
			for range 3 { // also with a warm cache
				if err := pgbarrier.CheckSchema(t.Context(), pool); err != nil {
					t.Fatal(err)
				}
				good, bad := committed(t, pool), aborted(t, pool)
				tx := begin(t, pool)
				pending := createUnannounced(t, tx)
				var batch pgx.Batch
				var queued pgbarrier.Token
				notify.Queue(&batch, &queued)
				if err := tx.SendBatch(t.Context(), &batch).Close(); err != nil {
					t.Fatal(err)
				}
				want(t, pool, pgbarrier.Committed, good)
				want(t, pool, pgbarrier.Aborted, bad)
				want(t, pool, pgbarrier.Pending, pending, queued)
				commit(t, tx)
				want(t, pool, pgbarrier.Committed, pending, queued)
				if n, err := pgbarrier.Purge(t.Context(), pool, time.Hour); err != nil || n != 0 {
					t.Errorf("purged %d, %v", n, err)
				}
				if err := pgbarrier.Poll(t.Context(), pool, good, pending); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestATokenIsAnArgumentAndAResultOfAQuery(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	token := committed(t, pool)
	execute(t, pool, "CREATE TABLE messages (barrier text)")
	execute(t, pool, "INSERT INTO messages VALUES ($1), (NULL)", token)
	if got := query[pgbarrier.Token](t, pool, "SELECT barrier FROM messages WHERE barrier IS NOT NULL"); got != token {
		t.Errorf("got %v, want %v", got, token)
	}
	if got := query[sql.Null[pgbarrier.Token]](t, pool, "SELECT barrier FROM messages WHERE barrier IS NULL"); got.Valid {
		t.Errorf("got %v, want null", got)
	}
	var got pgbarrier.Token
	if err := pool.QueryRow(t.Context(), "SELECT barrier FROM messages WHERE barrier IS NULL").Scan(&got); err == nil || !got.IsZero() {
		t.Errorf("null became %v, %v", got, err)
	}
	if _, err := pool.Exec(t.Context(), "INSERT INTO messages VALUES ($1)", pgbarrier.Token{}); err == nil {
		t.Error("the zero token was stored")
	}
}

// ormTx is how object-relational mappers hand out a transaction.
type ormTx struct{ *sql.Tx }

func TestCreateSQLWorksInWhateverIsADatabaseSQLTransaction(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	db := openSQL(t, pool)
	dbx := sqlx.NewDb(db, "pgx")
	type transaction interface {
		notify.SQLTx
		Rollback() error
	}
	for name, start := range map[string]func() (transaction, error){
		"sql.Tx":         func() (transaction, error) { return db.BeginTx(t.Context(), nil) },
		"an embedded Tx": func() (transaction, error) { tx, err := db.BeginTx(t.Context(), nil); return ormTx{tx}, err },
		"sqlx.Tx":        func() (transaction, error) { return dbx.BeginTxx(t.Context(), nil) },
	} {
		tokens := map[bool]pgbarrier.Token{}
		for _, commits := range []bool{true, false} {
			tx, err := start()
			if err != nil {
				t.Fatal(err)
			}
			token, err := notify.CreateSQL(t.Context(), tx)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			want(t, pool, pgbarrier.Pending, token)
			if commits {
				err = tx.Commit()
			} else {
				err = tx.Rollback()
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			tokens[commits] = token
			if token, err := notify.CreateSQL(t.Context(), tx); err == nil || !token.IsZero() {
				t.Errorf("%s: a finished transaction made %v, %v", name, token, err)
			} else {
				wantErr(t, name, err, sql.ErrTxDone)
			}
		}
		want(t, pool, pgbarrier.Committed, tokens[true])
		want(t, pool, pgbarrier.Aborted, tokens[false])
	}
}

func TestAFinishedTransactionMakesNoBarrier(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	tx := begin(t, pool)
	commit(t, tx)
	token, err := notify.Create(t.Context(), tx)
	wantErr(t, "Create", err, pgx.ErrTxClosed)
	if !token.IsZero() {
		t.Errorf("it made %v", token)
	}
}

func TestABarrierInABatchCostsNoRoundTripOfItsOwn(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	conn, trace := connectCounting(t, pool)
	execute(t, conn, "CREATE TABLE orders (id integer)")
	tx := begin(t, conn)
	trips := func(barrier bool) (int, pgbarrier.Token) {
		var batch pgx.Batch
		var token pgbarrier.Token
		batch.Queue("INSERT INTO orders VALUES (1)")
		if barrier {
			notify.Queue(&batch, &token)
		}
		batch.Queue("INSERT INTO orders VALUES (2)")
		before := trace.flushes.Load()
		if err := tx.SendBatch(t.Context(), &batch).Close(); err != nil {
			t.Fatal(err)
		}
		return int(trace.flushes.Load() - before), token
	}
	trips(true) // statements are described the first time
	without, _ := trips(false)
	with, token := trips(true)
	if with != without || without == 0 {
		t.Errorf("a batch goes out in %d writes, with a barrier in %d", without, with)
	}
	want(t, pool, pgbarrier.Pending, token)
	commit(t, tx)
	want(t, pool, pgbarrier.Committed, token)
}

func TestAFailedBatchLeavesTheTokenZero(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	for name, fill := range map[string]func(*pgx.Batch, *pgbarrier.Token){
		"before": func(b *pgx.Batch, token *pgbarrier.Token) { b.Queue("SELECT 1/0"); notify.Queue(b, token) },
		"unread": func(b *pgx.Batch, token *pgbarrier.Token) {
			b.Queue("SELECT 1/0").Exec(func(pgconnTag) error { return nil })
			notify.Queue(b, token)
		},
		"syntax": func(b *pgx.Batch, token *pgbarrier.Token) { notify.Queue(b, token); b.Queue("SELEKT") },
	} {
		tx := begin(t, pool)
		var batch pgx.Batch
		var token pgbarrier.Token
		fill(&batch, &token)
		if err := tx.SendBatch(t.Context(), &batch).Close(); err == nil {
			t.Errorf("%s: the batch went well", name)
		}
		if !token.IsZero() {
			t.Errorf("%s: the token is %v", name, token)
		}
		rollback(t, tx)
	}
	// What fails after the barrier was made and read makes an aborted one.
	tx := begin(t, pool)
	var batch pgx.Batch
	var token pgbarrier.Token
	notify.Queue(&batch, &token)
	batch.Queue("SELECT 1/0")
	if err := tx.SendBatch(t.Context(), &batch).Close(); err == nil {
		t.Error("the batch went well")
	}
	rollback(t, tx)
	if !token.IsZero() {
		want(t, pool, pgbarrier.Aborted, token)
	}
}

func TestTheStandardLibrarysPoolOfPgxIsNoProblem(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	db := stdlib.OpenDBFromPool(pool)
	defer db.Close()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := notify.CreateSQL(t.Context(), tx, notify.WithoutAnnouncement())
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	want(t, pool, pgbarrier.Committed, token)
}
