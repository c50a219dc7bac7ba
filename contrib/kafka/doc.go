// Package guardkafka guards consumers of Kafka (github.com/twmb/franz-go): a record that was produced inside a
// PostgreSQL transaction is handled when that has committed and can be read, and dropped when it has rolled back.
//
//	// The producer, in the transaction; or Inject(ctx, record) and client.ProduceSync:
//	err := guardkafka.Produce(ctx, client, record) // ctx is of notify.BeginFunc or notify.WithTx
//
//	// The worker. It makes a client, and returns when ctx ends.
//	g, err := guard.New(barriers, guard.Config{}) // barriers is a *listener.Listener
//	err = guardkafka.Consume(ctx, g, guardkafka.Config{Dead: "orders.dead"}, handle,
//		kgo.SeedBrokers("localhost:9092"), kgo.ConsumerGroup("shipping"), kgo.ConsumeTopics("orders"))
//
// # What becomes of a record
//
//	committed, or no barrier      handle; then its offset is committed
//	handle returns an error       again after Config.Retry; Config.Dead after Config.Attempts
//	rolled back                   its offset is committed
//	pending                       held, and with it what is behind it in its partition
//	pending after GiveUp          Config.Parked, then its offset is committed
//	expired, foreign, malformed,  Config.Dead, with the reason in the header pgbarrier-reason; then its offset
//	missing if required           is committed
//
// Records of a partition are handled in their order, one at a time; other partitions go on. The guard is asked about
// Config.Ahead records of a partition at once, so that what is behind a held one runs right after it; with more than
// that the partition is paused. No worker waits. guard.Config's Budget, Slots and Delay have no use here.
//
// When a partition goes to another process, and when Consume stops, the running handler is waited for, what is done
// with is committed, and what was held is the next owner's. A handler never runs for a partition that the group has
// given to another, unless this process was away for longer than the session timeout; its context ends then.
//
// # Traps
//
//   - A long transaction holds up its partition. The key decides which: where the order does not matter, let it be the
//     order's id and not the customer's. GiveUp bounds the wait, and gives up the order.
//   - The topic's retention must be longer than the longest transaction: what is held is not committed, and is gone if
//     the topic drops it before the process stops. The same is true of the offsets' retention.
//   - Do not guard a compacted topic. The record of a transaction that rolls back replaces the committed one of its key.
//   - Kafka has no ids to deduplicate by: the idempotent producer repeats one request, not one piece of work. Where you
//     have such ids, in a table or a stream processor, go by guard.DedupID: under the bare business id a transaction
//     that rolls back takes the place of the next try, which commits, and nothing is left to run.
//   - Wait for the brokers before COMMIT, with acks from all replicas, kgo's default. What is still buffered when the
//     process dies was never sent, though its transaction has committed.
//   - Handlers run at least once: a process that dies leaves its last records to be handled again.
package guardkafka
