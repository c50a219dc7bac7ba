// Package demo is the demonstration that pgbarrier demo runs: an orders service and a worker, with a
// queue in between that knows nothing of the database.
//
//	         requests            messages
//	load ──────────────▶ producer ──────────▶ queue ──────────────────▶ worker
//	(this process)      (child processes,    (a channel of this        (this process)
//	                     killed at random)    process, or a broker)
//
// The same load runs several ways, see approaches. Requests, orders, runs, drops and incidents are
// rows of schema pgbarrier_demo, and every number that is shown is a query over them (counts.go).
package demo
