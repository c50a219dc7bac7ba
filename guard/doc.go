// Package guard decides what a worker does with a message that was sent inside a transaction: run the handler,
// drop the message, take it later, or reject it. Adapters for queues are built on it, and a queue without an adapter
// needs little more than this:
//
//	g, err := guard.New(barriers, guard.Config{}) // barriers is a *listener.Listener
//	…
//	switch d := g.Decide(ctx, guard.Map(message.Headers)); d.Verdict {
//	case guard.Run:    // committed, and its updates can be read
//		err = handle(ctx, message)
//	case guard.Drop:   // rolled back: done, and no failure
//		err = message.Ack()
//	case guard.Later:  // still running: back to the queue, and not as a failed attempt
//		err = message.GiveBack(d.After)
//	case guard.Reject: // purged, foreign, malformed, or without a barrier where one is required
//		err = message.Bury(d.Err)
//	}
//
// The producer puts its barrier's token into the message's headers, with [Add] or by package notify.
//
// # What is promised
//
//   - The handler runs only when all of the message's transactions have committed and can be read.
//   - A message is dropped only when it is certain that one of them has not.
//   - What is not known is Later, never Drop or Reject: an outage of the database, a waiter that has stopped, a
//     context that has ended. Only Config.GiveUp rejects what is pending, and only after a check has said so.
//   - A decision takes a worker for Config.Budget at most, and for a check's length (2 s at most, in an outage)
//     if Config.Slots other messages wait already.
//   - The error of a verdict never is a context's: neither context.DeadlineExceeded nor context.Canceled.
//
// # What the queue has to do
//
//   - A message that is given back must not burn one of its attempts. Where it would, or on the last attempt,
//     [Guard.Hold] waits for as long as the message's context.
//   - Handlers run at least once, as with any queue: after a redelivery the verdict is the same again.
//   - A broker's own deduplication must know the barrier: [DedupID].
//
// Package guardtest has a suite that holds an adapter to all of that, and doubles for tests of handlers.
//
// # What a decision costs
//
// A token whose commit was heard costs a microsecond; one that committed before, one check, which all decisions
// at the same time share; one that is pending, a check and then nothing until it ends.
//
// # What must not be guarded
//
// A call that is made inside the transaction and waits for its answer waits for itself: no transport should add
// the token by itself. Code that runs a handler at once, inside the transaction, uses [Eager].
package guard
