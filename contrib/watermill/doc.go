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
// Inside Poison, and outside of all that counts, times or remembers: Retry, Timeout, InstantAck, CircuitBreaker,
// Deduplicator, which would have seen the try that rolled back. Not before the poison topic's own consumer: add Poison
// and the guard to the other handlers. Config.Logger is told [ErrMisplaced] of what can be noticed; until it is put
// right, a rejected message comes once a second where nobody poisons it, and is handled where it has been poisoned.
//
// # Held messages
//
// A subscription hands out one message and waits, so that what is held takes its place. Have as many, by [Subscribers], as
// messages of transactions may be open at once, and Workers more. When all are taken nothing else is delivered.
//
//   - watermill-nats, pkg/jetstream: one durable consumer (ExistingConsumer), PullMaxMessages(1), MaxWaiting and
//     MaxAckPending above the number of subscriptions, [KeepAlive] in the Unmarshaler, and an AckWaitTimeout longer than
//     any transaction, because it ends the message's context. What is held when a router closes, or crashes, comes again
//     after AckWait, and that is a delivery: MaxDeliver of -1, or with room.
//   - watermill-amqp: one classic queue, PrefetchCount 1 (its default), Publish.ConfirmDelivery, and the broker's
//     consumer_timeout (30 minutes) longer than any transaction. Its marshaler cannot read the x-delivery-count that
//     quorum queues add.
//   - watermill-nats, pkg/nats, does not fit: the server sends a subscription messages that wait behind the held one,
//     where nothing keeps them alive. AckWait and AckWaitTimeout must be longer than any transaction and what it holds up.
//   - gochannel needs no Subscribers, for it hands out all at once; nor may it have PreserveContext.
//
// # Deduplication
//
// A UUID that a broker deduplicates by (TrackMsgId) must differ from transaction to transaction, or the try that commits is
// dropped as a duplicate of the one that rolled back. [Publisher] and [Inject] join it with the barrier's.
package guardwatermill
