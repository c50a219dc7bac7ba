// Package guardwatermill guards the handlers of github.com/ThreeDotsLabs/watermill: a message that was published inside
// a PostgreSQL transaction is handled after its COMMIT, and acknowledged without being handled after its ROLLBACK.
//
//	// The producer; m.Context() is of notify.BeginFunc or notify.WithTx:
//	pub, err = guardwatermill.Publisher(pub)
//	err = pub.Publish("orders", m)
//
//	// The worker:
//	g, err := guard.New(barriers, guard.Config{}) // barriers is a *listener.Listener
//	router.AddMiddleware(poison, guardwatermill.Middleware(g, guardwatermill.Config{Workers: 10}), retry)
//	router.AddConsumerHandler("ship", "orders", guardwatermill.Subscribers(sub, 100), handle)
//
// # What becomes of a message
//
//	committed, or no barrier      the next handler
//	rolled back                   Ack, no output
//	pending                       held until its context ends; then Nack, and no error
//	expired, foreign, malformed,  an error for Poison, which no Retry repeats: IsRejection
//	missing if required
//
// # Where it stands
//
// Inside Poison. Everything else that counts, times or remembers belongs inside the guard: Retry, Timeout, InstantAck,
// Deduplicator, CircuitBreaker. A Deduplicator outside loses work: it has seen the try that rolled back. Do not guard the
// poison topic's own consumer: add Poison and the guard to handlers, not to the router. Config.Logger is told
// [ErrMisplaced] of what can be noticed, and meanwhile nothing is lost or goes round in circles.
//
// # Held messages
//
// A subscription hands out one message and waits, so that what is held takes its place: have as many, by [Subscribers], as
// messages of transactions may be open at once, and Config.Workers more. When all are taken nothing else is delivered.
// What the pub/sub needs for that, as tested with the real brokers:
//
//   - watermill-nats, pkg/jetstream: one durable consumer (ExistingConsumer), PullMaxMessages(1), a MaxWaiting and
//     MaxAckPending above all subscriptions. [KeepAlive] in the Unmarshaler, or else an AckWait longer than any
//     transaction. AckWaitTimeout longer than any transaction in both cases: it ends the message's context. What is held
//     when a router closes comes again after AckWait, and that is a delivery: MaxDeliver of -1, or with room.
//   - watermill-nats, pkg/nats: a push consumer sends a subscription messages that wait behind the held one. Use
//     pkg/jetstream, or let AckWait and AckWaitTimeout be longer than any transaction, and free messages wait for it.
//   - watermill-amqp: one queue, PrefetchCount 1 (its default), Publish.ConfirmDelivery, and a consumer_timeout (30
//     minutes) longer than any transaction. Classic queues: its marshaler cannot read the x-delivery-count of quorum's.
//   - gochannel: as it is, but neither Subscribers, PreserveContext, nor BlockPublishUntilSubscriberAck.
//
// # Deduplication
//
// A UUID that a broker deduplicates by (TrackMsgId) must differ from transaction to transaction, or the try that commits is
// dropped as a duplicate of the one that rolled back. [Publisher] and [Inject] join it with the barrier's.
package guardwatermill
