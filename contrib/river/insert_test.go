package guardriver

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/pgbarrier/pgbarrier"
	"github.com/pgbarrier/pgbarrier/guard"
	"github.com/pgbarrier/pgbarrier/guard/guardtest"
	"github.com/pgbarrier/pgbarrier/notify"
)

func encode(f fields) []byte {
	encoded, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	return encoded
}

// transaction returns a context in which jobs carry a barrier.
func transaction(t *testing.T) (context.Context, pgbarrier.Token) {
	token := guardtest.NewToken()
	return notify.WithCreate(t.Context(), func(context.Context) (pgbarrier.Token, error) { return token, nil }), token
}

func TestAJobCarriesTheBarrierOfItsTransaction(t *testing.T) {
	t.Parallel()
	client := inserter(t, open(t, riverURL), Inserts())
	ctx, current := transaction(t)
	before := guardtest.NewToken()

	bare, err := client.Insert(ctx, jobArgs{ID: "bare"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	guardtest.Carries(t, carrierOf(bare.Job), current)

	own := `{"trace": {"id": 12345678901234567890, "html": "<&>"}, "pgbarrier": "` + before.String() + `"}`
	several, err := client.InsertMany(ctx, []river.InsertManyParams{
		{Args: jobArgs{ID: "own"}, InsertOpts: &river.InsertOpts{Metadata: []byte(own)}},
		{Args: jobArgs{ID: "null"}, InsertOpts: &river.InsertOpts{Metadata: []byte("null")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	guardtest.Carries(t, carrierOf(several[0].Job), before, current)
	guardtest.Carries(t, carrierOf(several[1].Job), current)
	var kept struct {
		Trace struct {
			ID   json.Number
			HTML string
		}
	}
	if err := json.Unmarshal(several[0].Job.Metadata, &kept); err != nil || kept.Trace.ID != "12345678901234567890" || kept.Trace.HTML != "<&>" {
		t.Errorf("the job's own metadata became %s, %v", several[0].Job.Metadata, err)
	}

	outside, err := client.Insert(t.Context(), jobArgs{ID: "outside"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	guardtest.CarriesNone(t, carrierOf(outside.Job))
}

func TestJobsInsertedByCopyCarryTheBarrierToo(t *testing.T) {
	t.Parallel()
	pool := open(t, riverURL)
	ctx, current := transaction(t)
	queue := newName()
	if _, err := inserter(t, pool, Inserts()).InsertManyFast(ctx, []river.InsertManyParams{
		{Args: jobArgs{ID: "a"}, InsertOpts: &river.InsertOpts{Queue: queue}},
	}); err != nil {
		t.Fatal(err)
	}
	var metadata []byte
	if err := pool.QueryRow(t.Context(), "SELECT metadata FROM river_job WHERE queue = $1", queue).Scan(&metadata); err != nil {
		t.Fatal(err)
	}
	guardtest.Carries(t, carrierOf(&rivertype.JobRow{Metadata: metadata}), current)
}

// With River's bare key the second transaction's job would be skipped, and the first one's cancelled: nothing would run.
func TestAUniqueJobIsOneTransactionsOnly(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]river.UniqueOpts{
		"by args":   {ByArgs: true},
		"by period": {ByArgs: true, ByPeriod: 24 * time.Hour},
		"by queue":  {ByQueue: true, ExcludeKind: true},
		"by state":  {ByArgs: true, ByState: rivertype.JobStates()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := inserter(t, open(t, riverURL), Inserts())
			queue, business := newName(), newName()
			insert := func(ctx context.Context) *rivertype.JobInsertResult {
				t.Helper()
				result, err := client.Insert(ctx, jobArgs{ID: "7", Business: business}, &river.InsertOpts{Queue: queue, UniqueOpts: opts})
				if err != nil {
					t.Fatal(err)
				}
				return result
			}
			first, _ := transaction(t)
			second, token := transaction(t)
			if insert(first).UniqueSkippedAsDuplicate || insert(second).UniqueSkippedAsDuplicate {
				t.Error("another transaction's job is a duplicate")
			}
			again := insert(second)
			if !again.UniqueSkippedAsDuplicate {
				t.Error("the same transaction's job is inserted twice")
			}
			guardtest.Carries(t, carrierOf(again.Job), token)
			if insert(t.Context()).UniqueSkippedAsDuplicate || !insert(t.Context()).UniqueSkippedAsDuplicate {
				t.Error("outside of a transaction the key is not River's")
			}
		})
	}
}

var errRollback = errors.New("roll back")

// What the trap costs, with real transactions: the job of try 1 is still there when try 2 inserts it.
func TestATransactionThatIsTriedAgainRunsOnce(t *testing.T) {
	t.Parallel()
	pool, barriers := startListener(t, shared.DatabaseForTest(t))
	r := startRig(t, barriers, guard.Config{})
	for _, end := range []error{errRollback, errRollback, nil} {
		err := notify.BeginFunc(t.Context(), pool, func(ctx context.Context, tx pgx.Tx) error {
			for range 2 { // the answer to the first was lost
				opts := &river.InsertOpts{Queue: r.queue, UniqueOpts: river.UniqueOpts{ByArgs: true}}
				if _, err := r.client.Insert(ctx, jobArgs{ID: "7", Business: "order-7"}, opts); err != nil {
					return err
				}
			}
			return end
		})
		if !errors.Is(err, end) {
			t.Fatal(err)
		}
	}
	r.until("all jobs have ended", func() bool {
		return r.count(rivertype.JobStateCancelled) == 2 && r.count(rivertype.JobStateCompleted) == 1
	})
	r.ran("7")
	r.heardNothing()
}

func TestWhatCannotBeSentSafelyIsNotInserted(t *testing.T) {
	t.Parallel()
	pool, _ := startListener(t, shared.DatabaseForTest(t))
	riverPool := open(t, riverURL)
	client := inserter(t, riverPool, Inserts())
	queue := newName()
	var left context.Context
	if err := notify.BeginFunc(t.Context(), pool, func(ctx context.Context, tx pgx.Tx) error {
		left = ctx
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Insert(left, jobArgs{ID: "late"}, &river.InsertOpts{Queue: queue}); err == nil {
		t.Error("a job was inserted after the end of its transaction")
	}
	ctx, _ := transaction(t)
	for _, metadata := range []string{`{"pgbarrier": "x"}`, `{"pgbarrier": 7}`, `{"pgbarrier": null}`, `[]`, `"x"`, `{`} {
		if _, err := client.Insert(ctx, jobArgs{ID: metadata}, &river.InsertOpts{Queue: queue, Metadata: []byte(metadata)}); err == nil {
			t.Errorf("a job was inserted with the metadata %s", metadata)
		}
	}
	var jobs int
	if err := riverPool.QueryRow(t.Context(), "SELECT count(*) FROM river_job WHERE queue = $1", queue).Scan(&jobs); err != nil || jobs > 0 {
		t.Errorf("%d jobs were inserted, %v", jobs, err)
	}
}
