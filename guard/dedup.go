package guard

import "github.com/pgbarrier/pgbarrier"

// DedupID joins a business id with the barrier's, for a broker that drops messages whose id it has
// seen: an asynq task id, Nats-Msg-Id, River's unique options, an SQS FIFO deduplication id, a
// Temporal workflow id.
//
// The business id alone loses work: a transaction sends it and rolls back; the next try sends it
// again, the broker calls that a duplicate, the transaction commits, and nothing is left to run.
// With the barrier's id in it, sending again inside one transaction is still a duplicate, and
// another transaction is not. Use one barrier for all sends of a transaction. That the work of
// several transactions is done once is for the database to say, by a unique key.
//
// The zero token, a message without a barrier, leaves the business id as it is.
func DedupID(business string, token pgbarrier.Token) string {
	if token.IsZero() {
		return business
	}
	return business + "." + token.ID.String()
}
