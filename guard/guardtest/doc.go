// Package guardtest tests what package guard is used for.
//
// # Handlers
//
// [Waiter] is a database whose outcomes the test decides:
//
//	var barriers guardtest.Waiter
//	g, err := guard.New(&barriers, guard.Config{})
//	token := guardtest.NewToken()
//	…                      // send a message with the token
//	barriers.Commit(token) // or Abort, Set, Fail, Close
//
// [Carries] and [CarriesNone] say whether a message has a barrier. Code that is tested in a transaction which is
// rolled back at the end has its handlers run with [InTx], or with guard.Eager.
//
// # Adapters
//
// [Run] holds an adapter for a queue to what a guarded consumer must get right, against the real broker and a real
// PostgreSQL: commit, rollback, savepoints, killed producers and workers, redelivery, restarts, bad barriers,
// transactions that outlast the budget, deduplication, fairness. The adapter's test fills in an [Adapter]:
//
//	func TestConformance(t *testing.T) {
//		guardtest.Run(t, guardtest.Database{Pool: pool, Waiter: barriers}, guardtest.Adapter{
//			Open: func(t testing.TB, name string, attempts int) guardtest.Queue {
//				return guardtest.Queue{
//					Publish: func(ctx context.Context, m guardtest.Message) error { … },
//					Consume: func(w guardtest.Worker) (guardtest.Running, error) { … },
//					Dead:    func(ctx context.Context) ([]string, error) { … },
//				}
//			},
//			Lacks: map[guardtest.Feature]string{
//				guardtest.Killing: "the client's goroutines cannot be killed",
//			},
//		})
//	}
//
// What a queue cannot do is declared with the reason, and its cases are skipped with that. The suite waits for what
// happens; where a length of time is what is promised, it is compared with what the same queue does on the same
// machine at that moment, and tried three times.
package guardtest
