package notify_test

import (
	"context"
	"database/sql"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/notify"
)

// embedsTx is what sqlx and bun look like from here.
type embedsTx struct{ *sql.Tx }

// On a pool or a connection the barrier would commit at once, before the changes it speaks of.
func TestOnlyATransactionCompiles(t *testing.T) {
	pgxTx, sqlTx := reflect.TypeFor[notify.Tx](), reflect.TypeFor[notify.SQLTx]()
	for _, test := range []struct {
		what         reflect.Type
		inPgx, inSQL bool
	}{
		{reflect.TypeFor[pgx.Tx](), true, false},
		{reflect.TypeFor[*pgxpool.Tx](), true, false},
		{reflect.TypeFor[*sql.Tx](), false, true},
		{reflect.TypeFor[embedsTx](), false, true},
		{reflect.TypeFor[*embedsTx](), false, true},
		{reflect.TypeFor[*pgxpool.Pool](), false, false},
		{reflect.TypeFor[*pgxpool.Conn](), false, false},
		{reflect.TypeFor[*pgx.Conn](), false, false},
		{reflect.TypeFor[*sql.DB](), false, false},
		{reflect.TypeFor[*sql.Conn](), false, false},
	} {
		if test.what.Implements(pgxTx) != test.inPgx {
			t.Errorf("%v can be a notify.Tx: %v", test.what, !test.inPgx)
		}
		if test.what.Implements(sqlTx) != test.inSQL {
			t.Errorf("%v can be a notify.SQLTx: %v", test.what, !test.inSQL)
		}
	}
}

func TestANilTransactionIsAnErrorNotAPanic(t *testing.T) {
	for _, tx := range []notify.Tx{nil, (*pgxpool.Tx)(nil)} {
		if token, err := notify.Create(t.Context(), tx); err == nil || !strings.Contains(err.Error(), "the transaction is nil") || !token.IsZero() {
			t.Errorf("%T: %v, %v", tx, token, err)
		}
	}
	for _, tx := range []notify.SQLTx{nil, (*sql.Tx)(nil), (*embedsTx)(nil)} {
		if token, err := notify.CreateSQL(t.Context(), tx); err == nil || !strings.Contains(err.Error(), "the transaction is nil") || !token.IsZero() {
			t.Errorf("%T: %v, %v", tx, token, err)
		}
	}
}

// answer is a transaction whose every query answers with one text, or fails.
type answer struct {
	text any
	err  error
	got  string
}

func (a *answer) Commit(context.Context) error { return nil }
func (a *answer) QueryRow(_ context.Context, sql string, _ ...any) pgx.Row {
	a.got = sql
	return a
}
func (a *answer) Scan(dest ...any) error {
	if a.err != nil {
		return a.err
	}
	return dest[0].(sql.Scanner).Scan(a.text)
}

func TestCreateReturnsTheServersTokenAndNoOther(t *testing.T) {
	const token = "pgb1.01976a2b-3c4d-7e5f-8a6b-7c8d9e0f1a2b.12345.0a1b2c3d"
	tx := &answer{text: token}
	if got, err := notify.Create(t.Context(), tx); err != nil || got.String() != token {
		t.Errorf("created %v, %v", got, err)
	}
	if tx.got != "SELECT pgbarrier.create()" {
		t.Errorf("asked %q", tx.got)
	}
	if _, err := notify.Create(t.Context(), tx, notify.WithoutAnnouncement()); err != nil || tx.got != "SELECT pgbarrier.create(announce => false)" {
		t.Errorf("asked %q, %v", tx.got, err)
	}
	if got := notify.SQL(); got != "SELECT pgbarrier.create()" {
		t.Errorf("the statement is %q", got)
	}
	if got := notify.SQL(notify.WithoutAnnouncement()); got != tx.got {
		t.Errorf("the statement is %q", got)
	}
	for _, bad := range []any{nil, "", "pgb1.", token + "0", 17} {
		if got, err := notify.Create(t.Context(), &answer{text: bad}); !errors.Is(err, pgbarrier.ErrInvalidToken) || !got.IsZero() {
			t.Errorf("%v: created %v, %v", bad, got, err)
		}
	}
	if got, err := notify.Create(t.Context(), &answer{err: pgx.ErrTxClosed}); !errors.Is(err, pgx.ErrTxClosed) || !got.IsZero() {
		t.Errorf("created %v, %v", got, err)
	}
}

// gorm's QueryRowContext with PrepareStmt hands back an empty row where the statement could not be prepared.
// To scan that panics, as does a row that is nil.
type givesRow struct{ row *sql.Row }

func (g givesRow) Commit() error { return nil }
func (g givesRow) QueryRowContext(context.Context, string, ...any) *sql.Row {
	return g.row
}

type givesNoRows struct{ givesRow }

func (givesNoRows) QueryContext(context.Context, string, ...any) (*sql.Rows, error) { return nil, nil }

type givesPgxRow struct{ row pgx.Row }

func (g givesPgxRow) Commit(context.Context) error { return nil }
func (g givesPgxRow) QueryRow(context.Context, string, ...any) pgx.Row {
	return g.row
}

func TestATransactionThatReturnsNoRowIsAnErrorNotAPanic(t *testing.T) {
	for name, create := range map[string]func() (pgbarrier.Token, error){
		"an empty sql.Row": func() (pgbarrier.Token, error) { return notify.CreateSQL(t.Context(), givesRow{&sql.Row{}}) },
		"a nil sql.Row":    func() (pgbarrier.Token, error) { return notify.CreateSQL(t.Context(), givesRow{nil}) },
		"nil sql.Rows":     func() (pgbarrier.Token, error) { return notify.CreateSQL(t.Context(), givesNoRows{}) },
		"a nil pgx.Row":    func() (pgbarrier.Token, error) { return notify.Create(t.Context(), givesPgxRow{nil}) },
		"a nil pointer":    func() (pgbarrier.Token, error) { return notify.Create(t.Context(), givesPgxRow{(*answer)(nil)}) },
	} {
		if token, err := create(); err == nil || !strings.Contains(err.Error(), "neither a row nor an error") || !token.IsZero() {
			t.Errorf("%s: %v, %v", name, token, err)
		}
	}
}

// failsToPrepare is a transaction of gorm with PrepareStmt.
type failsToPrepare struct {
	givesRow
	err error
}

func (f failsToPrepare) QueryContext(context.Context, string, ...any) (*sql.Rows, error) {
	return nil, f.err
}

func TestWhyAStatementCouldNotBePreparedIsNotLost(t *testing.T) {
	refused := errors.New("there is no such function")
	tx := failsToPrepare{givesRow{&sql.Row{}}, refused}
	if _, err := notify.CreateSQL(t.Context(), tx); !errors.Is(err, refused) {
		t.Errorf("the error is %v", err)
	}
}
