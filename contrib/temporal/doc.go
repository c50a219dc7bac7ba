// Package guardtemporal guards the start of Temporal workflows (go.temporal.io/sdk): a workflow that was started inside a
// PostgreSQL transaction begins when that has committed and can be read, and ends at once when it has rolled back.
//
//	// Producers and workers alike. Not in worker.Options as well: it would wait twice.
//	c, err := client.Dial(client.Options{Interceptors: []interceptor.ClientInterceptor{
//		guardtemporal.NewInterceptor(guardtemporal.Config{})}})
//
//	// The producer, in the transaction: ctx is of notify.BeginFunc or notify.WithTx.
//	id, err := guardtemporal.WorkflowID(ctx, "order-42")
//	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: id, TaskQueue: "orders"}, Ship, 42)
//
//	// The worker:
//	g, err := guard.New(barriers, guard.Config{}) // barriers is a *listener.Listener
//	guardtemporal.Register(w, g)
//
// The barrier is in the header of the workflow's start, and so in its history, whatever its arguments and data converter
// are; retries and resets find it there, activities and children do not get it. The interceptor's first step is an
// activity that asks the guard. Workflow code reads no clock and no database.
//
// # What becomes of a workflow
//
//	committed            it begins
//	no barrier           it begins, without the activity; or fails with TypeRejected if Config.Require
//	rolled back          it fails with TypeAborted, not retryable and benign: no metric, no log; see IsAborted
//	pending              the activity is tried again after guard.Config.Delay, as often as it takes
//	expired, foreign,    it fails with TypeRejected, not retryable
//	malformed, given up
//
// Until it begins, no code of the workflow runs; signals wait for it.
//
// # Traps
//
//   - A workflow id is a deduplication id. The first try of a transaction starts order-42 and rolls back; the second is
//     told that it runs, and commits; then it fails as rolled back. WorkflowID joins the barrier's id, and the
//     interceptor refuses an id without it, also the SDK's random one, unless Config.AnyID. That an order is shipped
//     once is for a unique key in the database.
//   - Do not wait for the workflow's result inside the transaction: it waits for the COMMIT. UpdateWithStartWorkflow does
//     so by itself, and is refused. Signals, updates, schedules and standalone activities are not guarded.
//   - guard.Config.Slots bounds how many activities wait at once, for Budget or 30 s, whichever is less.
//     NextRetryDelay wants server 1.24.2; older ones try again after 1 s, 2 s … 1 min.
//   - A run that follows a failed one, by a retry policy or a cron schedule, asks again. If the barrier was purged
//     meanwhile it is rejected, unless guard.Config.Expired says otherwise. After a completed run, and after
//     ContinueAsNew, nothing is asked.
//   - First all workers, then producers: a workflow with a barrier that began unguarded cannot be replayed guarded.
//
// # What is tested
//
// The SDK's test suite has no server, and no server can be had by the tests. So guardtest's suite, which wants a queue that
// can be killed and restarted, is not run. Each verdict and trap has a test of its own: workflows in the SDK's test
// environment, replays of histories, and the client against a server that only takes starts.
package guardtemporal
