package demo

// An approach is a way to hand work about a transaction to a queue.
type approach struct {
	name    string // in the database and in JSON
	title   string // in the table
	barrier bool   // the worker waits for the transaction
	cut     bool   // the worker's LISTEN connection is killed again and again
}

var approaches = []approach{
	{name: "enqueue_before_commit", title: "a  enqueue, then COMMIT"},
	{name: "enqueue_after_commit", title: "b  COMMIT, then enqueue"},
	{name: "pgbarrier", title: "c  with pgbarrier", barrier: true},
	{name: "pgbarrier_listen_killed", title: "d  same, LISTEN killed", barrier: true, cut: true},
}
