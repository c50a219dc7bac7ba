package guardtest

import (
	"testing"
)

// Run holds an adapter to what a guarded consumer has to get right, one subtest for each of [Cases]. The cases
// run one after the other, and take a minute or two; most of that is transactions that are kept open.
func Run(t *testing.T, db Database, a Adapter) {
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) { c.Run(t, db, a) })
	}
}

// Case is one situation of the suite.
type Case struct {
	// Name says what has to hold, in a sentence.
	Name string

	needs Feature // without which the case says nothing; or none
	play  func(s *scene)
}

// Run runs the case.
func (c Case) Run(t testing.TB, db Database, a Adapter) {
	t.Helper()
	if reason := a.Lacks[c.needs]; c.needs != "" && reason != "" {
		t.Skipf("declared: no %s: %s", c.needs, reason)
	}
	c.play(newScene(t, db, a))
}

// Cases returns the suite.
func Cases() []Case {
	return []Case{
		{"What cannot be done is declared", "", declared},
		{"A message runs once, and not before its COMMIT", "", commit},
		{"A message of a transaction that rolls back is dropped, which is no failure", "", rollback},
		{"A message of a savepoint that rolls back is dropped, though the transaction commits", "", savepoint},
		{"A message of a killed producer is dropped", "", producerKilled},
		{"A message whose handler fails runs again", "", redelivery},
		{"Every message of a transaction runs", "", several},
		{"A message of two transactions waits for both", "", twoTransactions},
		{"A message without a barrier runs", "", missing},
		{"A message without a barrier is rejected where one is required", "", required},
		{"A malformed barrier is rejected", "", malformed},
		{"A barrier of another database is rejected", "", foreign},
		{"An expired barrier is rejected, or runs where that is wanted", "", expired},
		{"A transaction longer than the budget burns no attempt", "", longer},
		{"A message that may be attempted once outlasts a transaction longer than the budget", "", least},
		{"A message that is pending on its last attempt runs", "", last},
		{"The message of a transaction that is tried again runs exactly once", "", triedAgain},
		{"Messages of one long transaction do not hold up others", "", starvation},
		{"What was given back runs soon after its COMMIT", "", hastened},
		{"A killed worker loses nothing", Killing, workerKilled},
		{"A restart of the broker loses nothing", BrokerRestart, brokerRestarted},
		{"A restart of the database loses nothing, and drops what it aborts", DatabaseRestart, databaseRestarted},
		{"A worker that is stopped loses and repeats nothing that was not running", "", stopped},
	}
}
