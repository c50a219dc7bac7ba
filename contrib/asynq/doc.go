// Package guardasynq guards the handlers of github.com/hibiken/asynq: a task that was sent inside a PostgreSQL
// transaction runs after its COMMIT, and is deleted after its ROLLBACK.
//
// The producer:
//
//	notify.BeginFunc(ctx, pool, func(ctx context.Context, tx pgx.Tx) error {
//		…
//		task, err := guardasynq.NewTask(ctx, "order:ship", payload, asynq.TaskID("order-7"))
//		…
//		_, err = client.EnqueueContext(ctx, task)
//
// The worker:
//
//	g, err := guard.New(barriers, guard.Config{Slots: 5}) // half of Concurrency
//	cfg := asynq.Config{Concurrency: 10}
//	guarded, err := guardasynq.Configure(ctx, &cfg, g, rdb)
//	mux.Use(guarded) // the first middleware
//	err = asynq.NewServerFromRedisClient(rdb, cfg).Run(mux)
//
// # What becomes of a task
//
//   - Committed: the next handler.
//   - Rolled back: asynq.RevokeTask. It is gone, its ID and lock are free, and no error is counted or reported.
//   - Still pending after guard.Config.Budget: back to the queue (state retry) as no failure, and run by
//     Inspector.RunTask soon after the transaction has ended. ErrorHandler does not hear of it.
//   - Pending on its last attempt, where asynq would archive it: it holds its worker. Give tasks one retry at
//     least (asynq's default is 25), or a long transaction's hold all workers.
//   - Expired, malformed, of another database, or without a barrier that guard.Config.Require wants: the archive.
//
// # Traps
//
//   - A TaskID must differ from transaction to transaction, or work is lost: the first try sends it and rolls back, the
//     second is told that it exists, and commits. NewTask takes care of those that it is given. Give TaskID to it and
//     not to Enqueue, where it cannot be seen; and asynq.Unique to neither. Doing work of several transactions once is
//     for a unique key in the database.
//   - A wait is part of the task's Timeout. The guard takes half of it at most, so a handler has the other half; on the
//     last attempt the task then passes through the archive for a moment.
//   - Do not end Config.BaseContext to stop a server: asynq counts that as a failure of each task that waits.
//   - The worker's process is killed: as with any task, asynq counts an attempt, 1 to 2 minutes later; and it archives
//     one that was on its last.
//   - Groups: each member is decided about by its own barrier, and the GroupAggregator gets those that have committed.
//     While one is pending the group waits as a task of type pgbarrier:group. What the aggregator returns is yours:
//     where a barrier is required, let it carry the headers of any member.
package guardasynq
