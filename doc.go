// Package pgbarrier provides transaction barriers for PostgreSQL: they let work that was handed to
// any queue wait for the transaction that handed it out.
//
// A producer creates a barrier inside its transaction (package notify) and puts the barrier's
// [Token] into the message. The worker waits on the token (package listener, or [Poll]) before it
// touches the data. The wait ends with nil as soon as the transaction's updates can be read, and
// with [ErrAborted] once it is certain that they never will be. The message may be sent before
// COMMIT, so nothing is lost by a crash in between, and nothing runs too early.
//
// # What is promised
//
//   - nil means that every snapshot taken afterwards on the primary sees the transaction. It does not
//     mean durable: with synchronous_commit=off a server crash can still lose what was visible.
//   - ErrAborted is only given when it is certain. What is not known is never reported as one of the
//     two: a barrier that has been purged is [ErrExpired], a token of another database
//     [ErrWrongDatabase].
//   - An outcome never changes, however often and by whomever the token is waited on.
//   - Of any number of transactions with barriers none waits for another's announcement, and neither
//     announcing nor a wait fails a COMMIT.
//
// # What is not
//
//   - A wait speaks of the primary, and a standby may show the commit later: a worker that reads
//     there calls [AwaitReplica] as well.
//   - A message that was never sent is not recovered: send it before COMMIT.
//   - A prepared transaction stays pending until somebody ends it.
//   - Not every commit is announced: see package notify. What is not is found by checks.
//
// # Who does what
//
// This package holds the vocabulary (Token, [Status], the errors), the schema ([Migrate],
// [CheckSchema], [Purge], [RenewOrigin]) and the status check that decides every wait ([Check], [Poll],
// [AwaitReplica]). It starts no goroutine. The schema itself is sql/triggers.sql; any language produces
// with SELECT pgbarrier.create().
package pgbarrier
