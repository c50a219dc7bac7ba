// Package relaynats brings waits to a relay over NATS core (github.com/nats-io/nats.go), and outcomes back. Its
// [Client] waits in place of a listener in processes that keep no database session:
//
//	nc, err := nats.Connect(url, relaynats.Options()...)
//	…
//	barriers, err := relaynats.NewClient(nc, relaynats.ClientConfig{})
//	…
//	go barriers.Run(ctx)
//	err = barriers.Wait(ctx, token)               // or guard.New(barriers, guard.Config{})
//
// and [Serve] answers in those that have a [relay.Relay], two of them or more:
//
//	err := relaynats.Serve(ctx, nc, r, relaynats.ServerConfig{})
package relaynats
