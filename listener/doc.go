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
// An announcement is the NOTIFY with a token that its commit sends. A rider is a commit that is not announced,
// because an announcement is in flight: there is one at a time on a server. A check is a question to the database
// for all that is waited for. A probe is a NOTIFY by which a LISTEN connection is shown to hear.
//
//	Wait ── heard in the last second? ─ yes ──────────────────▶ nil
//	                   │ no
//	                   ▼
//	     ┌─────────▶ check ── decided? ─ yes ─────────────────▶ nil, ErrAborted, ErrExpired, …
//	     │             │ no
//	     │             ▼
//	     └───────── pending ── its announcement ──────────────▶ nil
//	 after a pause,        ├── ctx ends ──────────────────────▶ ctx.Err()
//	 soon if anything      └── Run returns ───────────────────▶ ErrClosed
//	 is announced
//
// Announcements are for latency, checks are for everything. A new token is asked for at once, or with others
// after Config.MinDelay. What is pending is asked for again after a 32nd of the time that the youngest has
// waited, and soon after any announcement, because a rider may have come with it: so an abort, and a commit
// that nobody announced, is known late by 3 % of the wait. A wait for several tokens ends with nil only if one
// statement has found all of them committed.
//
// # What may be relied on
//
//   - Everything is checked again after every (re)connect. So a notification that is lost, late, or sent
//     while nobody listened delays a wait by a check, and never loses it.
//   - What is announced can only end the wait for exactly that token, unguessable before its commit;
//     everything else on the channel at most causes a check.
//   - A database outage delays waits and never ends them.
//   - nil for several tokens means that all were committed at once, whatever a crash took in between.
//   - Waits cost the server what is new and what has ended, not what is waited for. The more sessions it has,
//     the longer are the pauses, and a busy listener lets producers commit unannounced.
//   - A canceled wait leaves nothing behind. A wait costs no goroutine and less than 500 bytes.
//   - When Run has returned, no goroutine and no connection is left, and every wait has ended.
//
// # What may not
//
//   - The order in which waits end is not the order of the commits.
//   - Waiting inside the transaction that created the barrier never ends: what is waited for comes after it.
//   - nil means visible on the primary. A standby may show it later, and with synchronous_commit=off a crash
//     may still lose it.
//
// # Connections
//
// A Listener keeps two connections outside of the pool, whose own may all be held by those who wait: one that
// listens and one for checks. When the first has heard nothing for a while it is sent a probe, through a third that
// is closed at once; all listeners of a database hear each other's. So a half-open socket, a pooler that accepts
// LISTEN and delivers nothing, and a session that has gone deaf are noticed within 1.5 heartbeats, shown in
// [Stats], logged and replaced, and waits end by checks meanwhile. A check connection that is half-open is given up
// after two seconds, after up to fifteen if the server has been slow. If the server has no room for it, the LISTEN
// connection is given back.
//
// When the pool goes through a pooler in transaction mode, set Config.ListenConnString. An application with a
// receive loop of its own feeds [Listener.HandleNotification] instead.
package listener
