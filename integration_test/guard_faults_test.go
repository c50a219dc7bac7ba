package integration_test

import "github.com/pgbarrier/pgbarrier/guard"

// A fault is one thing that an adapter gets wrong.
type fault string

const (
	ignoreGuard              fault = "it runs messages without a guard"
	budgetOfHandler          fault = "a handler may run as long as a message may wait"
	dropAsFailure            fault = "it treats a rollback as a failure"
	dropAgain                fault = "it gives back what is to be dropped"
	oneBarrierPerTransaction fault = "it sends the transaction's barrier from a savepoint"
	firstBarrierOnly         fault = "it waits for the first barrier of a message"
	ackBeforeHandling        fault = "it acknowledges before it handles"
	ackOnDelivery            fault = "it acknowledges on delivery"
	oncePerBarrier           fault = "it takes a barrier's second message for a duplicate"
	rejectMissing            fault = "it always requires a barrier"
	runMissing               fault = "it guards only messages with a header"
	runMalformed             fault = "it takes a malformed barrier for none"
	rejectAsDrop             fault = "it drops what is to be rejected"
	rejectAgain              fault = "it gives back what is to be rejected"
	burnAttempts             fault = "giving back counts as an attempt"
	buryOnLastAttempt        fault = "what is given back on the last attempt is dead"
	dedupByBusiness          fault = "it deduplicates by the business id alone"
	noDedup                  fault = "it says that it deduplicates, and does not"
	waitInWorker             fault = "it waits in a worker as long as it takes"
	neverHasten              fault = "it says that it hastens, and does not"
	forgetAtRestart          fault = "the broker forgets at a restart what workers have"
	loseAtStop               fault = "a worker that stops acknowledges what it waits with"
	stopLate                 fault = "a worker that stops waits for transactions"
	runAtStop                fault = "a worker that stops runs what it waits with"
)

// wrong is the decision of an adapter that does not leave it to its guard.
func (w *memoryWorker) wrong(carrier *guard.Map) (d guard.Decision, wrong bool) {
	tokens, err := guard.Extract(*carrier)
	switch w.queue.broken {
	case ignoreGuard:
		return guard.Decision{Verdict: guard.Run}, true
	case firstBarrierOnly:
		if len(tokens) > 1 {
			*carrier = guard.Map{guard.Header: tokens[0].String()}
		}
	case rejectMissing:
		if err == nil && len(tokens) == 0 {
			return guard.Decision{Verdict: guard.Reject, Err: guard.ErrMissing}, true
		}
	case runMissing:
		if err == nil && len(tokens) == 0 {
			return guard.Decision{Verdict: guard.Run}, true
		}
	case runMalformed:
		if err != nil {
			*carrier = guard.Map{}
		}
	}
	return guard.Decision{}, false
}
