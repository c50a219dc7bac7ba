// Soak keeps 100,000 waits open on one listener while they churn: new ones, cancelled ones, commits and
// aborts, on a real PostgreSQL. It checks every outcome, and that neither memory nor goroutines grow.
//
//	go run ./integration_test/soak                    # a minute
//	go run ./integration_test/soak -duration 1h       # and see for yourself
//
// It prints a line per sample, taken after a garbage collection while the churn stands still, so that
// every line counts the same number of waits. Exit code 1: an outcome was wrong or late, or something grew.
package main
