package wire

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strconv"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// SchemaVersion is what this library works with. It rises when a function changes its meaning, not
// when one is added.
const SchemaVersion = 2

// DB is what a statement is sent with.
type DB interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// A Key is a token: a pgbarrier.Token converts to it.
type Key struct {
	ID     uuid.UUID
	XID    uint64
	Origin uint32
}

// Answer is what one statement has found, by one snapshot.
type Answer struct {
	Origin   uint32   // of the database that was asked
	Snapshot Snapshot // that the outcomes were judged by
	Outcomes []Outcome
}

// Outcome is a pgbarrier.Status, with the same numbers.
type Outcome uint8

const (
	Pending Outcome = iota
	Committed
	Aborted
	Expired
	WrongDatabase
	Invalid
)

// letters are those that pgbarrier.check returns, see sql/triggers.sql. What is of another database is told
// by its origin.
var letters = [256]Outcome{'P': Pending, 'C': Committed, 'A': Aborted, 'E': Expired, 'I': Invalid}

// Check asks about tokens in one statement, and answers in their order. Without tokens it costs the server
// the same however many transactions run. A server that is a standby is ErrStandby.
func Check[T ~struct {
	ID     uuid.UUID
	XID    uint64
	Origin uint32
}](ctx context.Context, db DB, tokens []T) (Answer, error) {
	return ask(ctx, db, "check", "SELECT version, origin, snapshot, outcomes FROM pgbarrier.check("+arguments+")", tokens)
}

// Visible is Check for what can be read on a standby. oneSnapshot: the transaction that asks has one for all its
// statements.
func Visible[T ~struct {
	ID     uuid.UUID
	XID    uint64
	Origin uint32
}](ctx context.Context, db DB, tokens []T) (answer Answer, oneSnapshot bool, err error) {
	answer, err = ask(ctx, db, "look at the replica",
		"SELECT version, origin, snapshot, outcomes, one_snapshot FROM pgbarrier.visible("+arguments+")", tokens, &oneSnapshot)
	return answer, oneSnapshot, err
}

const arguments = "$1::pg_catalog.uuid[], $2::pg_catalog.xid8[]"

func ask[T ~struct {
	ID     uuid.UUID
	XID    uint64
	Origin uint32
}](ctx context.Context, db DB, doing, query string, tokens []T, more ...any) (Answer, error) {
	ids, xids := make(array[pgtype.UUID], len(tokens)), make(array[pgtype.Uint64], len(tokens))
	for i := range tokens {
		key := Key(tokens[i])
		ids[i] = pgtype.UUID{Bytes: key.ID, Valid: true}
		xids[i] = pgtype.Uint64{Uint64: key.XID, Valid: true}
	}

	var version int
	var origin, snapshot, outcomes string
	put := func(db DB, query string) error {
		return db.QueryRow(ctx, query, ids, xids).Scan(append([]any{&version, &origin, &snapshot, &outcomes}, more...)...)
	}
	var err error
	if InTransaction(db) {
		err = put(db, query)
	} else if err = put(db, query+unlessSerializable); needsReadCommitted(err) {
		err = InOneTransaction(ctx, db, ReadCommitted, func(tx DB) error { return put(tx, query) })
	}
	if err != nil {
		if SQLState(err) == ReadOnlySQLTransaction {
			return Answer{}, fmt.Errorf("pgbarrier: %s: %w (%w)", doing, ErrStandby, err)
		}
		return Answer{}, Explain(doing, err)
	}
	if err := RequireVersion(version); err != nil {
		return Answer{}, err
	}
	answer, err := decode(origin, snapshot, outcomes, len(tokens))
	if err != nil {
		return Answer{}, fmt.Errorf("pgbarrier: %s: %w", doing, err)
	}
	for i := range tokens {
		if Key(tokens[i]).Origin != answer.Origin { // breakage: origin
			answer.Outcomes[i] = WrongDatabase
		}
	}
	return answer, nil
}

// An array goes to the server in binary form, or as text where pgx does not ask the server for the types of
// arguments (the simple protocol, for example).
type array[T driver.Valuer] []T

func (a array[T]) Dimensions() []pgtype.ArrayDimension {
	return pgtype.FlatArray[T](a).Dimensions()
}

func (a array[T]) Index(i int) any { return a[i] }

func (a array[T]) IndexType() any { var element T; return element }

// Value implements [driver.Valuer].
func (a array[T]) Value() (driver.Value, error) {
	text := []byte{'{'}
	for i, element := range a {
		value, err := element.Value()
		if err != nil {
			return nil, err
		}
		if i > 0 {
			text = append(text, ',')
		}
		text = fmt.Append(text, value)
	}
	return string(append(text, '}')), nil
}

// RequireVersion returns nil if the schema's version is this library's.
func RequireVersion(version int) error {
	switch {
	case version > SchemaVersion:
		return fmt.Errorf("pgbarrier: %w: the database has version %d, this library works with version %d: upgrade the library", ErrNotMigrated, version, SchemaVersion)
	case version < SchemaVersion:
		return fmt.Errorf("pgbarrier: %w: the database has version %d, this library works with version %d", ErrNotMigrated, version, SchemaVersion)
	}
	return nil
}

func decode(origin, snapshot, outcomes string, tokens int) (Answer, error) {
	var a Answer
	here, err := strconv.ParseUint(origin, 16, 32)
	if err != nil || len(origin) != 8 {
		return a, fmt.Errorf("%w: this database has no origin", ErrNotMigrated)
	}
	a.Origin = uint32(here)
	if a.Snapshot, err = ParseSnapshot(snapshot); err != nil {
		return a, err
	}
	if len(outcomes) != tokens {
		return a, fmt.Errorf("asked about %d tokens, the server answered about %d", tokens, len(outcomes))
	}
	a.Outcomes = make([]Outcome, tokens)
	for i := range a.Outcomes {
		letter := outcomes[i]
		if a.Outcomes[i] = letters[letter]; a.Outcomes[i] == Pending && letter != 'P' {
			return a, fmt.Errorf("the server answered with an unknown outcome %q", letter)
		}
	}
	return a, nil
}
