package integration_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/devpg"
)

// subscribed makes two databases of one server, both with the schema, of which the second subscribes to all tables of
// the first. before is done when both are there and nothing is replicated yet.
func subscribed(t *testing.T, copyData bool, before func(publisher, subscriber *pgxpool.Pool)) (publisher, subscriber *pgxpool.Pool) {
	t.Helper()
	s := devpg.ForTest(t, devpg.Config{Settings: map[string]string{"wal_level": "logical", "fsync": "off"}})
	url, err := s.CreateDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	publisher, subscriber = open(t, s.URL()), open(t, url)
	migrate(t, publisher)
	migrate(t, subscriber)
	before(publisher, subscriber)
	execute(t, publisher, "CREATE PUBLICATION p FOR ALL TABLES")
	// Made by the subscription itself, the slot would wait for the transaction that makes it.
	execute(t, publisher, "SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
	c := publisher.Config().ConnConfig
	execute(t, subscriber, fmt.Sprintf("CREATE SUBSCRIPTION s CONNECTION 'host=%s port=%d user=%s password=''%s'' dbname=%s' PUBLICATION p WITH (create_slot = false, slot_name = s, copy_data = %v)",
		c.Host, c.Port, c.User, c.Password, c.Database, copyData))
	t.Cleanup(func() {
		ctx := context.Background()
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close(ctx)
		for _, sql := range []string{"ALTER SUBSCRIPTION s DISABLE", "ALTER SUBSCRIPTION s SET (slot_name = NONE)", "DROP SUBSCRIPTION s"} {
			if _, err := conn.Exec(ctx, sql); err != nil {
				t.Error(err)
			}
		}
	})
	return publisher, subscriber
}

func TestRowsThatReplicationRemovesTellNoFalseAbort(t *testing.T) {
	t.Parallel()
	var tokens []pgbarrier.Token
	publisher, subscriber := subscribed(t, false, func(publisher, subscriber *pgxpool.Pool) {
		for range 6 {
			token := committed(t, subscriber)
			tokens = append(tokens, token)
			nextMillisecond(t, subscriber)
			execute(t, publisher, "INSERT INTO pgbarrier.barrier VALUES ($1, $2::text::xid8)", token.ID.String(), fmt.Sprint(token.XID))
		}
	})
	here := origin(t, subscriber)
	left := len(tokens)
	for _, sql := range []string{
		"DELETE FROM pgbarrier.barrier WHERE id = " + newest,
		"UPDATE pgbarrier.barrier SET id = overlay(id::text PLACING 'ffff' FROM 10)::uuid WHERE id = " + newest,
		"SELECT pgbarrier.purge('1 microsecond', 1)",
		"TRUNCATE pgbarrier.barrier",
	} {
		lost := lostAtSavepoint(t, subscriber)
		before := left
		execute(t, publisher, sql)
		eventually(t, "it is replicated", func() bool {
			left = 0
			for _, token := range tokens {
				if query[bool](t, subscriber, "SELECT EXISTS (SELECT FROM pgbarrier.barrier WHERE id = $1)", token.ID.String()) {
					left++
				}
			}
			return left < before
		})
		if expired := wantByRows(t, subscriber, nil, tokens...); expired != len(tokens)-left {
			t.Errorf("%d have expired, want %d", expired, len(tokens)-left)
		}
		if statuses, err := pgbarrier.Check(t.Context(), subscriber, lost); err != nil || statuses[0] != pgbarrier.Aborted && statuses[0] != pgbarrier.Expired {
			t.Errorf("what was lost is %v, %v", statuses, err)
		}
		wantExact(t, subscriber)
	}
	if left != 0 {
		t.Errorf("%d are left", left)
	}
	if again := origin(t, subscriber); again != here {
		t.Errorf("the origin was %s and is %s", here, again)
	}
}

// Both have rows of their own. What is replicated, marks and the origin included, changes nothing for the
// subscriber's own tokens.
func TestReplicatedRowsChangeNoOutcomeOfTheSubscriber(t *testing.T) {
	t.Parallel()
	var own, others []pgbarrier.Token
	publisher, subscriber := subscribed(t, true, func(publisher, subscriber *pgxpool.Pool) {
		own = []pgbarrier.Token{committed(t, subscriber), committed(t, subscriber)}
		others = []pgbarrier.Token{committed(t, publisher), lostAtSavepoint(t, publisher)}
	})
	here := origin(t, subscriber)
	replicated := func() {
		token := committed(t, publisher)
		others = append(others, token)
		eventually(t, "it is replicated", func() bool {
			return query[bool](t, subscriber, "SELECT EXISTS (SELECT FROM pgbarrier.barrier WHERE id = $1)", token.ID.String())
		})
	}
	for _, sql := range []string{"SELECT 1", "SELECT pgbarrier.purge('1 microsecond')", "DELETE FROM pgbarrier.origin", "DELETE FROM pgbarrier.barrier", "SELECT pgbarrier.purge('1 microsecond')"} {
		execute(t, publisher, sql)
		replicated()
		wantAsked(t, subscriber, nil, nil, own...)
		wantAsked(t, subscriber, nil, pgbarrier.ErrWrongDatabase, others...)
		wantExact(t, subscriber)
	}
	if n := query[int](t, subscriber, "SELECT count(*) FROM pgbarrier.origin"); n != 1 || origin(t, subscriber) != here {
		t.Errorf("there are %d origins, %s was the first and %s is", n, here, origin(t, subscriber))
	}
}
