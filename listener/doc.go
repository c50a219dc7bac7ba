// Package listener waits for transaction barriers: it is the worker's side of pgbarrier.
//
// A process makes one [Listener] for each database, runs it for as long as the process lives, and
// waits with it from any number of goroutines:
//
//	l, err := listener.New(pool, listener.Config{})
//	…
//	go l.Run(ctx)
//	…
//	err = l.Wait(ctx, message.Barrier)
//	switch {
//	case err == nil:                              // committed: do the work
//	case errors.Is(err, pgbarrier.ErrAborted):    // it never will be: drop the message
//	default:                                      // no outcome: let the queue deliver it again
//	}
//
// # How a wait ends
//
//	                  announced before?        registered                  resolved
//	Wait ──▶ recent outcomes ──no──▶ waiter set ──▶ check ──pending──▶ ┬─ its announcement ──▶ nil
//	              │                                   │                ├─ a later check ─────▶ nil, ErrAborted, …
//	              └──yes──▶ its outcome               └─ its outcome   ├─ ctx ends ──────────▶ ctx.Err()
//	                                                                   └─ Run returns ───────▶ ErrClosed
//
// One connection listens. An announcement ends the waits for its token at once, and makes a check end those
// for it and others. An announced commit is remembered for a second, for waits to come. Not every commit is
// announced (see sql/triggers.sql) and no abort is. So one statement in the server watches the
// transactions that are waited for, and answers when one has ended; and at growing intervals a check
// asks for all that is still pending. Both cost the server what is new and what has ended, not
// what is waited for: a snapshot tells which transactions still run.
//
// # What may be relied on
//
//   - A wait is registered before its first check asks, and everything is checked again after every
//     (re)connect. So a notification that is lost, late, or sent while nobody listened delays a wait
//     by a check, and never loses it.
//   - What is announced can only end the wait for exactly that token, unguessable before its
//     commit; everything else on the channel at most causes a check, and checks are bounded by
//     Config.MinDelay.
//   - A database outage delays waits and never ends them.
//   - A wait for several tokens ends with nil only if all were committed at once: a crash in between that
//     took one of the commits does not go unnoticed.
//   - A canceled wait leaves nothing behind. A wait costs no goroutine of the listener's.
//   - When Run has returned, no goroutine and no connection is left, and every wait has ended.
//
// # What may not
//
//   - The order in which waits end is not the order of the commits.
//   - Waiting inside the transaction that created the barrier never ends: what is waited for comes
//     after it.
//   - nil means visible on the primary. A standby may show it later, and with
//     synchronous_commit=off a crash may still lose it.
//
// # Connections
//
// A Listener keeps three connections of its own, outside of the pool, whose connections may all be held
// by those who wait: one that listens; one that watches, opened when there is something to watch; and one
// for checks, through which it also sends the first a notification whenever it has heard none for a
// while. So a half-open socket, a pooler that accepts LISTEN and delivers nothing, and a session that has
// gone deaf are noticed, shown in [Stats], logged and replaced, and waits end by checks meanwhile. A
// connection for checks that is half-open is given up after two seconds, after up to fifteen if the server
// has been slow. When the pool goes through a pooler in transaction
// mode, set Config.ListenConnString. An application with a receive loop of its own feeds
// [Listener.HandleNotification] instead.
package listener
