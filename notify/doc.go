// Package notify creates transaction barriers: it is the producer's side of pgbarrier.
//
// Create a barrier in the transaction that makes the changes, put its token into the message, send
// the message, commit:
//
//	tx, err := pool.Begin(ctx)
//	…
//	token, err := notify.Create(ctx, tx)
//	…
//	err = queue.Publish(ctx, Message{OrderID: id, Barrier: token})
//	…
//	err = tx.Commit(ctx)
//
// Whoever waits for the token is woken by the commit, and told of an abort. One barrier serves any
// number of messages of its transaction, to any number of queues and workers; a second one in the
// same transaction only costs another row. [Queue] creates it in a batch, without a round trip of
// its own. [SQL] is for what runs statements without being a [Tx] or [SQLTx].
//
// # In a context
//
// Where whoever sends does not know the transaction, its context does:
//
//	err := notify.BeginFunc(ctx, pool, func(ctx context.Context, tx pgx.Tx) error {
//		…
//		return publish(ctx, message) // calls notify.Inject(ctx, message.Header)
//	})
//
// The barrier is made when the first message needs it, and outside of a transaction there is none.
// [WithTx] and [WithSQLTx] do that for a transaction that you have begun yourself.
//
// # Savepoints
//
// A barrier created after SAVEPOINT shares the savepoint's fate: when that is rolled back, the
// barrier has aborted even if the transaction commits. Create the barrier at the level whose changes
// the message is about. A context belongs to one level: nest [BeginFunc], or call WithTx or WithSQLTx again
// after a savepoint.
//
// # At commit
//
// A deferred trigger sends NOTIFY unless another transaction is just doing so; see sql/triggers.sql.
// So commits with barriers never wait for each other. What a commit does not announce is found by the
// listeners' check.
//
// PostgreSQL lets one transaction at a time commit with a NOTIFY, in all databases of the server together
// (PreCommit_Notify, commands/async.c), and a NOTIFY can fail in the COMMIT. So the trigger announces only in a
// COMMIT or END that the client sent as a statement of its own, while nobody else's NOTIFY is held up in its
// COMMIT, with time left of every timeout, and if the queue and the table of locks have room. Otherwise, and
// after any error, the transaction commits unannounced. To spare a role the look at all that, ALTER ROLE … SET
// pgbarrier.announce = 'off', or [WithoutAnnouncement].
//
// A barrier that is made in autocommit commits by itself; the server warns of it.
//
// PREPARE TRANSACTION needs WithoutAnnouncement with schema version 1 only.
//
// The role needs USAGE on schema pgbarrier and EXECUTE on pgbarrier.create(boolean), nothing else.
package notify
