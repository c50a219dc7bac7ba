package pgbarrier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// checkBatch bounds one statement: 10,000 tokens are about 700 kB.
const checkBatch = 10_000

// Judgement is the answer of one check.
type Judgement struct {
	Origin   uint32   // of the database that was asked
	Snapshot Snapshot // that the statuses were judged by
	Statuses []Status // one for each token, in their order
}

// Check tells what became of the tokens' transactions, in their order. Any number of tokens may be
// asked at once, also none; the same may come twice.
//
// db must lead to the primary: a standby is [ErrStandby]. Inside the transaction that created the
// barrier it is Pending. Inside another transaction with one snapshot (REPEATABLE READ,
// SERIALIZABLE) statuses are those of that snapshot and do not move on. In SERIALIZABLE a check is a
// reader like others, and can make a producer's COMMIT fail (40001, serialization_failure), also as the
// session's default: ask in READ COMMITTED.
// The role needs EXECUTE on pgbarrier.check(text[]).
func Check(ctx context.Context, db DB, tokens ...Token) ([]Status, error) {
	statuses := make([]Status, 0, len(tokens))
	for {
		n := min(len(tokens), checkBatch)
		judgement, err := Judge(ctx, db, tokens[:n]...)
		if err != nil {
			return nil, err
		}
		statuses = append(statuses, judgement.Statuses...)
		if tokens = tokens[n:]; len(tokens) == 0 {
			return statuses, nil
		}
	}
}

// judge is a function that asks the server about tokens in one statement.
type judge func(ctx context.Context, db DB, tokens ...Token) (Judgement, error)

// Judge is Check as exactly one statement with one snapshot, and tells that snapshot too. Without
// tokens it costs the server the same however many transactions run. It serves package listener.
func Judge(ctx context.Context, db DB, tokens ...Token) (Judgement, error) {
	return ask(ctx, db, "check", "SELECT version, origin, snapshot, outcomes FROM pgbarrier.check($1)", tokens, nil)
}

// Watch is Judge for tokens that a check has found pending, and for xids of other pending transactions. It
// answers as soon as one of the transactions has ended, or else after patience; meanwhile the server looks
// every pause. Both are whole milliseconds at least. It serves package listener.
// The role needs EXECUTE on pgbarrier.watch(text[], xid8[], integer, integer).
func Watch(ctx context.Context, db DB, tokens []Token, xids []uint64, patience, pause time.Duration) (Judgement, error) {
	all := make([]string, 0, len(tokens)+len(xids))
	for _, t := range tokens {
		all = append(all, strconv.FormatUint(t.XID, 10))
	}
	for _, xid := range xids {
		all = append(all, strconv.FormatUint(xid, 10))
	}
	return ask(ctx, db, "watch", "SELECT version, origin, snapshot, outcomes FROM pgbarrier.watch($1, $2::pg_catalog.text[]::pg_catalog.xid8[], $3, $4)", tokens,
		[]any{all, max(1, patience.Milliseconds()), max(1, pause.Milliseconds())})
}

// ask runs a query, whose first argument are the tokens and the others args. It returns what
// pgbarrier.check does, and what is scanned into more.
func ask(ctx context.Context, db DB, doing, query string, tokens []Token, args []any, more ...any) (Judgement, error) {
	if err := requireDB(db); err != nil {
		return Judgement{}, err
	}
	texts := make([]string, len(tokens))
	for i, t := range tokens {
		if err := t.Valid(); err != nil {
			return Judgement{}, fmt.Errorf("pgbarrier: %s: %w", doing, err)
		}
		texts[i] = t.String()
	}
	var version int
	var origin, snapshot, outcomes string
	err := db.QueryRow(ctx, query, append([]any{texts}, args...)...).Scan(append([]any{&version, &origin, &snapshot, &outcomes}, more...)...)
	if err != nil {
		var pgErr *pgconn.PgError
		if errors.As(err, &pgErr) && pgErr.Code == "25006" { // read_only_sql_transaction: raised by pgbarrier.check
			return Judgement{}, fmt.Errorf("pgbarrier: %s: %w (%w)", doing, ErrStandby, err)
		}
		return Judgement{}, Explain(doing, err)
	}
	if err := requireVersion(version); err != nil {
		return Judgement{}, err
	}
	judgement, err := decodeJudgement(origin, snapshot, outcomes, len(tokens))
	if err != nil {
		return Judgement{}, fmt.Errorf("pgbarrier: %s: %w", doing, err)
	}
	return judgement, nil
}

func decodeJudgement(origin, snapshot, outcomes string, tokens int) (Judgement, error) {
	var j Judgement
	here, err := strconv.ParseUint(origin, 16, 32)
	if err != nil || len(origin) != 8 {
		return j, fmt.Errorf("%w: this database has no origin", ErrNotMigrated)
	}
	j.Origin = uint32(here)
	if j.Snapshot, err = ParseSnapshot(snapshot); err != nil {
		return j, err
	}
	if len(outcomes) != tokens {
		return j, fmt.Errorf("asked about %d tokens, the server answered about %d", tokens, len(outcomes))
	}
	j.Statuses = make([]Status, tokens)
	for i := range j.Statuses {
		if j.Statuses[i], err = parseStatus(outcomes[i]); err != nil {
			return j, err
		}
	}
	return j, nil
}

// Poller waits without a listener, by checks at growing delays. The zero Poller is ready to use. It
// suits a process that waits now and then; one that waits all the time needs fewer queries, and
// hears of commits at once, with package listener.
type Poller struct {
	// MinDelay is the pause after the first check; it doubles with every further one. 1 ms by default.
	MinDelay time.Duration
	// MaxDelay is the longest pause. 1 s by default.
	MaxDelay time.Duration
}

// Poll waits with the default delays, see [Poller.Wait].
func Poll(ctx context.Context, db DB, tokens ...Token) error {
	return Poller{}.Wait(ctx, db, tokens...)
}

// Wait returns nil once all tokens are committed, and as soon as one of them is known not to be, a
// [TokenError] that says so: ErrAborted, ErrExpired, ErrWrongDatabase or ErrInvalidToken.
//
// While the server cannot be reached Wait goes on; when ctx ends during that, the error is ctx.Err()
// and tells what the last check met. Other errors of a check (a standby, no schema, no grant, a
// closed pool) are returned at once: the wait has no outcome then.
//
// db should be a pool: a single connection that breaks stays broken, and in the producer's own
// transaction the wait cannot end.
func (p Poller) Wait(ctx context.Context, db DB, tokens ...Token) error {
	return p.wait(ctx, db, Judge, tokens)
}

func (p Poller) wait(ctx context.Context, db DB, ask judge, tokens []Token) error {
	if p.MinDelay < 0 || p.MaxDelay < 0 {
		return fmt.Errorf("pgbarrier: poll: delays are %v and %v, they cannot be negative", p.MinDelay, p.MaxDelay)
	}
	if len(tokens) == 0 {
		return fmt.Errorf("pgbarrier: poll: %w: there is none to wait for", ErrInvalidToken)
	}
	delay := p.MinDelay
	if delay == 0 {
		delay = time.Millisecond
	}
	maxDelay := p.MaxDelay
	if maxDelay == 0 {
		maxDelay = max(delay, time.Second)
	}
	pause := time.NewTimer(0)
	defer pause.Stop()
	<-pause.C
	var outage error
	pending := tokens
	for {
		asked := len(pending)
		// One statement, however many there are: by several, with a crash between, commits could count that
		// were never there at once.
		judgement, err := ask(ctx, db, pending...)
		switch {
		case ctx.Err() != nil:
			return ctxError(ctx, outage)
		case err == nil:
			outage = nil
			pending, err = stillPending(pending, judgement.Statuses)
			switch {
			case err != nil:
				return err
			case len(pending) == 0 && asked == len(tokens):
				return nil
			case len(pending) == 0:
				// The others were found by earlier checks, and a crash since then may have undone a commit
				// that was visible and not yet durable.
				pending = tokens
				continue
			}
		case !IsOutage(err) || isBroken(db):
			return err
		default:
			outage = err
		}
		pause.Reset(min(delay, maxDelay))
		select {
		case <-ctx.Done():
			return ctxError(ctx, outage)
		case <-pause.C:
		}
		delay = min(2*delay, maxDelay)
	}
}

func ctxError(ctx context.Context, outage error) error {
	if outage == nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w, and the last check failed: %w", ctx.Err(), outage)
}

func stillPending(tokens []Token, statuses []Status) ([]Token, error) {
	var pending []Token
	for i, status := range statuses {
		if err := status.Err(tokens[i]); err != nil {
			return nil, err
		}
		if status == Pending {
			pending = append(pending, tokens[i])
		}
	}
	return pending, nil
}

// IsOutage tells whether err is that of a server that cannot be reached or is not up to answering
// now: when it is back, the same question may be answered.
func IsOutage(err error) bool {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		// 08 connection exception, 53 insufficient resources, 57 operator intervention (shutdown,
		// crash, starting up, statement canceled), 40 transaction rollback, and two timeouts: of a lock
		// (lock_not_available) and of a transaction.
		for _, begin := range []string{"08", "53", "57", "40", "55P03", "25P04"} {
			if strings.HasPrefix(pgErr.Code, begin) {
				return true
			}
		}
		return false
	}
	var connectErr *pgconn.ConnectError
	var netErr net.Error
	return errors.As(err, &connectErr) || errors.As(err, &netErr) || pgconn.SafeToRetry(err) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}

// isBroken tells whether db is one connection that will not answer again: it is closed, or its
// transaction has failed.
func isBroken(db DB) bool {
	conn := oneConn(db)
	return conn != nil && (conn.IsClosed() || conn.PgConn().TxStatus() == 'E')
}

// inTransaction tells whether the next statement will belong to the same transaction.
func inTransaction(db DB) bool {
	if conn := oneConn(db); conn != nil {
		return conn.PgConn().TxStatus() != 'I'
	}
	_, pool := db.(interface {
		BeginTx(context.Context, pgx.TxOptions) (pgx.Tx, error)
	})
	return !pool
}

// oneConn returns the connection that db always uses, or nil.
func oneConn(db DB) *pgx.Conn {
	if of, wrapped := db.(interface{ Conn() *pgx.Conn }); wrapped { // pgx.Tx, *pgxpool.Conn
		return of.Conn()
	}
	conn, _ := db.(*pgx.Conn)
	return conn
}
