package pgbarrier

import (
	"context"
	"fmt"

	"github.com/pgbarrier/pgbarrier/internal/wire"
)

// AwaitReplica waits with the default delays, see [Poller.AwaitReplica].
func AwaitReplica(ctx context.Context, replica DB, tokens ...Token) error {
	return Poller{}.AwaitReplica(ctx, replica, tokens...)
}

// AwaitReplica returns nil once the updates of all tokens' transactions can be read on a hot standby:
// every snapshot taken there afterwards sees them. It is for a worker that reads from a replica, to
// be called after a wait has returned nil for the tokens: a standby never knows that a transaction
// has aborted, and goes on waiting for it.
//
// Errors are those of [Poller.Wait], as that server sees it: ErrAborted comes from a standby that has
// been promoted, and for a token that was committed on the primary before it means that the failover
// lost the commit, which asynchronous replication allows. ErrExpired means that the barrier is not
// there and others of its age have been purged. ErrNotMigrated also means that the replica
// has not replayed the migration yet. While the replica cannot be reached, is starting, or cancels
// the question because it conflicts with recovery, the wait goes on. It goes on as well for as long as
// replay is paused or the primary does not stream, so give ctx a deadline, and read from the primary
// when that has passed.
//
// replica may be promoted meanwhile, and may be a primary: committed there is visible there. It must
// lead to one server, the one that will be read: if it spreads its connections over several, pass one
// connection, and go on with that. A standby that restarts replays a second time what it had replayed
// last, and for a moment may not show what it has shown.
//
// In a transaction with one snapshot (REPEATABLE READ, SERIALIZABLE) nil means visible in that
// snapshot; if the updates are not, no wait can change it, and the error says so at once.
//
// What decides is the barrier's row, not how far the replica has replayed (pg_last_wal_replay_lsn):
// the row is what the reader's updates came with, in any timeline and on any server. A position would
// have to be asked of the primary after the commit, would wait for whatever else was written until
// then, and tells nothing after a failover, where the same position holds other updates.
//
// The role needs EXECUTE on pgbarrier.visible(uuid[], xid8[]).
func (p Poller) AwaitReplica(ctx context.Context, replica DB, tokens ...Token) error {
	return p.wait(ctx, replica, &question{doing: "look at the replica", ask: askReplica}, tokens)
}

func askReplica(ctx context.Context, replica wire.DB, tokens []Token) (wire.Answer, error) {
	answer, oneSnapshot, err := wire.Visible(ctx, replica, tokens)
	if err != nil || !oneSnapshot || !wire.InTransaction(replica) { // breakage: one snapshot
		return answer, err
	}
	for i, outcome := range answer.Outcomes {
		if outcome == wire.Pending {
			return answer, fmt.Errorf("pgbarrier: look at the replica: %v is not visible in this transaction's one snapshot, and cannot become so: wait before it begins, or in READ COMMITTED", tokens[i])
		}
	}
	return answer, nil
}
