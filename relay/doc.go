// Package relay answers waits for transaction barriers on behalf of processes that keep no database session. A
// [Relay] holds one listener for each database; transports bring it the waits of other processes and take the
// outcomes back: package relaynats over NATS, package relayhttp over HTTP. The database sees a handful of
// listeners, whatever the number of workers.
//
//	l, err := listener.New(pool, listener.Config{})
//	…
//	r, err := relay.New(relay.Config{Databases: []relay.Database{l}})
//	…
//	go r.Run(ctx) // runs the listeners
//	err = relaynats.Serve(ctx, nc, r, relaynats.ServerConfig{})
//
// # Terms
//
// A session is one client of a transport, or one connection, or one request: what belongs together and goes
// together. A wait belongs to a session and has an id that its client chose, so that repeating it does nothing.
// Draining is the time between SIGTERM and the end, in which clients find another relay.
//
// # What is promised
//
//   - An outcome is what the database's listener said, of all tokens of the wait at once.
//   - A wait ends once. A session that was closed, and a wait that was cancelled, leave nothing behind.
//   - Limits refuse new waits ([ErrBusy]); they never end one that was accepted.
//   - An outage of the database delays waits and ends none.
//   - When Run has returned, every wait has ended, those without an outcome with [pgbarrier.Pending].
//
// # What is not
//
//   - A relay keeps nothing on disk. After its death clients ask another one, and the truth is in the database.
//   - That an outcome was true when it was sent says nothing of later: a transport must not deliver "committed" long
//     after, because a crash of the server takes commits with it that were visible and not yet durable.
package relay
