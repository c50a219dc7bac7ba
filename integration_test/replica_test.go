package integration_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgbarrier/pgbarrier"
)

func TestAReplicaWaitEndsWhenTheUpdatesCanBeReadThere(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := replicated(t, nil)
	execute(t, r.pool, "CREATE TABLE orders (id integer)")
	r.catchUp(t)
	order := func(id int) pgbarrier.Token {
		tx := begin(t, r.pool)
		execute(t, tx, "INSERT INTO orders VALUES ($1)", id)
		token := create(t, tx)
		commit(t, tx)
		return token
	}
	wantReadable := func(id int) {
		t.Helper()
		if !query[bool](t, r.replica, "SELECT EXISTS (SELECT FROM orders WHERE id = $1)", id) {
			t.Errorf("the wait has ended, and order %d cannot be read", id)
		}
	}

	// Streaming, as fast as it goes.
	for id := range 50 {
		if err := pgbarrier.AwaitReplica(ctx, r.replica, order(id)); err != nil {
			t.Fatal(err)
		}
		wantReadable(id)
	}

	// Replay paused: the primary's wait is over, the replica's is not.
	r.pause(t)
	first, second := order(100), order(101)
	if err := pgbarrier.Poll(ctx, r.pool, first, second); err != nil {
		t.Fatal(err)
	}
	wantVisible(t, r.replica, "PP", first, second)
	done := awaiting(t, ctx, r.replica, first, second)
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := pgbarrier.AwaitReplica(short, r.replica, first); err != context.DeadlineExceeded {
		t.Errorf("the deadline came as %v", err)
	}
	stillWaiting(t, done)
	r.resume(t)
	if err := outcome(t, done); err != nil {
		t.Error(err)
	}
	wantReadable(100)
	wantReadable(101)
}

// The letters of a standby and of the primary, for all that may be asked.
func TestAStandbyJudgesEveryKindOfToken(t *testing.T) {
	t.Parallel()
	r := replicated(t, nil)
	other := open(t, r.primary.DatabaseForTest(t))
	migrate(t, other)
	good, bad, lost, foreign := committed(t, r.pool), aborted(t, r.pool), lostAtSavepoint(t, r.pool), committed(t, other)
	forged, notOurs, future := good, good, good
	forged.XID = bad.XID
	notOurs.Origin++
	future.ID[15]++
	future.XID += 1 << 20 // as of a crash that took it
	prepared := begin(t, r.pool)
	preparedToken := createUnannounced(t, prepared)
	execute(t, prepared, "PREPARE TRANSACTION 'p'")
	younger := aborted(t, r.pool)
	r.catchUp(t)

	tokens := []pgbarrier.Token{good, bad, lost, foreign, forged, notOurs, future, preparedToken, younger, good}
	wantVisible(t, r.pool, "CAAWIWAPAC", tokens...)
	wantVisible(t, r.replica, "CPPWIWPPPC", tokens...)
	for _, want := range []struct {
		token pgbarrier.Token
		err   error
	}{{good, nil}, {foreign, pgbarrier.ErrWrongDatabase}, {forged, pgbarrier.ErrInvalidToken}} {
		waited := []pgbarrier.Token{want.token, want.token}
		if want.err != nil { // one of many ends the wait
			waited[0] = preparedToken
		}
		err := pgbarrier.AwaitReplica(t.Context(), r.replica, waited...)
		var tokenErr *pgbarrier.TokenError
		if !errors.Is(err, want.err) || want.err != nil && (!errors.As(err, &tokenErr) || tokenErr.Token != want.token) {
			t.Errorf("%v: %v, want %v", want.token, err, want.err)
		}
	}
	execute(t, r.pool, "COMMIT PREPARED 'p'")
	r.catchUp(t)
	wantVisible(t, r.replica, "CPPWIWPCPC", tokens...)

	// What is not a token is invalid for both, in the same way.
	text := good.String()
	id, origin := good.ID.String(), text[len(text)-8:]
	texts := []string{"", "pgb1", text + " ", " " + text, text + "\n", text[:len(text)-1], text + "0", strings.ToUpper(text),
		strings.Replace(text, "pgb1", "pgb2", 1), text[:19] + "4" + text[20:], strings.Replace(text, "-", "a", 1),
		"pgb1." + id + ".0." + origin, "pgb1." + id + ".1." + origin, "pgb1." + id + ".4294967298." + origin,
		"pgb1." + id + ".03." + origin, "pgb1." + id + ".-3." + origin, "pgb1." + id + ".." + origin, "pgb1." + id + ".3x." + origin,
		"pgb1." + id + ".99999999999999999999." + origin, "pgb1." + id + ".3.4." + origin,
		"pgb1." + id + ".9999999999999999999." + origin, text}
	primary, standby := visible(t, r.pool, texts...), visible(t, r.replica, texts...)
	// Of a committed barrier's id and another xid both know that they do not belong together.
	if expected := strings.Repeat("I", len(texts)-1) + "C"; primary != expected || standby != expected {
		t.Errorf("the primary says %s, the standby %s", primary, standby)
	}
	if got := query[string](t, r.replica, "SELECT outcomes FROM pgbarrier.visible(ARRAY[NULL, $1])", text); got != "IC" {
		t.Errorf("null and a token are %s", got)
	}
	if got := visible(t, r.replica); got != "" {
		t.Errorf("no tokens are %q", got)
	}
	wantErr(t, "zero token", pgbarrier.AwaitReplica(t.Context(), r.replica, pgbarrier.Token{}), pgbarrier.ErrInvalidToken)
	wantErr(t, "no tokens", pgbarrier.AwaitReplica(t.Context(), r.replica), pgbarrier.ErrInvalidToken)
}

// A standby that is shut down ends the process that replays, which forgets who is running. To a session
// that still answers then, a running transaction looks like one that has ended.
func TestAStandbyThatIsShutDownTellsNoAbort(t *testing.T) {
	t.Parallel()
	r := replicated(t, nil)
	running := create(t, begin(t, r.pool))
	good, bad := committed(t, r.pool), aborted(t, r.pool)
	r.catchUp(t)
	session := connect(t, r.replica)
	ended := func() bool {
		return query[bool](t, session, "SELECT pg_snapshot_xmin(pg_current_snapshot()) > $1::text::xid8", fmt.Sprint(running.XID))
	}
	if ended() {
		t.Fatal("it looks ended already: nothing is tested")
	}
	// The postmaster would end this session too.
	replays := query[int](t, session, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'startup'")
	execute(t, session, fmt.Sprintf("COPY (SELECT) TO PROGRAM 'kill -STOP $(head -n 1 postmaster.pid); kill -TERM %d'", replays))
	eventually(t, "it looks ended", ended)
	wantVisible(t, session, "PCP", running, good, bad)
	crash(t, r.standby)
}

func TestAReplicaWaitInOneSnapshotIsOverAtOnce(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := replicated(t, nil)
	early := committed(t, r.pool)
	r.catchUp(t)
	for name, db := range map[string]beginner{"standby": r.replica, "primary": r.pool} {
		reader := begin(t, db, repeatableRead)
		execute(t, reader, "SELECT count(*) FROM pg_class")
		late, lateBad := committed(t, r.pool), aborted(t, r.pool)
		r.catchUp(t)
		if err := pgbarrier.AwaitReplica(ctx, reader, early); err != nil {
			t.Errorf("%s: what the snapshot has is %v", name, err)
		}
		for _, token := range []pgbarrier.Token{late, lateBad} {
			err := pgbarrier.AwaitReplica(ctx, reader, early, token)
			if err == nil || !strings.Contains(err.Error(), "one snapshot") || !strings.Contains(err.Error(), token.String()) || errors.Is(err, pgbarrier.ErrAborted) {
				t.Errorf("%s: what the snapshot has not is %v", name, err)
			}
		}
		rollback(t, reader)
		wantVisible(t, r.replica, "CP", late, lateBad)
	}
	// In READ COMMITTED each question has a snapshot of its own.
	r.pause(t)
	reader := begin(t, r.replica, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadOnly})
	late := committed(t, r.pool)
	wantVisible(t, reader, "P", late)
	r.resume(t)
	if err := pgbarrier.AwaitReplica(ctx, reader, late); err != nil {
		t.Error(err)
	}
}

// On a primary visible means committed.
func TestAPrimaryMayBeGivenAsTheReplica(t *testing.T) {
	t.Parallel()
	pool := migratedDatabase(t)
	tx := begin(t, pool)
	token := create(t, tx)
	serializableTx := begin(t, pool, serializable)
	for _, own := range []pgx.Tx{tx, serializableTx} {
		wantVisible(t, own, "P", create(t, own)) // its row is there, and has not committed
	}
	done := awaiting(t, t.Context(), pool, token)
	commit(t, tx)
	if err := outcome(t, done); err != nil {
		t.Error(err)
	}
	wantErr(t, "aborted", pgbarrier.AwaitReplica(t.Context(), pool, aborted(t, pool)), pgbarrier.ErrAborted)
	wantErr(t, "lost", pgbarrier.AwaitReplica(t.Context(), pool, lostAtSavepoint(t, pool)), pgbarrier.ErrAborted)
}

// A reader's role needs one grant, on the standby as elsewhere, and no other right there.
func TestAReadersRoleCanWaitOnAStandby(t *testing.T) {
	t.Parallel()
	r := replicated(t, nil)
	reader, nobody := newRole(t, r.pool), newRole(t, r.pool)
	grant(t, r.pool, "whoever reads from a standby", reader)
	token := committed(t, r.pool)
	r.catchUp(t)
	if err := pgbarrier.AwaitReplica(t.Context(), as(t, r.replica, reader), token); err != nil {
		t.Error(err)
	}
	err := pgbarrier.AwaitReplica(t.Context(), as(t, r.replica, nobody), token)
	wantDenied(t, "AwaitReplica", err)
	if !strings.Contains(err.Error(), "lacks a grant") {
		t.Errorf("%v does not say that a grant is missing", err)
	}
}

func TestAReplicaWithoutTheFunctionIsNotMigrated(t *testing.T) {
	t.Parallel()
	r := replicated(t, nil)
	token := committed(t, r.pool)
	execute(t, r.pool, "DROP FUNCTION pgbarrier.visible(uuid[], xid8[])") // as a schema that is older than it
	r.catchUp(t)
	want(t, r.pool, pgbarrier.Committed, token)
	for _, db := range []pgbarrier.DB{r.replica, r.pool} {
		wantErr(t, "AwaitReplica", pgbarrier.AwaitReplica(t.Context(), db, token), pgbarrier.ErrNotMigrated)
		wantErr(t, "CheckSchema", pgbarrier.CheckSchema(t.Context(), db), pgbarrier.ErrNotMigrated)
	}
	r.pause(t)
	migrate(t, r.pool)
	wantErr(t, "AwaitReplica", pgbarrier.AwaitReplica(t.Context(), r.replica, token), pgbarrier.ErrNotMigrated)
	r.resume(t)
	r.catchUp(t)
	if err := pgbarrier.AwaitReplica(t.Context(), r.replica, token); err != nil {
		t.Error(err)
	}
	execute(t, r.pool, "DO $$ BEGIN EXECUTE replace(pg_get_functiondef('pgbarrier.visible(uuid[], xid8[])'::regprocedure), 'version := 2', 'version := 3'); END $$")
	r.catchUp(t)
	wantErr(t, "a newer schema", pgbarrier.AwaitReplica(t.Context(), r.replica, token), pgbarrier.ErrNotMigrated)
}
