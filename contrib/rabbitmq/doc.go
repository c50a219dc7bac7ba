// Package guardrabbitmq consumes messages that were sent inside PostgreSQL transactions, each after its COMMIT.
//
// The producer publishes inside the transaction, with a publisher confirm:
//
//	err := notify.BeginFunc(ctx, pool, func(ctx context.Context, tx pgx.Tx) error {
//		…                                                   // rows
//		m := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: body}
//		if err := guardrabbitmq.Inject(ctx, &m); err != nil {
//			return err
//		}
//		return publish(ctx, m)
//	})
//
// The consumer is a function that blocks, and connects again where it has to:
//
//	g, err := guard.New(barriers, guard.Config{})           // barriers is a *listener.Listener
//	err = guardrabbitmq.Consume(ctx, dial, g, guardrabbitmq.Config{Queue: "orders"}, handle)
//
// # What becomes of a message
//
//	committed      the handler, then Ack; if it fails, again after Backoff, and rejected after Attempts
//	rolled back    Ack
//	pending        held in one of Slots, or else parked; either way it runs soon after its COMMIT
//	never to run   Reject: the queue's dead-letter exchange has it
//
// To park is to publish to a queue with a TTL that dead-letters to the work queue, and to Ack when the broker has
// confirmed it. The consumer declares such queues as it needs them, named like orders.pgbarrier.parked.1000.3 and
// orders.pgbarrier.retry.250: its user may configure, write and read these. Nobody else consumes from them, and empty
// ones can be deleted. When a transaction ends, whoever parked its messages moves them to the work queue. If that
// worker is gone, they come after guard.Config.Delay, rounded up to 250 ms, 500 ms, and so on to 64 s.
//
// # What to know
//
//   - The work queue may be classic or quorum. Parking queues are quorum queues, and want RabbitMQ 3.10.
//   - A message is never given back with a nack, which a quorum queue counts up to its x-delivery-limit. Failures are
//     counted in a header, pgbarrier-failures, on both kinds of queue. Deliveries that are lost with their connection
//     the queue may count as well: set that limit to 20 or more, and Attempts to what you want.
//   - The order is not kept: what is parked or fails comes after what was sent later.
//   - What is parked has no user id and no expiration any more. Its exchange, routing key and CC are restored.
//   - Handlers run at least once: a worker or broker that dies at the wrong moment makes a message come twice.
//   - RabbitMQ drops no duplicates. With a plugin that does, or a table of your own, go by guard.DedupID and not by the
//     business id alone: the first try of a transaction may have sent that, and rolled back.
//   - Publish without a confirm, and COMMIT may come though the message does not. Publish after COMMIT, and there is
//     nothing to guard.
//   - A stop waits for handlers, and gives back what it holds by publishing it to the end of the queue.
package guardrabbitmq
