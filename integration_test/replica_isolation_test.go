package integration_test

import (
	"testing"

	"github.com/pgbarrier/pgbarrier"
)

// Outside of a transaction block each question has a snapshot of its own at every isolation level. What one
// transaction's snapshot does not have it never will: TestAReplicaWaitInOneSnapshotIsOverAtOnce. SERIALIZABLE is
// refused by a standby.
func TestAReplicaWaitGoesOnWhateverTheDefaultIsolation(t *testing.T) {
	t.Parallel()
	r := replicated(t, nil)
	tx := begin(t, r.pool)
	token := create(t, tx)
	r.pause(t)
	commit(t, tx)
	var waits []<-chan error
	for _, level := range []string{"repeatable read", "serializable"} {
		replica := open(t, withSetting(t, r.standby.URL(), "default_transaction_isolation", level))
		for _, db := range []pgbarrier.DB{replica, connect(t, replica)} {
			done := make(chan error, 1)
			go func() { done <- replicaPoller.AwaitReplica(t.Context(), db, token) }()
			waits = append(waits, done)
		}
		if err := pgbarrier.AwaitReplica(t.Context(), begin(t, replica, repeatableRead), token); err == nil {
			t.Error("a transaction's one snapshot has what came after it")
		}
	}
	for _, done := range waits {
		stillWaiting(t, done)
	}
	r.resume(t)
	for _, done := range waits {
		if err := outcome(t, done); err != nil {
			t.Error(err)
		}
	}
}
