// Command chaos runs pgbarrier against a real server while things go wrong, and compares every outcome
// with the rows that exist.
//
//	go run ./integration_test/chaos -duration 10m -seed 1
//
// Producers commit, roll back, lose savepoints, prepare transactions, are killed and cut off; every
// token is waited for, by one or more of several listeners, before or after the commit, canceled and
// again, alone and together with others. Meanwhile the server crashes and restarts, sessions are
// terminated, connections are swallowed, and so on; -help lists all of it.
//
// # What is judged
//
// Beside each barrier a row is inserted into an application table, in the same subtransaction, that
// nobody ever deletes from. That row is the truth:
//
//   - committed is wrong if there is no such row, aborted if there is one;
//   - expired is wrong unless the barrier was older than the retention and had been purged;
//   - any other end of a wait but by its context or its listener's being stopped is wrong;
//   - a wait is lost if it is open for longer than -bound after its transactions have ended and the
//     server, and the network of its listener, were last back;
//   - a barrier is lost if nobody got an outcome for it.
//
// One exception, as documented: the commit of a transaction with synchronous_commit=off is visible
// before it is durable. Where a crash took such a commit, an outcome from before the server was back
// may say committed. These are counted apart.
//
// # What the seed reproduces
//
// Decisions: what each producer does in each of its transactions, who waits for them and how, and the
// order, kinds, pauses and parameters of the faults. Not when the operating system and the server run
// what, so not which transaction a fault hits: a failure is likely, not certain, to come again.
// Therefore the history of each wrong or lost token is printed.
package main
