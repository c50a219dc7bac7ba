// Package guardjetstream guards consumers of NATS JetStream (github.com/nats-io/nats.go/jetstream): a message that was
// published inside a PostgreSQL transaction is handled when that has committed and can be read, and dropped when it
// has rolled back.
//
//	// The producer, in the transaction; or notify.Inject(ctx, m.Header) and js.PublishMsg:
//	_, err := guardjetstream.Publish(ctx, js, m, "order-42") // ctx is of notify.BeginFunc or notify.WithTx
//
//	// The worker. It returns when ctx ends.
//	g, err := guard.New(barriers, guard.Config{}) // barriers is a *listener.Listener
//	err = guardjetstream.Consume(ctx, consumer, g, guardjetstream.Config{}, handle)
//
// # What becomes of a message
//
//	committed, or no barrier      handle; then Ack, confirmed by the server
//	handle returns an error       Nak, after Config.Retry: an attempt
//	rolled back                   Ack
//	pending                       held: no worker waits for it
//	expired, foreign, malformed,  Term. The reason is in the server's advisory, since 2.11:
//	missing if required           $JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.<stream>.<consumer>
//
// While a process has a message, held or not, it tells the server that it is in progress, four times within AckWait or
// the shortest BackOff, so that it is not delivered again and burns no delivery. A message that is given back does burn
// one, because the server counts: that is done when Consume stops, and not on the last delivery, for which it waits as
// long as Config.Grace. guard.Config's Budget, Slots and Delay have no use here.
//
// # What the consumer needs
//
//   - AckExplicitPolicy, and pull.
//   - MaxAckPending for all messages of transactions that are open at once, and 2 × Workers for each process: held
//     messages count, and so do those that wait for a retry. When it is reached nothing else is delivered. The
//     server's default is 1000. Config.Error is told.
//   - MaxDeliver of -1, or with room: besides failures, each stop or crash of a process counts for what it held. With
//     MaxDeliver 1 nothing is lost by waiting; a crash loses what was held, as it does without a guard.
//   - AckWait of some seconds. Only a process that stands still for that long, or dies, has its messages delivered
//     again; a copy of what the same process still has is not handled twice.
//
// # Deduplication
//
// A bare Nats-Msg-Id loses work: a transaction publishes it and rolls back, the next try publishes it again, is a
// duplicate, and commits, and nothing is left to run. Give Publish the business id, which it joins with the barrier's,
// or set it by guard.DedupID. Wait for the acknowledgement before COMMIT.
package guardjetstream
