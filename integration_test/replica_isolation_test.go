package integration_test

import (
	"testing"

	"github.com/pgbarrier/pgbarrier"
)

// Outside of a transaction block each question has a snapshot of its own at every isolation level. What one
// transaction's snapshot does not have it never will: TestAReplicaWaitInOneSnapshotIsOverAtOnce.
func TestAReplicaWaitGoesOnThoughTransactionsAreRepeatableReadByDefault(t *testing.T) {
	t.Parallel()
	r := replicated(t, nil)
	tx := begin(t, r.pool)
	token := create(t, tx)
	r.pause(t)
	commit(t, tx)
	replica := open(t, withSetting(t, r.standby.URL(), "default_transaction_isolation", "repeatable read"))
	done := awaiting(t, t.Context(), replica, token)
	conn, err := replica.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	onOne := make(chan error, 1)
	go func() { onOne <- replicaPoller.AwaitReplica(t.Context(), conn, token) }()
	if err := pgbarrier.AwaitReplica(t.Context(), begin(t, replica), token); err == nil {
		t.Error("a transaction's one snapshot has what came after it")
	}
	stillWaiting(t, onOne)
	r.resume(t)
	for _, done := range []<-chan error{done, onOne} {
		if err := outcome(t, done); err != nil {
			t.Error(err)
		}
	}
}
