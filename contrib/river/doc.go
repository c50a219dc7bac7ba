// Package guardriver guards the workers of github.com/riverqueue/river whose jobs are in another database than the rows
// that they are about: a job that was inserted inside a transaction is worked after its COMMIT, and cancelled after its
// ROLLBACK.
//
// Within one database River needs no barrier and no guard: Client.InsertTx makes the job a row of the transaction. Use
// that where you can.
//
// The producer, whose client is made with Middleware: []rivertype.Middleware{guardriver.Inserts()}:
//
//	notify.BeginFunc(ctx, pool, func(ctx context.Context, tx pgx.Tx) error {
//		…
//		_, err := client.Insert(ctx, ShipArgs{Order: 7}, nil) // into River's database, at once
//
// The worker:
//
//	g, err := guard.New(barriers, guard.Config{Slots: 50})  // a listener on the producer's database; half of MaxWorkers
//	cfg := &river.Config{Queues: …, Workers: …}
//	err = guardriver.Configure(ctx, cfg, g, riverPool)
//	client, err := river.NewClient(riverpgxv5.New(riverPool), cfg)
//
// # What becomes of a job
//
//   - Committed: its worker. JobTimeout begins then.
//   - Rolled back: river.JobCancel, so that it can be told from what failed: no ErrorHandler hears of it. It is kept for
//     CancelledJobRetentionPeriod, with [VerdictKey] drop in its metadata.
//   - Still pending after guard.Config.Budget: river.JobSnooze, which burns no attempt, also with MaxAttempts 1; and
//     JobRetry soon after the transaction has ended.
//   - Expired, malformed, of another database, or without a barrier that guard.Config.Require wants: river.JobCancel too,
//     with [VerdictKey] reject, for a person to look at, and to retry.
//
// # Traps
//
//   - A unique job (UniqueOpts) would lose work: the first try inserts it and rolls back, the second is told that there is
//     one, and commits. Inserts joins the key with the barrier, so uniqueness is that of one transaction, ByPeriod too. Doing
//     work of several transactions once is for a unique key in the database.
//   - Insert with the context of the transaction. InsertTx, with a transaction on River's database, has to be committed
//     before the producer's is.
//   - The wait counts for RescueStuckJobsAfter: it must be longer than Budget and JobTimeout together.
//   - The worker's process is killed: as with any job, the rescuer counts an attempt, RescueStuckJobsAfter later. And as
//     with any job, that discards one that was on its last.
//   - Of a job that is snoozed for 5 s or more the leader has to take care: start a client that may be elected.
package guardriver
