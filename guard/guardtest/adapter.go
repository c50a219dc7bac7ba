package guardtest

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgbarrier/pgbarrier/guard"
)

// Database is where the suite's transactions are.
type Database struct {
	// Pool leads to a database with the pgbarrier schema. The suite makes tables of its own in it, and takes up
	// to 12 connections. Its role may create barriers and end its own sessions.
	Pool *pgxpool.Pool

	// Waiter waits for barriers of that database.
	Waiter guard.Waiter

	// Restart stops the server and starts it again, if the test may do that; see [DatabaseRestart].
	Restart func(ctx context.Context) error
}

// Adapter is what a test tells of a queue and of the guarded consumer that is held to the suite.
type Adapter struct {
	// Open makes a queue that is empty and durable, for one case. name has lower-case letters, digits and
	// hyphens. A handler that fails is to be called attempts times for a message at most, before the message
	// counts as dead; attempts is at least LeastAttempts. What Open makes is gone when the test ends.
	Open func(t testing.TB, name string, attempts int) Queue

	// LeastAttempts is the least number of attempts that the broker can be told. 1 by default.
	LeastAttempts int

	// Restart ends the broker and starts it again, with what it has stored; see [BrokerRestart].
	Restart func(ctx context.Context) error

	// Config is what every guard of the suite starts from, for what the adapter knows of its workers: Slots. In most
	// cases the suite sets Budget to 200 ms and, unless it is set here, Delay to 500 ms.
	Config guard.Config

	// Patience is how long at most a message may take to come again that a killed worker held, or whose handler
	// failed. 30 s by default.
	Patience time.Duration

	// Lacks declares what the queue or its adapter cannot do, each with the reason. What is neither there nor
	// declared fails the suite.
	Lacks map[Feature]string
}

// Queue is an opened queue.
type Queue struct {
	// Publish sends a message, and returns nil when the broker has it for certain, or has dropped it as
	// a duplicate. The suite calls it inside the transaction.
	Publish func(ctx context.Context, m Message) error

	// Consume starts a worker.
	Consume func(w Worker) (Running, error)

	// Dead returns the ids of the messages that were rejected or whose attempts are used up, as the place
	// for such messages has them; see [DeadLetters].
	Dead func(ctx context.Context) ([]string, error)
}

// Message is what the suite sends.
type Message struct {
	// ID is the message's content, which the handler gets.
	ID string
	// Header is what the message carries beside it, for the guard. It has a barrier, a bad one, or none.
	Header guard.Map
	// DedupID is, unless empty, what the broker's deduplication is to go by: guard.DedupID of a business id
	// and the message's token. An adapter with an option for business ids takes Business and joins it itself.
	DedupID, Business string
	// Key tells a queue that keeps messages of one key in order what to go by. Messages of different keys must
	// not wait for each other.
	Key string
}

// Worker is what is to be started.
type Worker struct {
	// Guard decides about each message before Handle is called for it.
	Guard *guard.Guard
	// Workers is how many calls of Handle there may be at once.
	Workers int
	// Handle handles the message with that ID. An error is a failed attempt.
	Handle func(ctx context.Context, id string) error
}

// Running is a worker that was started.
type Running struct {
	// Stop ends it in order: calls of Handle may end, messages that wait are given back, and nothing is left
	// running. It returns within the patience, though transactions are still pending.
	Stop func() error
	// Kill ends it as if its process were gone: nothing more of it reaches the broker. See [Killing].
	Kill func()
}

// Feature is something that not every queue can have.
type Feature string

const (
	// Attempts: the broker counts attempts, and gives up.
	Attempts Feature = "counting attempts"
	// DeadLetters: rejected messages are kept in a place of their own; Queue.Dead.
	DeadLetters Feature = "dead letters"
	// Deduplication: the broker drops a message whose id it has seen.
	Deduplication Feature = "deduplication"
	// Hastening: a message that was given back runs soon after its COMMIT, or none ever is given back.
	Hastening Feature = "hastening"
	// Killing: a worker can be killed in a test; Running.Kill.
	Killing Feature = "killing a worker"
	// BrokerRestart: the broker can be restarted in a test, and keeps its messages; Adapter.Restart.
	BrokerRestart Feature = "restarting the broker"
	// DatabaseRestart: Database.Restart is there. The suite may be run once with it for all adapters.
	DatabaseRestart Feature = "restarting the database"
)

// undeclared returns the features that are neither there nor declared as lacking.
func (a Adapter) undeclared(db Database, q Queue, r Running) (missing []Feature) {
	for _, f := range []struct {
		feature Feature
		there   bool
	}{
		{DeadLetters, q.Dead != nil},
		{Killing, r.Kill != nil},
		{BrokerRestart, a.Restart != nil},
		{DatabaseRestart, db.Restart != nil},
	} {
		if !f.there && a.Lacks[f.feature] == "" {
			missing = append(missing, f.feature)
		}
	}
	return missing
}

func (a Adapter) has(f Feature) bool { return a.Lacks[f] == "" }

func (a Adapter) patience() time.Duration {
	if a.Patience > 0 {
		return a.Patience
	}
	return 30 * time.Second
}

func (a Adapter) leastAttempts() int { return max(1, a.LeastAttempts) }
