// Package demo is the demonstration that pgbarrier demo runs: an orders service and a worker, with a
// queue in between that knows nothing of the database.
//
//	         requests            messages                  channel
//	load ──────────────▶ producer ──────────▶ queue ──────────────────▶ worker
//	(this process)      (child processes,    (this process)            (this process)
//	                     killed at random)
//
// The same load runs several ways, see approaches. Requests, orders, runs, drops and incidents are
// rows of schema pgbarrier_demo, and every number that is shown is a query over them (counts.go).
package demo
